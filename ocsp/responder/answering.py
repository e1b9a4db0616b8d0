"""OCSP requests understood and answered: RFC 6960 with the profile of RFC 9919."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp as x509_ocsp

from ocsp.certificate import read_certificate
from ocsp.errors import (
    CertificateRefused,
    RequestMalformed,
    ResponderMisconfigured,
    ResponderNotAuthorised,
)
from ocsp.request import CertId, cert_id_of
from ocsp.responder import encoding
from ocsp.responder.request_reading import read_request
from ocsp.responder.statuses import IssuedStatus, IssuedStatusSource, NotIssued
from ocsp.responder_authority import check_delegate, responder_key_hash

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_CERTID_HASHES: tuple[hashes.SHA1 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512, ...] = (
    hashes.SHA1(),  # noqa: S303 -- names a certificate; it protects nothing
    hashes.SHA256(),
    hashes.SHA384(),
    hashes.SHA512(),
)


class Declined(IntEnum):
    """The unsigned error statuses (RFC 6960 section 4.2.1)."""

    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    UNAUTHORIZED = 6


@dataclass(frozen=True, slots=True)
class Answer:
    """An encoded OCSPResponse and what HTTP has to know about it.

    Attributes:
        der: the bytes to send.
        declined: the error status, None if the answer is signed.
        this_update: of a signed answer.
        next_update: of a signed answer.
        cacheable: signed, without nonce and about an issued certificate: good for every client.
        presigned: it was signed before it was asked for.
        incident: the log's name for what kept it from being signed, None if nothing did.
    """

    der: bytes
    declined: Declined | None = None
    this_update: datetime | None = None
    next_update: datetime | None = None
    cacheable: bool = False
    presigned: bool = False
    incident: str | None = None


@dataclass(frozen=True, slots=True)
class ResponderCa:
    """A CA that we answer for, with its delegate's key.

    Attributes:
        name: under which the status source knows it, and its path in URLs.
        certificate: the CA's.
        delegate: issued directly by it, with id-kp-OCSPSigning and nocheck.
        key: a private key, or an object that is one to callers and signs in a token.
        validity: of an answer that is signed live, from thisUpdate to nextUpdate; ends earlier
            with the delegate.
        delegate_der: the delegate's certificate.
    """

    name: str
    certificate: x509.Certificate
    delegate: x509.Certificate
    key: SigningKey = field(repr=False)
    validity: timedelta = timedelta(minutes=10)
    _known_as: Mapping[str, tuple[bytes, bytes]] = field(init=False, repr=False)
    _key_hash: bytes = field(init=False, repr=False)
    delegate_der: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.validity < timedelta(seconds=1):
            raise ResponderMisconfigured(f"{self.name}: validity below a second")
        if self.key.public_key() != self.delegate.public_key():
            raise ResponderMisconfigured(f"{self.name}: the key is not the delegate's")
        try:
            delegate_der = self.delegate.public_bytes(serialization.Encoding.DER)
            read = read_certificate(delegate_der)
            check_delegate(
                read,
                issuer=read_certificate(self.certificate.public_bytes(serialization.Encoding.DER)),
                allowed_hashes=frozenset({"sha256", "sha384", "sha512"}),
                # Its dates are judged again for every answer.
                at=self.delegate.not_valid_before_utc,
            )
        except (CertificateRefused, ResponderNotAuthorised) as e:
            raise ResponderMisconfigured(f"{self.name}: {e}") from e
        object.__setattr__(self, "_known_as", dict(self._names()))
        object.__setattr__(self, "_key_hash", responder_key_hash(read.public_key))
        object.__setattr__(self, "delegate_der", delegate_der)

    def _names(self) -> Iterable[tuple[str, tuple[bytes, bytes]]]:
        for algorithm in _CERTID_HASHES:
            # The delegate stands for any certificate of the CA: the issuer's fields are the same.
            builder = x509_ocsp.OCSPRequestBuilder()
            request = builder.add_certificate(self.delegate, self.certificate, algorithm).build()
            known = cert_id_of(request)
            yield known.hash_name, (known.issuer_name_hash, known.issuer_key_hash)

    def issued(self, cert_id: CertId) -> bool:
        """Whether the CertID names this CA as the issuer."""
        named = (cert_id.issuer_name_hash, cert_id.issuer_key_hash)
        return self._known_as.get(cert_id.hash_name) == named

    def cert_id(self, hash_name: str, serial: int) -> CertId:
        """The CertID of a certificate of this CA, with one of the hashes that are understood."""
        return CertId(hash_name, *self._known_as[hash_name], serial)

    def can_sign(self, at: datetime) -> bool:
        """Whether the delegate's certificate is valid now, for a second more at least."""
        delegate = self.delegate
        this_update = at.replace(microsecond=0)
        return delegate.not_valid_before_utc <= this_update < delegate.not_valid_after_utc

    def end_of(self, this_update: datetime, validity: timedelta) -> datetime:
        """The nextUpdate of an answer: with the delegate's end nobody accepts it any more."""
        return min(this_update + validity, self.delegate.not_valid_after_utc)

    @property
    def key_hash(self) -> bytes:
        """The delegate's ResponderID: SHA-1 of its public key."""
        return self._key_hash

    def sign(self, data: bytes) -> tuple[bytes, bytes]:
        """The AlgorithmIdentifier and the signature over the data, with SHA-256."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            signature = self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
            return encoding.RSA_SHA256, signature
        return encoding.ECDSA_SHA256, self.key.sign(data, ec.ECDSA(hashes.SHA256()))


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was understood.

    Attributes:
        ca: whose delegate answers.
        cert_id: which certificate of that CA.
        nonce: to be echoed, None if it has none.
    """

    ca: ResponderCa
    cert_id: CertId
    nonce: bytes | None


