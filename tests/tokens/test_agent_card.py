"""The agent as a program, on a virtual card through pcscd, pyscard and OpenSC's module."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pkcs11_bridge.agent import challenge_proof
from pkcs11_bridge.agent.origins import OriginPins, origins_document
from pkcs11_bridge.encoding import raw_to_der
from softhsm_config.modules import opensc_module
from softhsm_config.virtual_card.faults import Faults
from tests.support.card import PIN, WRONG_PIN, CardRig

ORIGIN = "https://login.example.mn"
SERVICE_KEY = ec.generate_private_key(ec.SECP256R1())
AGENT = "from pkcs11_bridge.agent.cli import main; main()"
GENERAL_AUTHENTICATE = "87079a"
EMPTY_VERIFY = "00 20 00 80"


def challenge(origin: str = ORIGIN, life: timedelta = timedelta(minutes=5)) -> str:
    spki = SERVICE_KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    kid, random = challenge_proof.key_id(spki), os.urandom(24)
    expiry = int((datetime.now(UTC) + life).timestamp())
    text = challenge_proof.signed_text(origin, random, kid, expiry)
    r, s = decode_dss_signature(SERVICE_KEY.sign(text, ec.ECDSA(hashes.SHA256())))
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return challenge_proof.encode(random, kid, expiry, raw)


@dataclass(frozen=True)
class Agent:
    directory: Path
    rig: CardRig

    def command(
        self, nonce: str, *options: str, pin: str = PIN, origin: str = ORIGIN, module: str = ""
    ) -> list[str]:
        origins = self.directory / "origins.json"
        origins.touch(mode=0o600)
        origins.write_text(origins_document({ORIGIN: OriginPins(SERVICE_KEY.public_key(), None)}))
        pin_file = self.directory / "pin"
        pin_file.touch(mode=0o600)
        pin_file.write_text(pin)
        request = json.dumps({"challengeNonce": nonce, "origin": origin})
        command = [sys.executable, "-c", AGENT, "authenticate", request]
        command += ["--origins", str(origins), "--pin-file", str(pin_file)]
        command += ["--module", module or str(opensc_module())]
        return [*command, *options]

    def run(
        self,
        nonce: str,
        *options: str,
        pin: str = PIN,
        origin: str = ORIGIN,
        module: str = "",
        environment: dict[str, str] | None = None,
    ) -> tuple[int, Any, str]:
        done = subprocess.run(
            self.command(nonce, *options, pin=pin, origin=origin, module=module),
            env={**self.rig.environment, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout, done.stderr
        assert pin not in done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout), done.stderr

    def error(self, *arguments: Any, **options: Any) -> tuple[int, str, int | None]:
        code, answer, _ = self.run(*arguments, **options)
        return code, answer["error"]["code"], answer["error"].get("tries_left")

    def pin_is_closed(self) -> bool:
        """Whether the card, asked by another program, wants the PIN."""
        answer = self.rig.opensc("opensc-tool", "--send-apdu", EMPTY_VERIFY).stdout
        assert "SW1=" in answer
        return "SW1=0x63" in answer or "SW1=0x69" in answer


@pytest.fixture
def agent(tmp_path: Path, card_rig: CardRig) -> Agent:
    return Agent(tmp_path, card_rig)


@pytest.fixture
def ec_agent(tmp_path: Path, ec_card_rig: CardRig) -> Agent:
    return Agent(tmp_path, ec_card_rig)


def apdus(agent: Agent) -> int:
    return agent.rig.reader.trace.count("\n")


@pytest.mark.parametrize(
    ("nonce", "code"),
    [
        (base64.b64encode(bytes(32)).decode(), "proof-missing"),
        (challenge(origin="https://evil.example"), "proof-foreign"),
        (challenge(life=timedelta(minutes=-1)), "proof-stale"),
    ],
)
def test_a_service_that_does_not_prove_itself_never_reaches_the_card(
    agent: Agent, nonce: str, code: str
) -> None:
    before = apdus(agent)
    assert agent.error(nonce, module="/nonexistent.so") == (3, code, None)
    assert apdus(agent) == before


def test_an_unknown_origin_is_not_confirmed(agent: Agent) -> None:
    answer = agent.error(challenge(origin="https://other.mn"), origin="https://other.mn")
    assert answer == (3, "origin-not-confirmed", None)


def test_no_reader_service(agent: Agent, tmp_path: Path) -> None:
    environment = {"PCSCLITE_CSOCK_NAME": str(tmp_path / "nobody.comm")}
    assert agent.error(challenge(), environment=environment) == (4, "reader-service-down", None)


def test_no_card(agent: Agent) -> None:
    agent.rig.reader.remove_card()
    assert agent.error(challenge()) == (4, "no-card", None)


def test_wrong_pin_tells_the_card_s_own_count_and_stops_before_the_last(agent: Agent) -> None:
    assert agent.error(challenge(), pin=WRONG_PIN) == (4, "pin-incorrect", 2)
    assert agent.error(challenge(), pin=WRONG_PIN) == (4, "pin-incorrect", 1)
    assert agent.error(challenge(), pin=WRONG_PIN) == (4, "final-try-refused", None)
    assert agent.rig.reader.state().tries_left == 1
    answer = agent.error(challenge(), "--spend-final-try", pin=WRONG_PIN)
    assert answer[:2] in {(4, "pin-incorrect"), (4, "pin-locked")}
    assert agent.error(challenge()) == (4, "pin-locked", None)
    assert agent.rig.reader.state().tries_left == 0


def test_a_pin_that_is_too_short_costs_no_try(agent: Agent) -> None:
    assert agent.error(challenge(), pin="12") == (4, "pin-length-wrong", None)
    assert agent.rig.reader.state().tries_left == 3


def test_a_card_pulled_while_it_signs(agent: Agent) -> None:
    agent.rig.reader.set_faults(Faults(remove_while_signing=True))
    assert agent.error(challenge()) == (4, "card-removed", None)
    # pcscd polls: a card that is back before it saw it leave stays unpowered. Nobody is so quick.
    time.sleep(1.5)


def test_a_corrupt_signature_does_not_leave(agent: Agent) -> None:
    agent.rig.reader.set_faults(Faults(corrupt_signatures=True))
    assert agent.error(challenge()) == (7, "card-signature-invalid", None)
    assert agent.pin_is_closed()


@pytest.mark.parametrize("opensc_conf", [None, "/dev/null"])
def test_rsa_card_signs_and_is_left_closed(agent: Agent, opensc_conf: str | None) -> None:
    nonce = challenge()
    environment = None if opensc_conf is None else {"OPENSC_CONF": opensc_conf}
    code, token, told = agent.run(nonce, environment=environment)
    assert code == 0
    assert set(token) == {"unverifiedCertificate", "algorithm", "signature", "format", "appVersion"}
    assert (token["format"], token["algorithm"]) == ("web-eid:1.0", "RS256")
    assert f"{ORIGIN} (confirmed)" in told
    der = base64.b64decode(token["unverifiedCertificate"])
    key = x509.load_der_x509_certificate(der).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    message = hashlib.sha256(ORIGIN.encode()).digest() + hashlib.sha256(nonce.encode()).digest()
    signature = base64.b64decode(token["signature"])
    key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    assert agent.pin_is_closed()


def test_p256_card_signs(ec_agent: Agent) -> None:
    nonce = challenge()
    code, token, _ = ec_agent.run(nonce)
    assert (code, token["algorithm"]) == (0, "ES256")
    der = base64.b64decode(token["unverifiedCertificate"])
    key = x509.load_der_x509_certificate(der).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    message = hashlib.sha256(ORIGIN.encode()).digest() + hashlib.sha256(nonce.encode()).digest()
    raw = base64.b64decode(token["signature"])
    assert len(raw) == 64
    key.verify(raw_to_der(raw), message, ec.ECDSA(hashes.SHA256()))


def test_an_accepted_unknown_origin_is_shown_as_not_confirmed(ec_agent: Agent) -> None:
    nonce = base64.b64encode(bytes(32)).decode()
    code, _, told = ec_agent.run(nonce, "--accept-unconfirmed-origin", origin="https://other.mn")
    assert code == 0
    assert "https://other.mn (NOT CONFIRMED)" in told


def test_a_card_inserted_late_is_waited_for(ec_agent: Agent) -> None:
    ec_agent.rig.reader.remove_card()
    waiting = subprocess.Popen(
        ec_agent.command(challenge(), "--wait", "30"),
        env=ec_agent.rig.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.5)
    ec_agent.rig.reader.insert_card()
    output, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert json.loads(output)["algorithm"] == "ES256"


def test_a_terminated_agent_leaves_the_card_closed(agent: Agent) -> None:
    agent.rig.reader.set_faults(Faults(signing_seconds=4.0))
    seen = len(agent.rig.reader.trace)
    signing = subprocess.Popen(
        agent.command(challenge()),
        env=agent.rig.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while GENERAL_AUTHENTICATE not in agent.rig.reader.trace[seen:]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    signing.send_signal(signal.SIGTERM)
    signing.communicate(timeout=60)
    assert signing.returncode == 128 + signal.SIGTERM
    agent.rig.reader.set_faults(Faults())
    assert agent.pin_is_closed()
