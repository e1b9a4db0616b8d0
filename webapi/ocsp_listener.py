"""The responder's plain-HTTP listener, put together: part of the wiring."""

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from sqlalchemy import Engine

from ocsp.responder.answering import ResponderCa
from pkcs11_bridge.errors import RetryLater
from pkcs11_bridge.signing_keys import ec_signing_key
from signer.backend import PayloadSigner
from signer.errors import AuditBehind, NoKeyForPurpose
from signer.payload import Purpose, ocsp_response_payload
from webapi import clock
from webapi.limits import RateLimit, SourceLimiter
from webapi.ocsp_service import OcspService
from webapi.operations.metrics import Metrics
from webapi.pki.routes import create_pki_app
from webapi.put_back import RecordsDoubtful, RecordsWatch
from webapi.settings_model import OcspListenerSettings
from webapi.storage.answer_holds import AnswersOnHold
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.engine import watch_connections
from webapi.storage.errors import DatabaseBusy, DatabaseUnavailable
from webapi.trust_settings import read_certificate_file
from webapi.watched import WatchedOcspService

LATER = (
    RetryLater,
    DatabaseBusy,
    DatabaseUnavailable,
    AuditBehind,
    AnswersOnHold,
    RecordsDoubtful,
)
"""What passes, or what a person ends."""


def make_listener(
    listener: OcspListenerSettings,
    *,
    signer: PayloadSigner,
    engine: Engine,
    compare: Callable[[], None],
    metrics: Metrics,
) -> Flask:
    """The application that answers for one CA.

    Args:
        listener: its settings.
        signer: has its delegate's key.
        engine: of the realm that knows what the CA issued.
        compare: that realm with its audit folder, as `webapi.put_back.compare_audit_log`.
        metrics: of this process.

    Raises:
        NoKeyForPurpose, ocsp.errors.ResponderMisconfigured: certificates and key do not belong
            together.
    """
    authority = ResponderCa(
        name=listener.ca,
        certificate=read_certificate_file(listener.ca_certificate),
        delegate=read_certificate_file(listener.delegate_certificate),
        key=_answering_key(Purpose.OCSP_CITIZEN_CA, signer, owner=listener.ca),
        validity=listener.answer_life,
    )
    watch = RecordsWatch(compare)
    watch_connections(engine, watch.expire)
    service = OcspService(
        [authority],
        SqlCertificateStore(engine),
        clock.now,
        busy=LATER,
        require_agreement=watch.require_agreement,
    )
    rate = RateLimit(
        burst=listener.requests_per_source_burst,
        per_minute=listener.requests_per_source_per_minute,
    )
    return create_pki_app(
        WatchedOcspService(service, metrics),
        clock.now,
        limiter=SourceLimiter(rate),
        observer=metrics,
    )


def _answering_key(
    purpose: Purpose, signer: PayloadSigner, *, owner: str
) -> ec.EllipticCurvePrivateKey:
    """A delegate's key in the shape that the responder signs with, under ranges of permits."""
    public_key = signer.public_key(purpose)
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise NoKeyForPurpose(f"the key {purpose} is not on P-256")

    def sign(message: bytes, _hash_name: str) -> bytes:
        payload = ocsp_response_payload(purpose, message)
        return signer.sign(payload, owner=owner, at=clock.now()).raw

    return ec_signing_key(public_key, sign)
