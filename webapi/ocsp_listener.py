"""The responder's plain-HTTP listener, put together: part of the wiring."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from flask import Flask
from sqlalchemy import Engine

from ocsp.responder.answering import ResponderCa, SigningKey
from ocsp.responder.crl_issuing import CrlIssuer
from pkcs11_bridge.errors import NeedsPerson, RetryLater
from pkcs11_bridge.signing_keys import ec_signing_key, rsa_signing_key
from signer.backend import PayloadSigner
from signer.errors import AuditBehind, NoKeyForPurpose, PermitExpired, RangeUsedUp
from signer.payload import Payload, Purpose, crl_payload, ocsp_response_payload
from signer.rotation import Rotated
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


Job = tuple[str, JobAction, float]
"""In the background: name, action (True: more is left), seconds between two runs."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What the listener's process runs.

    Attributes:
        application: answers.
        jobs: in the background.
    """

    application: Flask
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Ground:
    """What every part of a listener stands on.

    Attributes:
        listener: its settings.
        engine: of the realm that knows what the CA issued.
        compare: that realm with its audit folder, as `webapi.put_back.compare_audit_log`.
        metrics: of this process.
    """

    listener: OcspListenerSettings
    engine: Engine
    compare: Callable[[], None]
    metrics: Metrics

    def watched(self, *jobs: Job) -> Sequence[Job]:
        """The same jobs, measured."""
        return [(name, self.metrics.watched_job(name, act), pause) for name, act, pause in jobs]

    def agreement(self) -> Callable[[], None]:
        """What raises where the records are not today's: part of each that reads them."""
        watch = RecordsWatch(self.compare)
        watch_connections(self.engine, watch.expire)
        return watch.require_agreement


def make_responder(
    ground: Ground, delegate: Path, signer: PayloadSigner, lists: CrlSource | None
) -> Listener:
    """What answers for one CA by one delegate's key, and gives its lists out.

    Args:
        ground: settings, database and the like.
        delegate: the file with the delegate's certificate.
        signer: has its key.
        lists: where the CA's lists are; None where none are made.

    Raises:
        NoKeyForPurpose, ocsp.errors.ResponderMisconfigured: certificates and keys do not belong
            together.
    """
    listener = ground.listener
    require_agreement = ground.agreement()
    key = _signing_key(signer, Purpose.OCSP_CITIZEN_CA, listener.ca, ocsp_response_payload)
    authority = ResponderCa(
        name=listener.ca,
        certificate=read_certificate_file(listener.ca_certificate),
        delegate=read_certificate_file(delegate),
        key=key,
        validity=listener.answer_life,
    )
    named = sha256(authority.delegate_der).digest()
    lane = PresignedLane(
        authority,
        SqlPresignedAnswers(ground.engine, authority.name, named),
        validity=listener.presigned_life,
        require_agreement=require_agreement,
        clock=clock.now,
    )
    service = OcspService(
        [authority],
        SqlCertificateStore(ground.engine),
        clock.now,
        busy=LATER,
        require_agreement=require_agreement,
        presigned={listener.ca: lane},
        lists={} if lists is None else {listener.ca: lists},
    )
    rate = RateLimit(
        burst=listener.requests_per_source_burst,
        per_minute=listener.requests_per_source_per_minute,
    )
    application = create_pki_app(
        WatchedOcspService(service, ground.metrics),
        clock.now,
        limiter=SourceLimiter(rate),
        observer=ground.metrics,
    )
    jobs = ground.watched(
        ("presigned-answers", lane.run_once, PRESIGN_SECONDS),
        ("presigned-purge", lane.purge, PURGE_SECONDS),
    )
    return Listener(application, jobs)


def make_issuer(
    listener: OcspListenerSettings, certificate: Path, signer: PayloadSigner
) -> CrlIssuer:
    """What signs the CA's lists by one key.

    Args:
        listener: its settings.
        certificate: the file with the certificate of the lists' key.
        signer: has that key.

    Raises:
        As `make_responder`.
    """
    key = _signing_key(signer, Purpose.CRL_CITIZEN_CA, listener.ca, crl_payload)
    authority = read_certificate_file(listener.ca_certificate)
    return CrlIssuer(authority, read_certificate_file(certificate), key)


def make_lists(
    ground: Ground, issuers: Rotated[CrlIssuer], certificates: Iterable[Path]
) -> tuple[CrlSource, Sequence[Job]]:
    """Where a CA's lists are, and the job that makes them.

    Args:
        ground: settings, database and the like.
        issuers: sign, one after the other.
        certificates: the files with theirs, and with those of keys that signed before.

    Raises:
        ocsp.errors.ResponderMisconfigured: the certificates cannot be told apart.
    """
    ca = ground.listener.ca
    crls = SqlCrlStore(ground.engine, ca)
    source = CrlSource(crls, map(read_certificate_file, certificates))
    publisher = CrlPublisher(
        issuers,
        ca,
        source,
        crls,
        SqlCertificateStore(ground.engine),
        validity=ground.listener.crl_life,
        delta_url=ground.listener.delta_url,
        require_agreement=ground.agreement(),
        clock=clock.now,
    )
    return source, ground.watched(("revocation-lists", publisher.run_once, CRL_SECONDS))


def _signing_key(
    signer: PayloadSigner,
    purpose: Purpose,
    owner: str,
    payload_of: Callable[[Purpose, bytes], Payload],
) -> SigningKey:
    """A key in the shape that certificates' formats are signed with, under permits."""
    public_key = signer.public_key(purpose)

    def sign(message: bytes, _hash_name: str) -> bytes:
        return signer.sign(payload_of(purpose, message), owner=owner, at=clock.now()).raw

    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return ec_signing_key(public_key, sign)
    if isinstance(public_key, rsa.RSAPublicKey):
        return rsa_signing_key(public_key, sign)
    raise NoKeyForPurpose(f"the key {purpose} is neither P-256 nor RSA")
