"""`ocsp-live` and `ocsp-presigned`: the real listener against `openssl ocsp` on this machine.

Both have P-256 keys, the same certificates and the same generator, by turns. The key of ours is in
SoftHSM, and its answers are signed under permits and verified before they leave; openssl's is a
file. `openssl ocsp` closes each connection after one answer; ours keeps it, and in `-closing` rows
is given a new one for each request, too. openssl is one process, as it is when nothing else is
said; in `-multi` rows it is as many as ours.

With RSA-2048 the reference is what as many processes get out of the token by nothing but signing.
"""

import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp as x509_ocsp

from bench.plain_load import PlainTarget, run_plain_load
from bench.requests import http_request
from bench.rows import Row
from ocsp.request import CONTENT_TYPE
from pkcs11_bridge.keyring import KeyAlgorithm, open_key
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from softhsm_config import zones
from softhsm_config.provision import provision, software_hsm
from tests.support.certificates import authority_spec, delegate_spec, issue
from tests.support.ocsp_questions import question
from tests.support.processes import free_ports
from webapi import clock
from webapi.cli.development import prepare_home
from webapi.cli.home import Home, Ports
from webapi.role_process import end_group
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.engine import opened_engine
from webapi.storage.realm import Realm

CA = "citizen-ca"
PROCESSES = 2
CONNECTIONS = 16
SERIALS = range(1_000, 1_200)
RSA_COUNT = 3_000
ROUNDS = 3
LIVE_TARGET = 1.0
OPENSSL = "openssl ocsp"
PRESIGN_SECONDS = 5.0
RSA_TARGET = 0.6
RAW_THREADS = 4
RAW_SECONDS = 2.0
PRESIGNED_TARGET = 2.0
READY_SECONDS = 30.0
STOP_SECONDS = 20.0
END = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Server:
    """A responder that answers.

    Attributes:
        port: on loopback.
        path: of its URL.
        issuer: of the certificates.
        home: its folder, if it is ours.
    """

    port: int
    path: str
    issuer: x509.Certificate
    home: Home | None = None

    def requests(self, *, nonces: bool) -> list[bytes]:
        """One for each certificate, each with another nonce, or all without."""
        return [
            http_request(
                "POST",
                self.path,
                {"Content-Type": CONTENT_TYPE},
                question(self.issuer, serial, nonce=os.urandom(32) if nonces else None),
            )
            for serial in SERIALS
        ]


@contextmanager
def our_responder(algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256) -> Iterator[Server]:
    """The role `ocsp` of a development home, and the worker that seals its audit log.

    Args:
        algorithm: of the delegate's key.
    """
    with tempfile.TemporaryDirectory(prefix="tamga-bench-") as folder:
        home, ports = Home(Path(folder)), Ports(*free_ports(2))
        os.environ.update(software_hsm(home.hsm).environment)
        keys = {**zones.PKI.keys, zones.OCSP_CITIZEN_KEY: algorithm}
        # What is there already, the home keeps.
        provision(home.hsm, [zones.Zone(zones.PKI.label, keys)])
        pki = prepare_home(home, ports, clock.now())
        url = f"sqlite:///{home.directory}/database/{Realm.PKI}.db"
        with opened_engine(url, Realm.PKI) as engine:
            store = SqlCertificateStore(engine)
            for serial in SERIALS:
                store.register(ca=CA, serial=serial, subject="CN=x", not_after=END)
        environment = {
            **os.environ,
            "TAMGA_OCSP_LISTENER__WORKERS": str(PROCESSES),
            "TAMGA_OCSP_LISTENER__REQUESTS_PER_SOURCE_BURST": "1000000",
            "TAMGA_OCSP_LISTENER__REQUESTS_PER_SOURCE_PER_MINUTE": "6000000",
        }
        command = [sys.executable, "-m", "webapi.cli", "--config", str(home.config), "serve"]
        command += ["--role", "ocsp", "--role", "worker"]
        with (home.directory / "service.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        server = Server(ports.ocsp, f"/ocsp/{CA}", pki.citizen_ca, home)
        try:
            _await_answers(server)
            yield server
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


@contextmanager
def openssl_responder(*options: str) -> Iterator[Server]:
    """`openssl ocsp` with a P-256 delegate and the same certificates, and more options."""
    ca = issue(authority_spec("Measurement", None))
    delegate = issue(delegate_spec(ca, "Measurement responder"))
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="tamga-bench-") as folder:
        files = {name: Path(folder) / name for name in ("ca", "delegate", "key", "index")}
        files["ca"].write_bytes(ca.certificate.public_bytes(Encoding.PEM))
        files["delegate"].write_bytes(delegate.certificate.public_bytes(Encoding.PEM))
        files["key"].write_bytes(
            delegate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        # One line for each certificate; no two subjects are the same.
        line = "V\t21000101000000Z\t\t{0:04X}\tunknown\t/CN={0}\n"
        lines = map(line.format, SERIALS)
        files["index"].write_text("".join(lines))
        command = ["openssl", "ocsp", "-port", str(port), "-nmin", "60"]
        command += [*options, "-index", str(files["index"])]
        command += ["-CA", str(files["ca"]), "-rsigner", str(files["delegate"])]
        command += ["-rkey", str(files["key"])]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
        )
        server = Server(port, "/", ca.certificate)
        try:
            _await_answers(server)
            yield server
        finally:
            end_group(process)  # with -multi it does not end when it is told to


