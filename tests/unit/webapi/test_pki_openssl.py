"""OpenSSL as the judge: its client believes our responder, and our client its responder.

Both read the clock of the machine, so this PKI is valid from 2020 to 2100.
"""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from prometheus_client import CollectorRegistry
from werkzeug.serving import make_server

from ocsp.chain import validate_path
from ocsp.client import PURPOSE, OcspClient
from ocsp.config import (
    CertIdHash,
    IssuerProfile,
    TrustStore,
)
from ocsp.destination import Destination
from ocsp.errors import CertificateRevoked, CertificateStatusUnavailable, CertificateSuspended
from ocsp.persons import PersonAttribute
from ocsp.responder.answering import ResponderCa
from ocsp.transport import Egress
from ocsp.trust import establish_trust
from tests.support.certificates import (
    CITIZEN_POLICY,
    CertificateSpec,
    Issued,
    authority_spec,
    citizen_spec,
    delegate_spec,
    issue,
)
from tests.support.processes import free_ports
from tests.support.trust import NO_LISTS_ABOVE
from webapi.limits import RateLimit, SourceLimiter
from webapi.ocsp_service import OcspService
from webapi.operations.metrics import Metrics
from webapi.pki.routes import create_pki_app
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.engine import make_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm

START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
REVOKED_AT = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)


def agreed() -> None:
    """The records are today's."""


def _now() -> datetime:
    return datetime.now(UTC)


def _long_lived(spec: CertificateSpec) -> Issued:
    return issue(replace(spec, not_before=START, not_after=END))


