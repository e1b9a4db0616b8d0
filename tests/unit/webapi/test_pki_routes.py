"""The plain-HTTP listener: what it refuses, what caches may keep, and what it answers."""

import base64
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from werkzeug.http import http_date
from werkzeug.test import TestResponse

from ocsp.config import CertIdHash, NonceMode
from ocsp.request import build_query
from ocsp.responder.answering import Answer, ResponderCa
from tests.support.certificates import NOW, development_like_pki
from tests.support.databases import Database
from webapi import ocsp_service
from webapi.browser_guard import HEADERS
from webapi.limits import RateLimit, SourceLimiter
from webapi.ocsp_service import OcspService, StoredStatuses
from webapi.operations.metrics import Metrics
from webapi.pki.answer_headers import answer_headers
from webapi.pki.routes import create_pki_app
from webapi.pki.service import MAX_ENCODED, MAX_REQUEST_BYTES
from webapi.storage.certificates import CertificateRecord, CertificateState, SqlCertificateStore
from webapi.storage.realm import Realm

PKI = development_like_pki()
LEAF = PKI.leaf.certificate
TYPE = "application/ocsp-request"
GOOD, UNKNOWN = x509_ocsp.OCSPCertStatus.GOOD, x509_ocsp.OCSPCertStatus.UNKNOWN


def ask(nonce: bytes | None = None, serial: int | None = None) -> bytes:
    certificate = LEAF if serial is None else PKI.leaf_with(serial=serial).certificate
    return build_query(
        certificate,
        PKI.citizen_ca.certificate,
        certid_hash=CertIdHash.SHA256,
        nonce=NonceMode.OFF if nonce is None else NonceMode.REQUIRE,
        random_bytes=lambda _: nonce or b"",
    ).der


class TokenBusy(Exception):
    """What a key in a token may raise."""


@dataclass
class Listener:
    """The application with its store and a clock that stands."""

    store: SqlCertificateStore
    client: FlaskClient
    at: datetime = field(default=NOW)


class BusyStore(SqlCertificateStore):
    """A store whose look-up fails as a busy token would."""

    def status_to_tell(self, ca: str, serial: int) -> CertificateRecord | None:
        raise TokenBusy


def agreed() -> None:
    """The records are today's."""


def _service(store: SqlCertificateStore) -> OcspService:
    ca = ResponderCa(
        "citizen-ca", PKI.citizen_ca.certificate, PKI.delegate.certificate, PKI.delegate.key
    )
    return OcspService([ca], store, lambda: NOW, busy=(TokenBusy,), require_agreement=agreed)


def listener(service: OcspService, burst: int = 1_000) -> Flask:
    return create_pki_app(
        service,
        lambda: NOW,
        limiter=SourceLimiter(RateLimit(burst, 1.0)),
        observer=Metrics(CollectorRegistry()),
    )


@pytest.fixture
def store(database: Database) -> SqlCertificateStore:
    store = SqlCertificateStore(database.engine(Realm.PKI))
    store.register(
        ca="citizen-ca",
        serial=LEAF.serial_number,
        subject="CN=Bat Bold",
        not_after=LEAF.not_valid_after_utc,
    )
    return store


@pytest.fixture
def client(store: SqlCertificateStore) -> FlaskClient:
    return listener(_service(store)).test_client()


def post(client: FlaskClient, body: bytes, path: str = "/ocsp/citizen-ca") -> TestResponse:
    return client.post(path, data=body, content_type=TYPE)


def parsed(response: TestResponse) -> x509_ocsp.OCSPResponse:
    assert response.status_code == 200
    assert response.content_type == "application/ocsp-response"
    return x509_ocsp.load_der_ocsp_response(response.data)


def test_another_content_type_is_refused(client: FlaskClient) -> None:
    response = client.post("/ocsp", data=ask(), content_type="application/octet-stream")
    assert response.status_code == 415
    assert response.json is not None
    assert response.json["code"] == "content_type_wrong"


