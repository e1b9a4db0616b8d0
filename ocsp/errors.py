"""Everything that `ocsp` raises, grouped by what it means.

`CertificateRefused` says that something about the certificate is bad; `Undecided` that it could
not be found out. Both refuse a login; only the second is worth another try. `AnswerRefused` and
`TransportError` stay inside the package's status decision as the cause of `Unavailable`.
"""

from datetime import datetime
from enum import StrEnum


class TrustError(Exception):
    """Root of this package's errors."""


class ConfigurationInvalid(TrustError):
    """Trust anchors, issuer profiles or destinations make no sense: refuse to start."""


# --- the certificate is bad -------------------------------------------------------------------


class CertificateRefused(TrustError):
    """The certificate, its path or its status is bad."""


class CertificateMalformed(CertificateRefused):
    """Not one X.509 v3 certificate that RFC 5280 allows, or one that no parser here reads."""


class KeyTooWeak(CertificateRefused):
    """The public key's type, size or curve is below the issuer's floor."""


class SignatureAlgorithmRefused(CertificateRefused):
    """A certificate of the path is signed by an algorithm that is no longer trusted."""


class CertificatePurposeMissing(CertificateRefused):
    """The certificate has no KeyUsage extension, so it is for nothing in particular."""


class CertificatePurposeWrong(CertificateRefused):
    """KeyUsage or ExtendedKeyUsage is for something else, or the certificate is a CA's."""


class CertificatePolicyDisallowed(CertificateRefused):
    """The certificate has a policy that the issuer's profile refuses.

    Attributes:
        policy: the dotted OID.
    """

    def __init__(self, policy: str) -> None:
        super().__init__(f"certificate policy {policy} is refused")
        self.policy = policy


class CertificatePolicyMissing(CertificateRefused):
    """No policy of the issuer's profile is named by the certificate and valid for its path."""


class CertificateExtensionUnknown(CertificateRefused):
    """A critical extension that this package does not process (RFC 5280 section 4.2).

    Attributes:
        oid: dotted OID of the extension.
    """

    def __init__(self, oid: str) -> None:
        super().__init__(f"critical extension {oid} is not processed")
        self.oid = oid


class CertificateNotTrusted(CertificateRefused):
    """No valid path leads from a configured issuer and root to the certificate."""


class CertificatePersonMissing(CertificateRefused):
    """The subject does not name exactly one person as the issuer's profile says."""


class PathMember(StrEnum):
    """Whose validity period failed."""

    USER = "user certificate"
    AUTHORITY = "CA certificate"


class CertificateNotYetValid(CertificateRefused):
    """The time of the check is before `not_before`.

    Attributes:
        member: whose certificate.
        not_before: start of its validity.
    """

    def __init__(self, member: PathMember, not_before: datetime) -> None:
        super().__init__(f"{member} is not valid before {not_before.isoformat()}")
        self.member = member
        self.not_before = not_before


class CertificateExpired(CertificateRefused):
    """The time of the check is after `not_after`.

    Attributes:
        member: whose certificate.
        not_after: end of its validity.
    """

    def __init__(self, member: PathMember, not_after: datetime) -> None:
        super().__init__(f"{member} expired {not_after.isoformat()}")
        self.member = member
        self.not_after = not_after


class CertificateRevoked(CertificateRefused):
    """The CA's responder says: revoked for good.

    Attributes:
        revoked_at: when, by the CA's word.
        reason: RFC 5280 CRLReason in its ASN.1 spelling ("keyCompromise"), None if not given.
    """

    def __init__(self, revoked_at: datetime, reason: str | None) -> None:
        super().__init__(f"revoked {revoked_at.isoformat()}, reason {reason}")
        self.revoked_at = revoked_at
        self.reason = reason


class CertificateSuspended(CertificateRefused):
    """The CA's responder says: on hold (certificateHold); it may be released later.

    Attributes:
        since: start of the suspension, by the CA's word.
    """

    def __init__(self, since: datetime) -> None:
        super().__init__(f"suspended since {since.isoformat()}")
        self.since = since


class AuthorityRevoked(CertificateRefused):
    """A CA certificate of the path is revoked or on hold, by the word of the CA above.

    Attributes:
        name: its subject, RFC 4514.
        since: when.
    """

    def __init__(self, name: str, since: datetime) -> None:
        super().__init__(f"CA certificate {name} is revoked since {since.isoformat()}")
        self.name = name
        self.since = since


# --- could not find out -----------------------------------------------------------------------


class Undecided(TrustError):
    """Neither good nor bad: could not be found out."""


class PathUndecided(Undecided):
    """The path could not be judged: the engine failed or its time was up."""


class CertificateStatusUnknown(Undecided):
    """The CA's responder does not know the certificate (RFC 6960 section 2.2, "unknown").

    Attributes:
        responder: name of the responder that said so.
    """

    def __init__(self, responder: str) -> None:
        super().__init__(f"responder {responder} does not know the certificate")
        self.responder = responder


class CertificateStatusUnavailable(Undecided):
    """No acceptable answer about the status was had.

    Attributes:
        cause: the `AnswerRefused`, `CrlRefused` or `TransportError` that says why; of several, the
            last.
    """

    def __init__(
        self, cause: "AnswerRefused | CrlRefused | TransportError", attempts: str = ""
    ) -> None:
        super().__init__(attempts or f"{type(cause).__name__}: {cause}")
        self.cause = cause


