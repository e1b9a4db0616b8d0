"""A person signs a statement with their ID card, through OpenSC."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509

from signer.statement import draft_statement, read_statement, verify_statement
from softhsm_config.dev_pki import CITIZEN_CA
from softhsm_config.modules import opensc_module
from softhsm_config.virtual_card.faults import Faults
from tests.support.card import NOW, PIN, SELECT_PIV, WRONG_PIN, CardRig
from webapi.cli.key.attestation import FORMAT

GENERAL_AUTHENTICATE = "0087119c"
# The clock of the cards' certificates, which end some day.
PROGRAM = f"""
import datetime
from webapi import clock
clock.now = lambda: datetime.datetime.fromisoformat({NOW.isoformat()!r})
from webapi.cli import main
main()
"""


def command(file: Path) -> tuple[str | Path, ...]:
    return (sys.executable, "-c", PROGRAM, "ceremony", "sign", file, "--module", opensc_module())


def sign(rig: CardRig, file: Path, *typed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(file),
        env=rig.environment,
        input="".join(f"{line}\n" for line in typed),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        start_new_session=True,  # the PIN comes from here, not from this terminal
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "statement.json"
    path.write_bytes(draft_statement({"format": FORMAT}).serialise())
    return path


def test_a_statement_is_signed_by_the_cards_signing_certificate(
    card_rig: CardRig, file: Path
) -> None:
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
    assert card_rig.pin_state() == "63"


def test_the_final_try_is_spent_only_after_a_yes(card_rig: CardRig, file: Path) -> None:
    verify = "00 20 00 80 08 " + WRONG_PIN.encode().ljust(8, b"\xff").hex(" ")
    card_rig.opensc("opensc-tool", *("--send-apdu", SELECT_PIV), *("--send-apdu", verify) * 2)
    assert card_rig.reader.state().tries_left == 1
    refused = sign(card_rig, file, "n", WRONG_PIN)
    assert "one PIN try is left" in refused.stderr
    assert card_rig.reader.state().tries_left == 1


def test_a_program_that_is_ended_while_the_card_signs_leaves_it_closed(
    card_rig: CardRig, file: Path
) -> None:
    card_rig.reader.set_faults(Faults(signing_seconds=4.0))
    seen = len(card_rig.reader.trace)
    signing = subprocess.Popen(
        command(file),
        env=card_rig.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert signing.stdin is not None
        with signing.stdin:
            signing.stdin.write(f"{PIN}\n")
        deadline = time.monotonic() + 60
        while GENERAL_AUTHENTICATE not in card_rig.reader.trace[seen:]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        signing.send_signal(signal.SIGTERM)
        assert signing.wait(timeout=60) == 128 + signal.SIGTERM
    finally:
        signing.kill()
    card_rig.reader.set_faults(Faults())
    assert card_rig.pin_state() == "63"
    assert not read_statement(file.read_bytes()).signatures