@dataclass(frozen=True)
class Files:
    """The PKI in memory and as files for the command line."""

    folder: Path
    ca: Issued
    leaf: Issued
    delegate: Issued

    def pem(self, name: str, issued: Issued) -> str:
        path = self.folder / f"{name}.pem"
        path.write_bytes(issued.certificate.public_bytes(Encoding.PEM))
        return str(path)

    def key(self, name: str, issued: Issued) -> str:
        path = self.folder / f"{name}.key"
        path.write_bytes(
            issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return str(path)


@pytest.fixture(params=["p256", "rsa2048"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    ca = _long_lived(authority_spec(f"Openssl CA {request.param}", None, request.param))
    delegate = delegate_spec(ca, f"Openssl delegate {request.param}")
    return Files(
        folder=tmp_path,
        ca=ca,
        leaf=_long_lived(citizen_spec(ca)),
        delegate=_long_lived(delegate),
    )


@contextmanager
def our_responder(files: Files) -> Iterator[tuple[SqlCertificateStore, str]]:
    engine = make_engine(f"sqlite:///{files.folder}/pki.db", Realm.PKI)
    upgrade(engine, Realm.PKI)
    store = SqlCertificateStore(engine)
    leaf = files.leaf.certificate
    store.register(ca="ca", serial=leaf.serial_number, subject="CN=x", not_after=END)
    ca = ResponderCa("ca", files.ca.certificate, files.delegate.certificate, files.delegate.key)
    app = create_pki_app(
        OcspService([ca], store, _now, busy=(), require_agreement=agreed),
        _now,
        limiter=SourceLimiter(RateLimit(1_000, 1.0)),
        observer=Metrics(CollectorRegistry()),
    )
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store, f"http://127.0.0.1:{server.server_port}/ocsp/ca"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@contextmanager
def openssl_responder(files: Files, line: str) -> Iterator[str]:
    index = files.folder / "index.txt"
    index.write_text(line)
    (port,) = free_ports(1)
    command = ["openssl", "ocsp", "-index", str(index), "-port", str(port), "-nmin", "5"]
    command += ["-rsigner", files.pem("delegate", files.delegate)]
    command += ["-rkey", files.key("delegate", files.delegate), "-CA", files.pem("ca", files.ca)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for told in process.stdout:
                if "waiting for OCSP client" in told:
                    break
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def openssl_asks(files: Files, url: str, *options: str) -> str:
    command = ["openssl", "ocsp", "-url", url, "-issuer", files.pem("ca", files.ca), *options]
    command += ["-cert", files.pem("leaf", files.leaf), "-CAfile", files.pem("ca", files.ca)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def we_ask(files: Files, url: str, certid_hash: CertIdHash = CertIdHash.SHA256) -> bool:
    profile = IssuerProfile(
        name="ca",
        certificates=(files.ca.der,),
        responders=(url,),
        required_policies=frozenset({CITIZEN_POLICY}),
        person=PersonAttribute("2.5.4.5", "PNOMN-[0-9]{12}"),
        authority_status=NO_LISTS_ABOVE,
        certid_hash=certid_hash,
    )
    store = TrustStore(roots=(files.ca.der,), intermediates=(), issuers=(profile,))
    chain = validate_path(files.leaf.der, store, _now())
    egress = Egress({PURPOSE: (Destination(url, allow_loopback=True),)})
    return establish_trust(chain, source=OcspClient(egress), at=_now()).evidence.nonce_matched


@pytest.mark.parametrize("options", [(), ("-no_nonce",), ("-sha256",)])
def test_openssl_believes_our_responder(files: Files, options: tuple[str, ...]) -> None:
    with our_responder(files) as (store, url):
        # The hash option holds for the certificates that follow it.
        told = openssl_asks(files, url, *options)
        assert "Response verify OK" in told
        assert "leaf.pem: good" in told
        assert "WARNING" not in told
        serial = files.leaf.certificate.serial_number
        store.suspend(ca="ca", serial=serial, at=REVOKED_AT)
        told = openssl_asks(files, url, *options)
        assert "leaf.pem: revoked" in told
        assert "Reason: certificateHold" in told
        assert "Mar  4 05:06:07 2025" in told


def test_openssl_hears_that_nothing_is_known_of_others(files: Files) -> None:
    with our_responder(files) as (_, url):
        other = replace(files, leaf=_long_lived(citizen_spec(files.ca, "Not issued")))
        assert "leaf.pem: unknown" in openssl_asks(other, url)


def test_our_client_believes_our_responder_over_http(files: Files) -> None:
    with our_responder(files) as (store, url):
        assert we_ask(files, url)
        serial = files.leaf.certificate.serial_number
        store.suspend(ca="ca", serial=serial, at=REVOKED_AT)
        with pytest.raises(CertificateSuspended) as caught:
            we_ask(files, url)
        assert caught.value.since == REVOKED_AT
        store.restore(ca="ca", serial=serial, at=REVOKED_AT)
        assert we_ask(files, url)


def _index_line(files: Files, status: str, revoked: str) -> str:
    serial = f"{files.leaf.certificate.serial_number:X}"
    serial = serial if len(serial) % 2 == 0 else f"0{serial}"
    return f"{status}\t21000101000000Z\t{revoked}\t{serial}\tunknown\t/CN=x\n"


@pytest.mark.parametrize("certid_hash", CertIdHash)
def test_our_client_believes_openssl(files: Files, certid_hash: CertIdHash) -> None:
    with openssl_responder(files, _index_line(files, "V", "")) as url:
        assert we_ask(files, url, certid_hash)


def test_our_client_hears_of_a_revocation_from_openssl(files: Files) -> None:
    line = _index_line(files, "R", "250304050607Z,keyCompromise")
    with openssl_responder(files, line) as url:
        with pytest.raises(CertificateRevoked) as caught:
            we_ask(files, url)
        assert (caught.value.revoked_at, caught.value.reason) == (REVOKED_AT, "keyCompromise")


def test_our_client_refuses_the_openssl_responder_of_another_authority(files: Files) -> None:
    other = _long_lived(authority_spec("Other CA", None))
    impostor = _long_lived(delegate_spec(other, "Impostor"))
    with (
        openssl_responder(replace(files, delegate=impostor), _index_line(files, "V", "")) as url,
        pytest.raises(CertificateStatusUnavailable, match="ResponderNotAuthorised"),
    ):
        we_ask(files, url)


def test_the_lifetime_of_this_pki_covers_today() -> None:
    assert START < _now() < END - timedelta(days=365)
