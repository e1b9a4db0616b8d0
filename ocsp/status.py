"""The closed union of what can be known about a certificate's status. Use match + assert_never."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from ocsp.errors import AnswerRefused, TransportError


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

    @property
    def sha256(self) -> str:
        """Lower-case hexadecimal SHA-256 of `response_der`."""
        return sha256(self.response_der).hexdigest()


@dataclass(frozen=True, slots=True)
class Good:
    """Not revoked, by the word of the issuing CA."""

    evidence: OcspEvidence


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
    evidence: OcspEvidence


@dataclass(frozen=True, slots=True)
class Suspended:
    """On hold (reason certificateHold).

    Attributes:
        since: when it was suspended.
        evidence: the answer that says so.
    """

    since: datetime
    evidence: OcspEvidence


@dataclass(frozen=True, slots=True)
class Unknown:
    """The responder does not know the certificate, or says that it was never issued.

    Attributes:
        responder: name of the responder.
        evidence: the answer that says so.
    """

    responder: str
    evidence: OcspEvidence


@dataclass(frozen=True, slots=True)
class Attempt:
    """A question that brought no acceptable answer.

    Attributes:
        source: URL of the responder.
        cause: why not.
    """

    source: str
    cause: AnswerRefused | TransportError

    def __str__(self) -> str:
        return f"{self.source}: {type(self.cause).__name__}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No acceptable answer was had.

    Attributes:
        cause: why not; of several reasons the last.
        attempts: every reason, in the order of the attempts.
    """

    cause: AnswerRefused | TransportError
    attempts: tuple[Attempt, ...] = ()


CertificateStatus = Good | Revoked | Suspended | Unknown | Unavailable
AnsweredStatus = Good | Revoked | Suspended | Unknown
