"""`python -m pkcs11_bridge.agent`: the tamga-agent command."""

from pkcs11_bridge.agent.cli import main

main()