class CrlRefused(TrustError):
    """A CRL fails a check of RFC 5280 section 6.3.3, or no CRL covers the certificate.

    Its subclasses are in `ocsp.crl.errors`.
    """


class QuestionWrong(TrustError):
    """The recorded question of a decision is not one that the decision can rest on."""


# --- an OCSP answer is refused ----------------------------------------------------------------


class AnswerRefused(TrustError):
    """An OCSP answer fails a check of RFC 6960 section 3.2: no evidence of any status."""


class AnswerHttpWrong(AnswerRefused):
    """HTTP status other than 200, or a content type other than application/ocsp-response.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, content_type: str) -> None:
        super().__init__(f"status {status}, type {content_type[:80]!r}")
        self.status = status


class AnswerMalformed(AnswerRefused):
    """Not the DER of an OCSPResponse, or of another responseType than id-pkix-ocsp-basic."""


class ResponderDeclined(AnswerRefused):
    """responseStatus is not successful; it is unsigned, so it means "no answer".

    Attributes:
        response_status: malformedRequest, internalError, tryLater, sigRequired or unauthorized.
    """

    def __init__(self, response_status: str) -> None:
        super().__init__(f"responseStatus {response_status}")
        self.response_status = response_status


class AnswerAlgorithmRefused(AnswerRefused):
    """The answer is signed by an algorithm outside the issuer's list."""


class AnswerSignatureInvalid(AnswerRefused):
    """The answer's signature does not verify under the responder's key."""


class ResponderNotAuthorised(AnswerRefused):
    """Signed by somebody who may not speak for this issuer (RFC 6960 section 4.2.2.2)."""


class ResponderNotNamed(ResponderNotAuthorised):
    """No certificate in the answer is the one that its ResponderID names."""


class ResponderKeyTooWeak(ResponderNotAuthorised):
    """The key of a certificate in the answer is below the floor."""


class DelegateStatusUnknown(ResponderNotAuthorised):
    """The delegate lacks id-pkix-ocsp-nocheck, and its own status is not known."""


class DelegateRevoked(ResponderNotAuthorised):
    """The delegate's certificate is revoked or on hold."""


class ResponderExpired(ResponderNotAuthorised):
    """The delegate's certificate is not valid at this time."""


class AnswerExtensionUnknown(AnswerRefused):
    """A critical extension in the answer that this package does not process.

    Attributes:
        oid: dotted OID of the extension.
    """

    def __init__(self, oid: str) -> None:
        super().__init__(f"critical extension {oid} is not processed")
        self.oid = oid


class AnswerStatementWrong(AnswerRefused):
    """A certHash extension that cannot be read, or is of another certificate."""


class KeptTooLong(AnswerRefused):
    """An answer from the cache, and the issuer's profile does not allow it, or not any more."""


class AnswerAboutAnother(AnswerRefused):
    """No SingleResponse has the CertID that was asked for."""


class AnswerStale(AnswerRefused):
    """Too old: nextUpdate has passed, is absent, or thisUpdate is older than the issuer's cap."""


class AnswerFromFuture(AnswerRefused):
    """thisUpdate or producedAt lies in the future."""


class AnswerTimesContradict(AnswerRefused):
    """producedAt, thisUpdate, nextUpdate and the responder's validity do not fit each other."""


class NonceMissing(AnswerRefused):
    """The issuer's profile requires the nonce and the answer has none (RFC 9919 section 8.1)."""


class NonceMismatch(AnswerRefused):
    """The answer has another nonce: a replay. Worth an alarm."""


# --- outgoing HTTP ----------------------------------------------------------------------------


class TransportError(TrustError):
    """Root of what outgoing HTTP raises."""


class TransportRefused(TransportError):
    """The request or its answer breaks a rule of ours; trying again changes nothing."""


class DestinationNotRegistered(TransportRefused):
    """The purpose has no such destination registered."""


class AddressRefused(TransportRefused):
    """The name resolves to an address that the destination does not allow."""


class RedirectRefused(TransportRefused):
    """The server answered with a redirect; none is ever followed."""


class BodyTooLarge(TransportRefused):
    """The answer's body is larger than the caller's cap."""


class TransportFailed(TransportError):
    """No answer was had."""


class DeadlineExceeded(TransportFailed):
    """The whole exchange did not end in time."""


class ResponderResting(TransportFailed):
    """It failed several times in a row and is not asked for a while (`ocsp.breaker`).

    Attributes:
        until: when it is tried again.
    """

    def __init__(self, until: datetime) -> None:
        super().__init__(f"left alone until {until.isoformat()}")
        self.until = until


class NameUnresolved(TransportFailed):
    """The destination's host name has no address."""


class ConnectionFailed(TransportFailed):
    """The connection, TLS or HTTP exchange broke."""


# --- our own responder ------------------------------------------------------------------------


class RequestMalformed(TrustError):
    """A client's OCSP request cannot be answered by anybody."""


class ResponderMisconfigured(ConfigurationInvalid):
    """A responder's delegate, key and CA do not belong together."""
