"""`python -m webapi.cli`: the tamga command."""

from webapi.cli import main

main()