def test_an_oversized_body_is_refused(client: FlaskClient) -> None:
    assert post(client, bytes(MAX_REQUEST_BYTES + 1)).status_code == 413


@pytest.mark.parametrize("path", ["/ocsp/other-ca", "/ocsp/other-ca/AAAA", "/certs/other-ca.cer"])
def test_an_authority_that_is_not_here_is_not_found(client: FlaskClient, path: str) -> None:
    method = "GET" if path.count("/") == 3 or path.startswith("/certs") else "POST"
    response = client.open(path, method=method, data=b"x", content_type=TYPE)
    assert response.status_code == 404


@pytest.mark.parametrize("encoded", ["!!!!", "AAA", "A" * (MAX_ENCODED + 4), "%C3%A9%C3%A9"])
def test_a_path_that_is_no_base64_is_malformed(client: FlaskClient, encoded: str) -> None:
    response = client.get(f"/ocsp/citizen-ca/{encoded}")
    assert parsed(response).response_status is x509_ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    assert response.headers["Cache-Control"] == "no-store"


def test_a_malformed_request_is_answered_unsigned_and_not_kept(client: FlaskClient) -> None:
    response = post(client, b"garbage")
    assert parsed(response).response_status is x509_ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    assert response.headers["Cache-Control"] == "no-store"
    assert "ETag" not in response.headers


def test_a_busy_key_is_answered_by_try_later(store: SqlCertificateStore) -> None:
    service = _service(BusyStore(store._engine))
    client = listener(service).test_client()
    response = post(client, ask())
    assert parsed(response).response_status is x509_ocsp.OCSPResponseStatus.TRY_LATER


def test_an_unlawful_row_is_an_error_and_never_good() -> None:
    class Odd(SqlCertificateStore):
        def __init__(self) -> None:
            """Needs no database."""

        def status_to_tell(self, ca: str, serial: int) -> CertificateRecord | None:
            return CertificateRecord(ca, serial, "CN=x", NOW, CertificateState.SUSPENDED)

    with pytest.raises(ValueError, match="since never"):
        StoredStatuses(Odd(), agreed).status("citizen-ca", 1)


@pytest.mark.parametrize("path", ["/ocsp", "/ocsp/citizen-ca"])
def test_an_answer_to_a_nonce_is_for_one_client_only(client: FlaskClient, path: str) -> None:
    response = post(client, ask(b"n" * 32), path)
    assert parsed(response).certificate_status is x509_ocsp.OCSPCertStatus.GOOD
    assert response.headers["Cache-Control"] == "no-store"
    assert "Expires" not in response.headers


def test_an_unissued_serial_number_is_unknown_and_not_kept(client: FlaskClient) -> None:
    response = post(client, ask(serial=4711))
    assert parsed(response).certificate_status is x509_ocsp.OCSPCertStatus.UNKNOWN
    assert response.headers["Cache-Control"] == "no-store"


def test_an_answer_without_nonce_may_be_kept_by_caches(client: FlaskClient) -> None:
    response = post(client, ask())
    answer = parsed(response)
    assert answer.certificate_status is x509_ocsp.OCSPCertStatus.GOOD
    headers = response.headers
    assert headers["Cache-Control"] == "max-age=300, public, no-transform, must-revalidate"
    assert headers["Last-Modified"] == headers["Date"] == http_date(NOW)
    assert headers["Expires"] == http_date(NOW + timedelta(minutes=10))
    assert headers["ETag"] == f'"{sha256(response.data).hexdigest()}"'
    assert headers["Content-Length"] == str(len(response.data))


@pytest.mark.parametrize(
    ("at", "date", "age"),
    [
        (NOW, NOW, 300),
        (NOW + timedelta(milliseconds=1), NOW, 299),
        (NOW + timedelta(seconds=1), NOW + timedelta(seconds=1), 299),
        (NOW + timedelta(minutes=10), NOW + timedelta(minutes=10), 0),
        (NOW + timedelta(minutes=11), NOW + timedelta(minutes=11), 0),
    ],
)
def test_caches_are_given_half_of_the_time_that_is_left_at_most(
    at: datetime, date: datetime, age: int
) -> None:
    answer = Answer(b"x", this_update=NOW, next_update=NOW + timedelta(minutes=10), cacheable=True)
    for _ in range(2):
        headers = dict(answer_headers(answer, at))
        assert headers["Cache-Control"].startswith(f"max-age={age}, public")
        assert headers["Date"] == http_date(date)


