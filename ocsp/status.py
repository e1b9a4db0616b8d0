"""The closed union of what can be known about a certificate's status. Use match + assert_never."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from ocsp.errors import AnswerRefused, CrlRefused, TransportError


@dataclass(frozen=True, slots=True)
class OcspEvidence:
    """The accepted answer, kept so that anybody can judge it again.

    Attributes:
        response_der: the whole OCSPResponse as it came.
        responder_name: subject of the certificate that signed it, RFC 4514.
        responder_url: where it was asked for.
        this_update: the status is known to be right at this time.
        next_update: newer information by then; None if the issuer's profile allows its absence.
        produced_at: when it was signed.
        nonce_matched: our nonce is in it, so it was made for this very question.
        request_der: the question that it answers; None if it is from the cache.
        from_cache: it was had for an earlier question, and judged again for this one.
        lists: DER of the CRLs by which the signer is good, if it needs any.
        authority_lists: DER of the CRLs by which the CA certificates of the path are good.
    """

    response_der: bytes = field(repr=False)
    responder_name: str
    responder_url: str
    this_update: datetime
    next_update: datetime | None
    produced_at: datetime
    nonce_matched: bool
    request_der: bytes | None = field(repr=False)
    from_cache: bool = False
    lists: tuple[bytes, ...] = field(default=(), repr=False)
    authority_lists: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def sha256(self) -> str:
        """Lower-case hexadecimal SHA-256 of `response_der`."""
        return sha256(self.response_der).hexdigest()


@dataclass(frozen=True, slots=True)
class CrlEvidence:
    """The lists that speak for the certificate, kept so that anybody can judge them again.

    Attributes:
        lists: DER of the CRLs used, a delta after its complete list.
        signer_name: subject of the certificate that signed the last of them, RFC 4514.
        urls: where they were fetched, in the same order.
        this_update: the status is known to be right at this time: that of the oldest.
        next_update: newer information by then: that of the earliest.
        authority_lists: DER of the CRLs by which the CA certificates of the path are good.
    """

    lists: tuple[bytes, ...] = field(repr=False)
    signer_name: str
    urls: tuple[str, ...]
    this_update: datetime
    next_update: datetime
    authority_lists: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def sha256(self) -> str:
        """Lower-case hexadecimal SHA-256 of each list, separated by spaces."""
        return " ".join(sha256(der).hexdigest() for der in self.lists)

    # What a record of either kind of evidence has; lists answer no question.

    @property
    def responder_name(self) -> str:
        """Who said the status: the lists' signer."""
        return self.signer_name

    @property
    def responder_url(self) -> str:
        """Where it came from, separated by spaces."""
        return " ".join(self.urls)

    @property
    def request_der(self) -> None:
        """No question was asked."""
        return

    @property
    def response_der(self) -> bytes:
        """There is no answer."""
        return b""

    @property
    def nonce_matched(self) -> bool:
        """Nor a nonce."""
        return False

    @property
    def from_cache(self) -> bool:
        """Lists are fetched ahead of need."""
        return True


Evidence = OcspEvidence | CrlEvidence


@dataclass(frozen=True, slots=True)
class Good:
    """Not revoked, by the word of the issuing CA."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Revoked:
    """Revoked for good.

    Attributes:
        at: when.
        reason: CRLReason in its ASN.1 spelling, None if not given or not defined.
        evidence: the answer that says so.
    """

    at: datetime
    reason: str | None
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Suspended:
    """On hold (reason certificateHold).

    Attributes:
        since: when it was suspended.
        evidence: the answer that says so.
    """

    since: datetime
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Unknown:
    """The responder does not know the certificate, or says that it was never issued.

    Attributes:
        responder: name of the responder.
        evidence: the answer that says so.
    """

    responder: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Attempt:
    """A question that brought no acceptable answer.

    Attributes:
        source: URL of the responder, or of the list.
        cause: why not.
    """

    source: str
    cause: AnswerRefused | CrlRefused | TransportError

    def __str__(self) -> str:
        return f"{self.source}: {type(self.cause).__name__}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No acceptable answer was had.

    Attributes:
        cause: why not; of several reasons the last.
        attempts: every reason, in the order of the attempts.
    """

    cause: AnswerRefused | CrlRefused | TransportError
    attempts: tuple[Attempt, ...] = ()


CertificateStatus = Good | Revoked | Suspended | Unknown | Unavailable
AnsweredStatus = Good | Revoked | Suspended | Unknown
