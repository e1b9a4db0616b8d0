"""The responder as it runs: two processes share its port, and an operator changes certificates.

What each of them says is looked at over many connections, which the kernel deals out among them.
"""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp

from tests.support.installation import Installation, Serving, make_installation, serving
from tests.support.ocsp_questions import question

CA = "citizen-ca"
PRESIGNED = timedelta(hours=1)
ASKED_AFTER_A_CHANGE = 40
PATIENCE = 60
"""Seconds: that the machine is slow is no refusal."""
SETTINGS = {
    "TAMGA_OCSP_LISTENER__WORKERS": "2",
    # Whoever asks all the time is not to be told that it is too often.
    "TAMGA_OCSP_LISTENER__REQUESTS_PER_SOURCE_BURST": "1000000",
}
TRY_LATER = x509_ocsp.OCSPResponseStatus.TRY_LATER
GOOD, REVOKED = x509_ocsp.OCSPCertStatus.GOOD, x509_ocsp.OCSPCertStatus.REVOKED


@dataclass
class Responder:
    """Two listener processes, and what clients know of them."""

    home: Installation
    serving: Serving
    issuer: x509.Certificate
    serial: int
    revoked: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.home.ports[1]}"

    def get(self, path: str) -> bytes:
        answer = self.get_any(path)
        assert answer.status == 200
        return answer.data

    def get_any(self, path: str) -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager(retries=False, timeout=PATIENCE) as pool:
            return pool.request("GET", self.url + path)

    def ask(self) -> x509_ocsp.OCSPResponse:
        """A question without nonce, on a connection of its own."""
        with urllib3.PoolManager(retries=False, timeout=PATIENCE) as pool:
            answer = pool.request(
                "POST",
                f"{self.url}/ocsp/{CA}",
                body=question(self.issuer, self.serial),
                headers={"Content-Type": "application/ocsp-request"},
            )
        return x509_ocsp.load_der_ocsp_response(answer.data)

    def is_presigned(self) -> bool:
        """Whether the answer was signed beforehand, as its validity shows."""
        answer = self.ask()
        if answer.response_status is TRY_LATER:
            return False
        assert answer.next_update_utc is not None
        return answer.next_update_utc - answer.this_update_utc == PRESIGNED

    def change(self, *arguments: str) -> float:
        """As an operator; the instant at which the command has ended."""
        done = self.home.run("pki", *arguments, f"{self.serial:x}", "--ca", CA)
        assert done.returncode == 0, done.stderr
        return time.monotonic()


@dataclass
class Askers:
    """Clients who ask all the time: when they began to ask, and what they were told."""

    responder: Responder
    told: list[tuple[float, x509_ocsp.OCSPCertStatus]] = field(default_factory=list)

    @contextmanager
    def asking(self) -> Iterator[None]:
        stopping = threading.Event()

        def ask() -> None:
            while not stopping.is_set():
                began = time.monotonic()
                answer = self.responder.ask()
                if answer.response_status is not TRY_LATER:
                    self.told.append((began, answer.certificate_status))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopping.set()
            for thread in threads:
                thread.join()

    def told_after(self, instant: float) -> list[x509_ocsp.OCSPCertStatus]:
        def after() -> list[x509_ocsp.OCSPCertStatus]:
            return [status for began, status in list(self.told) if began > instant]

        self.responder.serving.await_fact(lambda: len(after()) >= ASKED_AFTER_A_CHANGE)
        return after()


@pytest.fixture(scope="module")
def responder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Responder]:
    home = make_installation(tmp_path_factory.mktemp("responder") / "home")
    listed = json.loads(home.run("pki", "list", "--json").stdout)
    serial, revoked = (int(c["serial"], 16) for c in listed if "PNOMN" in c["subject"])
    reason = ("--reason", "superseded")
    assert home.run("pki", "revoke", f"{revoked:x}", *reason).returncode == 0
    issuer = x509.load_der_x509_certificate((home.directory / "pki" / f"{CA}.cer").read_bytes())
    with serving(home, "--role", "ocsp", ready=False, **SETTINGS) as running:
        responder = Responder(home, running, issuer, serial, revoked)
        running.await_fact(running.has_come_up)
        yield responder


def test_a_change_is_in_the_next_answer_of_both_processes(responder: Responder) -> None:
    askers = Askers(responder)
    responder.serving.await_fact(responder.is_presigned)
    with askers.asking():
        for arguments, status in (
            (("suspend",), REVOKED),
            (("restore",), GOOD),
            (("revoke", "--reason", "keyCompromise"), REVOKED),
        ):
            changed = responder.change(*arguments)
            assert set(askers.told_after(changed)) == {status}
            responder.serving.await_fact(responder.is_presigned)
    assert askers.told[0][1] is GOOD


def test_the_change_is_on_the_list(responder: Responder) -> None:
    def listed() -> x509.RevokedCertificate | None:
        answer = responder.get_any(f"/crl/{CA}.crl")
        if answer.status == 503:  # no list is made yet
            assert answer.json()["code"] == "crl_not_published"
            return None
        assert answer.status == 200
        crl = x509.load_der_x509_crl(answer.data)
        return crl.get_revoked_certificate_by_serial_number(responder.revoked)

    responder.serving.await_fact(listed)
    signer = x509.load_der_x509_certificate(responder.get(f"/certs/crl-{CA}.cer"))
    key = signer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    crl = x509.load_der_x509_crl(responder.get(f"/crl/{CA}.crl"))
    assert crl.is_signature_valid(key)
    assert crl.issuer == responder.issuer.subject


@pytest.mark.parametrize("options", [(), ("-no_nonce",)])
def test_openssl_believes_what_it_is_told(
    responder: Responder, options: tuple[str, ...], tmp_path: Path
) -> None:
    issuer = tmp_path / "ca.pem"
    issuer.write_bytes(responder.issuer.public_bytes(Encoding.PEM))
    command = ["openssl", "ocsp", "-url", f"{responder.url}/ocsp/{CA}", *options]
    command += ["-issuer", str(issuer), "-serial", f"0x{responder.revoked:x}"]
    command += ["-CAfile", str(issuer), "-partial_chain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    told = done.stdout + done.stderr
    assert "Response verify OK" in told, told
    assert ": revoked" in told
    assert "Reason: superseded" in told
