"""Whatever a token or the signer can fail by: each has its unsigned status, and never an answer."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp as x509_ocsp
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

import pkcs11_bridge.errors as token_errors
import signer.errors as signer_errors
from ocsp.responder.answering import ResponderCa
from pkcs11_bridge.encoding import HashName
from pkcs11_bridge.errors import KeyGone, Misconfigured, NeedsPerson, RetryLater, TokenError
from pkcs11_bridge.signing_keys import ec_signing_key
from signer.errors import SignerError
from tests.support.certificates import NOW, development_like_pki
from tests.support.ocsp_questions import question
from webapi.limits import RateLimit, SourceLimiter
from webapi.ocsp_listener import LATER
from webapi.ocsp_service import OcspService
from webapi.operations.metrics import Metrics
from webapi.pki.routes import create_pki_app
from webapi.storage.certificates import CertificateRecord, SqlCertificateStore

PKI = development_like_pki()
SERIAL = PKI.leaf.certificate.serial_number
Status = x509_ocsp.OCSPResponseStatus
LATER_STATUS, INTERNAL = Status.TRY_LATER, Status.INTERNAL_ERROR

ROWS: dict[type[Exception], Status] = {
    RetryLater: LATER_STATUS,
    NeedsPerson: LATER_STATUS,
    Misconfigured: INTERNAL,
    KeyGone: INTERNAL,
    signer_errors.PayloadRefused: INTERNAL,
    signer_errors.PermitExists: INTERNAL,
    signer_errors.PermitUnknown: INTERNAL,
    signer_errors.PermitAlreadySpent: INTERNAL,
    signer_errors.PermitExpired: LATER_STATUS,
    signer_errors.PermitMismatch: INTERNAL,
    signer_errors.PermitForked: INTERNAL,
    signer_errors.RangeEndsLost: INTERNAL,
    signer_errors.RangeUsedUp: LATER_STATUS,
    signer_errors.AuditBehind: LATER_STATUS,
    signer_errors.NoKeyForPurpose: INTERNAL,
    signer_errors.KeyLifeError: INTERNAL,
    signer_errors.SignatureInvalid: INTERNAL,
}
"""By the group that says what can be done; a class of no group has a row of its own."""

NEVER_OF_A_RESPONDER = (
    signer_errors.StatementError,
    signer_errors.LoginRefused,
    signer_errors.ChallengeStockEmpty,
)
"""Of people and logins; were one raised here all the same, it would be an internalError."""

ROOTS = (TokenError, SignerError, signer_errors.PermitError)


def _below(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for derived in root.__subclasses__():
        yield from _below(derived)


WALKED = sorted(
    {
        error_class
        for root in (TokenError, SignerError)
        for error_class in _below(root)
        if error_class.__module__ in (token_errors.__name__, signer_errors.__name__)
    },
    key=lambda error_class: error_class.__qualname__,
)


def expected(error_class: type[Exception]) -> Status | None:
    return next((ROWS[base] for base in error_class.__mro__ if base in ROWS), None)


class Store(SqlCertificateStore):
    """One good certificate, and no database."""

    def __init__(self) -> None:
        """Needs none."""

    def status_to_tell(self, ca: str, serial: int) -> CertificateRecord | None:
        return CertificateRecord(ca, serial, "CN=Bat", NOW)


def client_whose_key_raises(error: Exception, store: Store | None = None) -> FlaskClient:
    def sign(_message: bytes, _hash_name: HashName) -> bytes:
        raise error

    public_key = PKI.delegate.certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    ca = ResponderCa(
        "citizen-ca",
        PKI.citizen_ca.certificate,
        PKI.delegate.certificate,
        ec_signing_key(public_key, sign),
    )
    service = OcspService(
        [ca], store or Store(), lambda: NOW, busy=LATER, require_agreement=lambda: None
    )
    return create_pki_app(
        service,
        lambda: NOW,
        limiter=SourceLimiter(RateLimit(1_000, 1.0)),
        observer=Metrics(CollectorRegistry()),
    ).test_client()


def ask(client: FlaskClient, path: str) -> TestResponse:
    return client.post(
        path,
        data=question(PKI.citizen_ca.certificate, SERIAL, nonce=bytes(32)),
        content_type="application/ocsp-request",
    )


def made(error_class: type[Exception]) -> Exception:
    """An instance, whatever its constructor asks for."""
    return error_class.__new__(error_class)


def test_each_class_has_a_row_of_its_own_or_of_its_group() -> None:
    without = {
        error_class
        for error_class in WALKED
        if expected(error_class) is None
        and error_class not in ROOTS
        and not issubclass(error_class, NEVER_OF_A_RESPONDER)
    }
    assert without == set()
    assert len(WALKED) > len(ROWS)


@pytest.mark.parametrize("path", ["/ocsp/citizen-ca", "/ocsp"])
@pytest.mark.parametrize("error_class", [*WALKED, ValueError], ids=lambda c: c.__qualname__)
def test_a_failure_is_an_unsigned_status_that_nobody_keeps(
    error_class: type[Exception], path: str
) -> None:
    client = client_whose_key_raises(made(error_class))
    with capture_logs() as logs:
        response = ask(client, path)
    assert (response.status_code, response.content_type) == (200, "application/ocsp-response")
    assert response.headers["Cache-Control"] == "no-store"
    told = x509_ocsp.load_der_ocsp_response(response.data)
    status = expected(error_class) or INTERNAL
    assert told.response_status is status
    (line,) = logs
    assert line["incident"] == response.headers["Tamga-Incident"]
    if status is LATER_STATUS:
        assert (line["event"], line["log_level"]) == ("ocsp_try_later", "warning")
        assert line["error_class"] == error_class.__qualname__
    else:
        assert (line["event"], line["log_level"]) == ("ocsp_internal_error", "error")
        assert line["causes"][0]["error_class"] == error_class.__qualname__


def test_a_failure_is_met_once_and_not_again_behind_the_quick_lane() -> None:
    asked = []

    class Counting(Store):
        def status_to_tell(self, ca: str, serial: int) -> CertificateRecord | None:
            asked.append(serial)
            return super().status_to_tell(ca, serial)

    response = ask(client_whose_key_raises(KeyGone(), Counting()), "/ocsp/citizen-ca")
    assert x509_ocsp.load_der_ocsp_response(response.data).response_status is INTERNAL
    assert asked == [SERIAL]
