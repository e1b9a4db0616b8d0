"""A person signs a statement with their ID card, through OpenSC."""

import subprocess
import sys
from pathlib import Path

from cryptography import x509

from signer.statement import draft_statement, read_statement, verify_statement
from softhsm_config.dev_pki import CITIZEN_CA
from softhsm_config.modules import opensc_module
from tests.support.card import NOW, PIN, WRONG_PIN, CardRig
from webapi.cli.key.attestation import FORMAT

# The clock of the cards' certificates, which end some day.
PROGRAM = f"""
import datetime
from webapi import clock
clock.now = lambda: datetime.datetime.fromisoformat({NOW.isoformat()!r})
from webapi.cli import main
main()
"""


def sign(rig: CardRig, file: Path, pin: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-c", PROGRAM, "ceremony", "sign", file, "--module", opensc_module()),
        env=rig.environment,
        input=f"{pin}\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        start_new_session=True,  # the PIN comes from here, not from this terminal
    )


def test_a_statement_is_signed_by_the_cards_signing_certificate(
    card_rig: CardRig, tmp_path: Path
) -> None:
    file = tmp_path / "statement.json"
    file.write_bytes(draft_statement({"format": FORMAT}).serialise())
    wrong = sign(card_rig, file, WRONG_PIN)
    assert wrong.returncode == 1
    assert "the PIN is wrong" in wrong.stderr
    assert not read_statement(file.read_bytes()).signatures
    done = sign(card_rig, file, PIN)
    assert done.returncode == 0, done.stderr
    assert PIN not in done.stdout + done.stderr
    pem = card_rig.pki.certificate_file(CITIZEN_CA).read_bytes()
    load = (
        x509.load_pem_x509_certificate if pem.startswith(b"--") else x509.load_der_x509_certificate
    )
    signed = verify_statement(read_statement(file.read_bytes()), [load(pem)], least=1)
    (signer,) = signed.signers
    usage = signer.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.content_commitment
    assert not usage.digital_signature
    assert signer.name == "Батын Сараа"
