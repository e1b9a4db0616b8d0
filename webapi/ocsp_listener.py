"""The responder's plain-HTTP listener, put together: part of the wiring."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from flask import Flask
from sqlalchemy import Engine

from ocsp.responder.answering import ResponderCa, SigningKey
from ocsp.responder.crl_issuing import CrlIssuer
from pkcs11_bridge.errors import NeedsPerson, RetryLater
from pkcs11_bridge.signing_keys import ec_signing_key, rsa_signing_key
from signer.backend import PayloadSigner
from signer.errors import AuditBehind, NoKeyForPurpose, PermitExpired, RangeUsedUp
from signer.payload import Payload, Purpose, crl_payload, ocsp_response_payload
from webapi import clock
from webapi.crl_publishing import CrlPublisher
from webapi.limits import RateLimit, SourceLimiter
from webapi.ocsp_service import OcspService
from webapi.operations.metrics import JobAction, Metrics
from webapi.pki.routes import create_pki_app
from webapi.presigning import PresignedLane
from webapi.published_lists import CrlSource
from webapi.put_back import RecordsDoubtful, RecordsWatch
from webapi.settings_responder import OcspListenerSettings
from webapi.storage.answer_holds import AnswersOnHold
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.crls import SqlCrlStore
from webapi.storage.engine import watch_connections
from webapi.storage.errors import DatabaseBusy, DatabaseUnavailable
from webapi.storage.presigned_answers import SqlPresignedAnswers
from webapi.trust_settings import read_certificate_file
from webapi.watched import WatchedOcspService

LATER = (
    RetryLater,
    NeedsPerson,
    DatabaseBusy,
    DatabaseUnavailable,
    AuditBehind,
    PermitExpired,  # while it was being used; the next request gets a new one
    RangeUsedUp,  # this process is ending, and another begins
    AnswersOnHold,
    RecordsDoubtful,
)
"""What passes, or what a person ends."""

PRESIGN_SECONDS = 1.0
PURGE_SECONDS = 60.0
CRL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Listener:
    """What the listener's process runs.

    Attributes:
        application: answers.
        jobs: in the background: name, action (True: more is left), seconds between two runs.
    """

    application: Flask
    jobs: Sequence[tuple[str, JobAction, float]]


SignerFor = Callable[[Purpose], PayloadSigner]
"""Gives what signs for a purpose, on behalf of the CA."""


def make_listener(
    listener: OcspListenerSettings,
    *,
    signer_for: SignerFor,
    engine: Engine,
    compare: Callable[[], None],
    metrics: Metrics,
) -> Listener:
    """What answers for one CA, and publishes its lists.

    Args:
        listener: its settings.
        signer_for: has its delegate's key, and that of its lists.
        engine: of the realm that knows what the CA issued.
        compare: that realm with its audit folder, as `webapi.put_back.compare_audit_log`.
        metrics: of this process.

    Raises:
        NoKeyForPurpose, ocsp.errors.ResponderMisconfigured: certificates and keys do not belong
            together.
    """
    watch = RecordsWatch(compare)
    watch_connections(engine, watch.expire)
    parts = _Parts(listener, signer_for, engine, watch.require_agreement)
    authority = parts.authority()
    lane = parts.lane(authority)
    jobs: list[tuple[str, JobAction, float]] = [
        ("presigned-answers", lane.run_once, PRESIGN_SECONDS),
        ("presigned-purge", lane.purge, PURGE_SECONDS),
    ]
    lists = {}
    if listener.crl_certificate is not None:
        issuer = parts.crl_issuer(authority, read_certificate_file(listener.crl_certificate))
        publisher = parts.crl_publisher(issuer)
        certificate = issuer.certificate.public_bytes(Encoding.DER)
        lists[listener.ca] = CrlSource(certificate, SqlCrlStore(engine, listener.ca))
        jobs.append(("revocation-lists", publisher.run_once, CRL_SECONDS))
    service = OcspService(
        [authority],
        SqlCertificateStore(engine),
        clock.now,
        busy=LATER,
        require_agreement=watch.require_agreement,
        presigned={listener.ca: lane},
        lists=lists,
    )
    rate = RateLimit(
        burst=listener.requests_per_source_burst,
        per_minute=listener.requests_per_source_per_minute,
    )
    application = create_pki_app(
        WatchedOcspService(service, metrics),
        clock.now,
        limiter=SourceLimiter(rate),
        observer=metrics,
    )
    return Listener(
        application, [(name, metrics.watched_job(name, act), pause) for name, act, pause in jobs]
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Makes the parts of a listener."""

    listener: OcspListenerSettings
    signer_for: SignerFor
    engine: Engine
    require_agreement: Callable[[], None]

    def authority(self) -> ResponderCa:
        return ResponderCa(
            name=self.listener.ca,
            certificate=read_certificate_file(self.listener.ca_certificate),
            delegate=read_certificate_file(self.listener.delegate_certificate),
            key=self._key(Purpose.OCSP_CITIZEN_CA, ocsp_response_payload),
            validity=self.listener.answer_life,
        )

    def lane(self, authority: ResponderCa) -> PresignedLane:
        delegate = sha256(authority.delegate_der).digest()
        return PresignedLane(
            authority,
            SqlPresignedAnswers(self.engine, authority.name, delegate),
            validity=self.listener.presigned_life,
            require_agreement=self.require_agreement,
            clock=clock.now,
        )

    def crl_issuer(self, authority: ResponderCa, certificate: x509.Certificate) -> CrlIssuer:
        key = self._key(Purpose.CRL_CITIZEN_CA, crl_payload)
        return CrlIssuer(authority.certificate, certificate, key)

    def crl_publisher(self, issuer: CrlIssuer) -> CrlPublisher:
        return CrlPublisher(
            issuer,
            self.listener.ca,
            SqlCrlStore(self.engine, self.listener.ca),
            SqlCertificateStore(self.engine),
            validity=self.listener.crl_life,
            delta_url=self.listener.delta_url,
            require_agreement=self.require_agreement,
            clock=clock.now,
        )

    def _key(self, purpose: Purpose, payload_of: Callable[[Purpose, bytes], Payload]) -> SigningKey:
        """A key in the shape that certificates' formats are signed with, under permits."""
        signer = self.signer_for(purpose)
        public_key = signer.public_key(purpose)

        def sign(message: bytes, _hash_name: str) -> bytes:
            payload = payload_of(purpose, message)
            return signer.sign(payload, owner=self.listener.ca, at=clock.now()).raw

        if isinstance(public_key, ec.EllipticCurvePublicKey):
            return ec_signing_key(public_key, sign)
        if isinstance(public_key, rsa.RSAPublicKey):
            return rsa_signing_key(public_key, sign)
        raise NoKeyForPurpose(f"the key {purpose} is neither P-256 nor RSA")