def decline(status: Declined, *, incident: str | None = None) -> Answer:
    """An unsigned answer that says why there is none.

    Args:
        status: says it.
        incident: the log's name for what happened, if something did.
    """
    return Answer(encoding.unsuccessful(status), declined=status, incident=incident)


def answer(
    unverified_request: bytes,
    cas: Iterable[ResponderCa],
    statuses: IssuedStatusSource,
    at: datetime,
) -> Answer:
    """Answer one request with the present status, signed now.

    Args:
        unverified_request: DER, at most MAX_REQUEST_BYTES.
        cas: the CAs that this address answers for.
        statuses: where serial numbers are looked up; its errors and the key's pass through.
        at: now, in UTC; the answer has whole seconds.
    """
    question = understand(unverified_request, cas)
    return question if isinstance(question, Answer) else answer_live(question, statuses, at)


def understand(unverified_request: bytes, cas: Iterable[ResponderCa]) -> Question | Answer:
    """What is asked of which CA; else the unsigned answer that says why there is none.

    Args:
        unverified_request: DER, at most MAX_REQUEST_BYTES.
        cas: the CAs that this address answers for.
    """
    try:
        asked = read_request(unverified_request)
    except RequestMalformed:
        return decline(Declined.MALFORMED_REQUEST)
    ca = next((ca for ca in cas if ca.issued(asked.cert_id)), None)
    if ca is None:
        return decline(Declined.UNAUTHORIZED)
    return Question(ca, asked.cert_id, asked.nonce)


def answer_live(question: Question, statuses: IssuedStatusSource, at: datetime) -> Answer:
    """Answer with the present status, signed now, good for the CA's `validity`.

    Never "good" for a serial number that was not issued (Baseline Requirements 4.9.10).

    Args:
        question: as `understand` gives it.
        statuses: where the serial number is looked up; its errors and the key's pass through.
        at: now, in UTC; the answer has whole seconds.
    """
    ca = question.ca
    if not ca.can_sign(at):
        # Nobody would accept the delegate's signature now.
        return decline(Declined.INTERNAL_ERROR)
    status = statuses.status(ca.name, question.cert_id.serial_number)
    return signed_answer(question, status, at, validity=ca.validity)


def signed_answer(
    question: Question, status: IssuedStatus, at: datetime, *, validity: timedelta
) -> Answer:
    """Sign an answer by a delegate that `can_sign`.

    Args:
        question: which certificate, and the nonce to echo.
        status: what is said of it.
        at: now, in UTC; the answer has whole seconds.
        validity: from thisUpdate to nextUpdate; ends earlier with the delegate.
    """
    ca, cert_id = question.ca, question.cert_id
    this_update = at.replace(microsecond=0)
    next_update = ca.end_of(this_update, validity)
    data = encoding.response_data(
        key_hash=ca.key_hash,
        identifier=encoding.cert_id(
            cert_id.hash_name,
            cert_id.issuer_name_hash,
            cert_id.issuer_key_hash,
            cert_id.serial_number,
        ),
        status=status,
        this_update=this_update,
        next_update=next_update,
        nonce=question.nonce,
    )
    algorithm, signature = ca.sign(data)
    return Answer(
        der=encoding.successful(data, algorithm, signature, ca.delegate_der),
        this_update=this_update,
        next_update=next_update,
        cacheable=question.nonce is None and not isinstance(status, NotIssued),
    )