def test_requests_that_are_understood_already_are_few_and_short_and_without_nonce(
    store: SqlCertificateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ocsp_service, "MAX_KEPT_REQUESTS", 2)
    service = _service(store)
    client = listener(service).test_client()
    for body in (ask(), ask(b"n" * 32), ask(serial=1), ask(serial=2), ask(), b"garbage"):
        first, again = post(client, body), post(client, body)
        assert first.status_code == again.status_code == 200
        assert len(service._understood) <= 2
    assert (ask(), "citizen-ca") in service._understood
    assert parsed(post(client, ask(), "/ocsp")).certificate_status is GOOD
    assert (ask(), None) in service._understood
    monkeypatch.setattr(ocsp_service, "MAX_KEPT_REQUEST", 0)
    assert parsed(post(client, ask(serial=3))).certificate_status is UNKNOWN
    assert (ask(serial=3), "citizen-ca") not in service._understood


@pytest.mark.parametrize("escape", [True, False])
@pytest.mark.parametrize("serial", range(1, 40))
def test_requests_come_by_get_as_well(client: FlaskClient, serial: int, escape: bool) -> None:
    # Nonces of 0xFF bytes make runs of slashes in base64.
    body = ask(b"\xff" * (serial % 7 + 1) + bytes([serial]))
    encoded = base64.b64encode(body).decode()
    response = client.get(f"/ocsp/citizen-ca/{quote(encoded, safe='') if escape else encoded}")
    assert parsed(response).certificate_status is x509_ocsp.OCSPCertStatus.GOOD


def test_statuses_follow_the_table(client: FlaskClient, store: SqlCertificateStore) -> None:
    serial = LEAF.serial_number
    store.suspend(ca="citizen-ca", serial=serial, at=NOW - timedelta(hours=1))
    suspended = parsed(post(client, ask()))
    assert suspended.revocation_reason is not None
    assert suspended.revocation_reason.value == "certificateHold"
    assert suspended.revocation_time_utc == NOW - timedelta(hours=1)
    store.restore(ca="citizen-ca", serial=serial, at=NOW)
    restored = parsed(post(client, ask()))
    assert restored.certificate_status is x509_ocsp.OCSPCertStatus.GOOD
    store.revoke(ca="citizen-ca", serial=serial, at=NOW, reason="keyCompromise")
    revoked = parsed(post(client, ask()))
    assert revoked.revocation_reason is not None
    assert revoked.revocation_reason.value == "keyCompromise"


def test_the_authoritys_certificate_is_published(client: FlaskClient) -> None:
    response = client.get("/certs/citizen-ca.cer")
    assert response.content_type == "application/pkix-cert"
    assert response.data == PKI.citizen_ca.certificate.public_bytes(Encoding.DER)
    assert response.headers["Cache-Control"] == "max-age=86400, public"


def test_an_address_that_asks_too_often_is_told_to_wait(store: SqlCertificateStore) -> None:
    client = listener(_service(store), burst=2).test_client()
    for _ in range(2):
        assert post(client, ask()).status_code == 200
    refused = post(client, ask())
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "30"
    assert refused.json is not None
    assert refused.json["code"] == "too_many_requests"
    others = client.post(
        "/ocsp", data=ask(), content_type=TYPE, environ_base={"REMOTE_ADDR": "192.0.2.9"}
    )
    assert others.status_code == 200


@pytest.mark.parametrize("path", ["/certs/citizen-ca.cer", "/nowhere", "/ocsp", "/certs/none.cer"])
def test_every_answer_bears_the_security_headers(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    assert "Strict-Transport-Security" not in response.headers
    assert ("Tamga-Incident" in response.headers) == (response.status_code >= 400)