def _await_answers(server: Server) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            # A whole question: `openssl ocsp` does not bear a connection without one.
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                connection.sendall(server.requests(nonces=True)[0])
                connection.recv(1)
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            break
    _rate(server, server.requests(nonces=True), 2 * CONNECTIONS)


def _rate(server: Server, requests: Sequence[bytes], count: int, *, keeps: bool = True) -> float:
    outcome = run_plain_load(PlainTarget(server.port, CONNECTIONS, keeps), requests, count)
    assert not outcome.refused, outcome.refused[0]
    for body in outcome.bodies:
        told = x509_ocsp.load_der_ocsp_response(body)
        assert told.certificate_status is x509_ocsp.OCSPCertStatus.GOOD, told.response_status
    return outcome.per_second


@dataclass(frozen=True)
class Lane:
    """What is asked of both, and how.

    Attributes:
        name: of the row.
        nonces: each request has one.
        keeps: our connections stay open.
        count: requests in one round.
        target: at least so many times the reference.
    """

    name: str
    nonces: bool
    keeps: bool
    count: int
    target: float

    def row(self, suffix: str, ours: Server, theirs: Server, reference_name: str) -> Row:
        """The best of several rounds, by turns."""
        value = reference = 0.0
        for _ in range(ROUNDS):
            asked = ours.requests(nonces=self.nonces), theirs.requests(nonces=self.nonces)
            value = max(value, _rate(ours, asked[0], self.count, keeps=self.keeps))
            reference = max(reference, _rate(theirs, asked[1], self.count))
        return Row(
            name=self.name + suffix,
            value=round(value),
            unit="answers/s",
            reference=round(reference),
            ratio=round(value / reference, 2),
            target=f">= {self.target} x {reference_name}",
            ok=value >= self.target * reference,
        )


LANES = (
    Lane("ocsp-live", nonces=True, keeps=True, count=4_000, target=LIVE_TARGET),
    Lane("ocsp-live-closing", nonces=True, keeps=False, count=4_000, target=LIVE_TARGET),
    Lane("ocsp-presigned", nonces=False, keeps=True, count=8_000, target=PRESIGNED_TARGET),
    Lane("ocsp-presigned-closing", nonces=False, keeps=False, count=8_000, target=PRESIGNED_TARGET),
)


def _raw_rate(home: Home) -> float:
    """Signatures per second that processes get out of the delegate's token."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES) as pool:
        return sum(pool.map(_sign_for_a_while, [home.hsm] * PROCESSES, chunksize=1))


def _sign_for_a_while(hsm_folder: Path) -> float:
    hsm = software_hsm(hsm_folder)
    os.environ.update(hsm.environment)
    with TokenSessions(hsm.token_config(zones.PKI.label, sessions=RAW_THREADS)) as sessions:
        key = open_key(sessions, Pkcs11Uri(object=zones.OCSP_CITIZEN_KEY))
        until = time.monotonic() + RAW_SECONDS

        def sign(_: int) -> int:
            count = 0
            while time.monotonic() < until:
                key.sign_digest(bytes(32), "sha256")
                count += 1
            return count

        with ThreadPoolExecutor(RAW_THREADS) as threads:
            return sum(threads.map(sign, range(RAW_THREADS))) / RAW_SECONDS


def _rsa_row(ours: Server) -> Row:
    assert ours.home is not None
    value = reference = 0.0
    for _ in range(ROUNDS):
        value = max(value, _rate(ours, ours.requests(nonces=True), RSA_COUNT))
        reference = max(reference, _raw_rate(ours.home))
    return Row(
        name="ocsp-live-rsa2048",
        value=round(value),
        unit="answers/s",
        reference=round(reference),
        ratio=round(value / reference, 2),
        target=f">= {RSA_TARGET} x raw signatures, {PROCESSES} processes each",
        ok=value >= RSA_TARGET * reference,
    )


def rows() -> list[Row]:
    """Answers signed when they are asked for, and answers signed beforehand."""
    with our_responder(KeyAlgorithm.RSA_2048) as ours:
        rsa = _rsa_row(ours)
    rows = [rsa]
    with our_responder() as ours:
        _rate(ours, ours.requests(nonces=False), len(SERIALS))
        time.sleep(PRESIGN_SECONDS)  # the job signs what was asked for
        for suffix, options in (("", ()), ("-multi", ("-multi", str(PROCESSES)))):
            name = " ".join((OPENSSL, *options))
            with openssl_responder(*options) as theirs:
                rows += [lane.row(suffix, ours, theirs, name) for lane in LANES]
    return rows
