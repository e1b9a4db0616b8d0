"""An OCSP answer judged step by step: RFC 6960 section 3.2 with RFC 9919 and RFC 9654.

Pure: bytes, the question, the issuer, its profile and a time go in; a status with evidence comes
out, or a refusal that names the check. Steps 1 to 4 are the request's, 17 on are for caches.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from asn1crypto import algos
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp

from ocsp.certificate import ReadCertificate
from ocsp.config import IssuerProfile, NonceMode
from ocsp.errors import (
    AnswerAboutAnother,
    AnswerAlgorithmRefused,
    AnswerExtensionUnknown,
    AnswerFromFuture,
    AnswerHttpWrong,
    AnswerMalformed,
    AnswerSignatureInvalid,
    AnswerStale,
    AnswerStatementWrong,
    AnswerTimesContradict,
    NonceMismatch,
    NonceMissing,
    ResponderDeclined,
)
from ocsp.request import OcspQuery, cert_id_of
from ocsp.responder_authority import (
    AuthorisedResponder,
    DelegateStatus,
    ResponderId,
    find_responder,
    refuse_unchecked,
)
from ocsp.signature_algorithms import algorithm_identifier, scheme_of
from ocsp.status import AnsweredStatus, Good, OcspEvidence, Revoked, Suspended, Unknown
from ocsp.transport import HttpAnswer

CONTENT_TYPE = "application/ocsp-response"

MAX_SINGLE_RESPONSES = 16
"""SingleResponses looked at in one answer."""

NEVER_ISSUED_AT = datetime(1970, 1, 1, tzinfo=UTC)
"""With certificateHold: the responder's way to say "never issued" (RFC 6960 section 2.2)."""

CERT_HASH_OID = "1.3.36.8.3.13"
"""id-isismtt-at-certHash: the responder knows this certificate, not only its number."""

_HASH_NAMES = frozenset({"sha1", "sha256", "sha384", "sha512"})

_FOREIGN = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, UserWarning)
"""What parsing hostile DER raises in `cryptography`; a warning where warnings are errors."""


@dataclass(frozen=True, slots=True)
class _SingleExtension:
    """An extension of a SingleResponse; `value` is the DER inside, empty where it is not needed."""

    oid: str
    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class _ReadAnswer:
    """A parsed, successful answer; nothing in it is verified."""

    der: bytes
    response: x509_ocsp.OCSPResponse
    singles: tuple[x509_ocsp.OCSPSingleResponse, ...]
    certificates: tuple[x509.Certificate, ...]
    responder_id: ResponderId
    extensions: x509.Extensions
    single_extensions: tuple[tuple[_SingleExtension, ...], ...]


def judge_answer(
    unverified_answer: HttpAnswer,
    *,
    query: OcspQuery,
    issuer: ReadCertificate,
    profile: IssuerProfile,
    responder_url: str,
    at: datetime,
    delegate_status: DelegateStatus = refuse_unchecked,
    signer_as_of_production: bool = False,
) -> AnsweredStatus:
    """What the issuer's responder says about the certificate that was asked about.

    Args:
        unverified_answer: as it came.
        query: the question.
        issuer: the CA certificate of the validated path.
        profile: the issuer's rules.
        responder_url: where it came from, for the evidence.
        at: the time of the check, in UTC.
        delegate_status: asked about a delegate without nocheck.
        signer_as_of_production: a delegate has to be in date at producedAt instead of `at`, for an
            answer that was heard before.

    Raises:
        AnswerRefused: by the subclass that names the failed check.
    """
    # 5. HTTP 200 and the right media type (RFC 6960 appendix A.2); size, time and redirects were
    #    the transport's.
    if unverified_answer.status != 200 or unverified_answer.content_type != CONTENT_TYPE:
        raise AnswerHttpWrong(unverified_answer.status, unverified_answer.content_type)
    # 6. responseStatus successful (RFC 6960 section 4.2.2.3); the others are unsigned: no answer.
    # 7. responseType id-pkix-ocsp-basic (section 4.2.1).
    answer = _read_answer(unverified_answer.body)
    # 9. Signed by the issuer itself or by its own delegate (section 4.2.2.2).
    # 10. Whose own status nobody needs to ask for (id-pkix-ocsp-nocheck, section 4.2.2.2.1), or a
    #     list says that it is good.
    # 11. Named by key or by name (section 4.2.1, ResponderID).
    responder = find_responder(
        answer.responder_id,
        answer.certificates,
        issuer=issuer,
        allowed_hashes=profile.answer_hashes,
        at=answer.response.produced_at_utc if signer_as_of_production else at,
        delegate_status=delegate_status,
    )
    # 8. The signature, under an allowed algorithm and a key that is strong enough; only now, as 9
    #    to 11 found the key (section 3.2 number 2).
    _check_signature(answer, responder, profile.answer_hashes)
    return _judge_content(
        answer, responder, query=query, profile=profile, responder_url=responder_url, at=at
    )


def _judge_content(
    answer: _ReadAnswer,
    responder: AuthorisedResponder,
    *,
    query: OcspQuery,
    profile: IssuerProfile,
    responder_url: str,
    at: datetime,
) -> AnsweredStatus:
    """Checks 12 to 16, and 18: what an authorised responder has signed."""
    # 12. About our certificate: all four CertID fields (section 3.2 number 1).
    matching = [
        (single, extensions)
        for single, extensions in zip(answer.singles, answer.single_extensions, strict=True)
        if _is_about(single, query)
    ]
    if not matching:
        raise AnswerAboutAnother("no SingleResponse has the CertID that was asked for")
    # 13. Fresh, and its times fit each other (section 3.2 numbers 5 and 6, section 4.2.2.1).
    for single, _ in matching:
        _check_times(single, answer.response.produced_at_utc, responder, profile, at)
    # 14. No critical extension that is not processed here (section 4.4), on either level.
    _check_critical_singles(answer.single_extensions)
    _check_critical(answer.extensions)
    # 15. The nonce (RFC 9654 section 2.1, RFC 9919 section 8.1).
    nonce_matched = _check_nonce(answer.extensions, query, profile.nonce)
    # 18. A positive statement, if there is one, is about this very certificate; archiveCutoff says
    #     nothing that matters here.
    for _, extensions in matching:
        _check_certificate_hash(extensions, query.certificate)
    # 16. The status (section 2.2); of contradictory answers the worst.
    found = [
        _status(
            single,
            _evidence(single, answer, responder, responder_url, query, nonce_matched=nonce_matched),
        )
        for single, _ in matching
    ]
    return max(found, key=lambda status: _SEVERITY.index(type(status)))


_SEVERITY: list[type[AnsweredStatus]] = [Good, Unknown, Suspended, Revoked]


def _read_answer(unverified_der: bytes) -> _ReadAnswer:
    try:
        response = x509_ocsp.load_der_ocsp_response(unverified_der)
    except _FOREIGN as e:
        raise AnswerMalformed("not an OCSPResponse with a basic response") from e
    if response.response_status is not x509_ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ResponderDeclined(response.response_status.name.lower())
    try:
        singles = tuple(response.responses)
        read = _ReadAnswer(
            der=unverified_der,
            response=response,
            singles=singles,
            certificates=tuple(response.certificates),
            responder_id=ResponderId(response.responder_key_hash, response.responder_name),
            extensions=response.extensions,
            single_extensions=_single_extensions(response, singles, unverified_der),
        )
        _ = (response.produced_at_utc, response.tbs_response_bytes)
    except (*_FOREIGN, x509.DuplicateExtension) as e:
        raise AnswerMalformed("a part of the basic response cannot be read") from e
    if len(singles) > MAX_SINGLE_RESPONSES:
        raise AnswerMalformed(f"more than {MAX_SINGLE_RESPONSES} single responses")
    return read


def _single_extensions(
    response: x509_ocsp.OCSPResponse,
    singles: tuple[x509_ocsp.OCSPSingleResponse, ...],
    der: bytes,
) -> tuple[tuple[_SingleExtension, ...], ...]:
    """The extensions of each SingleResponse."""
    if len(singles) == 1:
        found = response.single_extensions
        return (tuple(_SingleExtension(e.oid.dotted_string, e.critical, _raw(e)) for e in found),)
    # `cryptography` shows them for a lone SingleResponse only.
    parsed = asn1_ocsp.OCSPResponse.load(der).response_data
    return tuple(
        tuple(
            _SingleExtension(e["extn_id"].dotted, e["critical"].native, bytes(e["extn_value"]))
            for e in single["single_extensions"] or ()
        )
        for single in parsed["responses"]
    )


def _raw(extension: x509.Extension[x509.ExtensionType]) -> bytes:
    value = extension.value
    return value.value if isinstance(value, x509.UnrecognizedExtension) else b""


def _check_signature(
    answer: _ReadAnswer, responder: AuthorisedResponder, allowed_hashes: frozenset[str]
) -> None:
    response, key = answer.response, responder.key
    oid = response.signature_algorithm_oid
    try:
        scheme = scheme_of(oid, lambda: _algorithm_identifier(answer.der), allowed_hashes)
    except _FOREIGN as e:
        raise AnswerMalformed("the signature algorithm cannot be read") from e
    if scheme is None:
        raise AnswerAlgorithmRefused(f"signature algorithm {oid.dotted_string}")
    if not isinstance(key, scheme.key_type):
        raise AnswerAlgorithmRefused("the algorithm is for another type of key")
    try:
        scheme.verify(key, response.signature, response.tbs_response_bytes)
    except InvalidSignature as e:
        raise AnswerSignatureInvalid(f"not signed by {responder.name}") from e


def _algorithm_identifier(der: bytes) -> bytes:
    basic = asn1_ocsp.OCSPResponse.load(der)["response_bytes"]["response"]
    return algorithm_identifier(bytes(basic))


def _is_about(single: x509_ocsp.OCSPSingleResponse, query: OcspQuery) -> bool:
    try:
        return cert_id_of(single) == query.cert_id
    except _FOREIGN:
        # A hash that nobody asked for: an answer about something else.
        return False


def _check_times(
    single: x509_ocsp.OCSPSingleResponse,
    produced_at: datetime,
    responder: AuthorisedResponder,
    profile: IssuerProfile,
    at: datetime,
) -> None:
    # Name the instants first, then compare.
    latest, earliest = at + profile.skew, at - profile.skew
    this_update, next_update = single.this_update_utc, single.next_update_utc
    if this_update > latest or produced_at > latest:
        raise AnswerFromFuture(f"thisUpdate {this_update}, producedAt {produced_at}, now {at}")
    if at - this_update > profile.max_age:
        raise AnswerStale(f"thisUpdate {this_update} is older than {profile.max_age} at {at}")
    if next_update is None:
        if profile.next_update_required:
            raise AnswerStale("no nextUpdate")
    elif next_update < this_update:
        raise AnswerTimesContradict(f"nextUpdate {next_update} before thisUpdate {this_update}")
    elif next_update < earliest:
        raise AnswerStale(f"nextUpdate {next_update} has passed at {at}")
    if produced_at < this_update:
        raise AnswerTimesContradict(f"producedAt {produced_at} before thisUpdate {this_update}")
    certificate = responder.certificate
    if not certificate.not_valid_before_utc <= produced_at <= certificate.not_valid_after_utc:
        raise AnswerTimesContradict(f"producedAt {produced_at} outside the responder's validity")


def _check_critical(extensions: Iterable[x509.Extension[x509.ExtensionType]]) -> None:
    for extension in extensions:
        if extension.critical and not isinstance(extension.value, x509.OCSPNonce):
            raise AnswerExtensionUnknown(extension.oid.dotted_string)


def _check_critical_singles(singles: Iterable[Iterable[_SingleExtension]]) -> None:
    # None is processed here; certHash only restricts what the answer says anyway.
    for extensions in singles:
        for extension in extensions:
            if extension.critical:
                raise AnswerExtensionUnknown(extension.oid)


def _check_certificate_hash(
    extensions: Iterable[_SingleExtension], certificate: x509.Certificate
) -> None:
    for extension in extensions:
        if extension.oid != CERT_HASH_OID:
            continue
        try:
            # CertHash (Common PKI 2.0 part 4 section 3.1.2) has the form of a DigestInfo.
            stated = algos.DigestInfo.load(extension.value, strict=True)
            name = str(stated["digest_algorithm"]["algorithm"].native)
            digest = bytes(stated["digest"].native)
        except _FOREIGN as e:
            raise AnswerStatementWrong("certHash cannot be read") from e
        # By an algorithm that nobody here knows it states nothing.
        der = certificate.public_bytes(Encoding.DER)
        if name in _HASH_NAMES and hashlib.new(name, der).digest() != digest:
            raise AnswerStatementWrong("certHash is of another certificate")


def _check_nonce(extensions: x509.Extensions, query: OcspQuery, mode: NonceMode) -> bool:
    if query.nonce is None:
        # Not asked for: whatever came is ignored.
        return False
    try:
        echoed = extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound as e:
        if mode is NonceMode.REQUIRE:
            raise NonceMissing("the answer has no nonce") from e
        return False
    if echoed != query.nonce:
        raise NonceMismatch("the answer has another nonce")
    return True


def _evidence(
    single: x509_ocsp.OCSPSingleResponse,
    answer: _ReadAnswer,
    responder: AuthorisedResponder,
    responder_url: str,
    query: OcspQuery,
    *,
    nonce_matched: bool,
) -> OcspEvidence:
    return OcspEvidence(
        response_der=answer.der,
        responder_name=responder.name,
        responder_url=responder_url,
        this_update=single.this_update_utc,
        next_update=single.next_update_utc,
        produced_at=answer.response.produced_at_utc,
        nonce_matched=nonce_matched,
        request_der=query.der,
        lists=responder.lists,
    )


def _status(single: x509_ocsp.OCSPSingleResponse, evidence: OcspEvidence) -> AnsweredStatus:
    responder = evidence.responder_name
    if single.certificate_status is x509_ocsp.OCSPCertStatus.GOOD:
        return Good(evidence)
    revoked_at = single.revocation_time_utc
    if single.certificate_status is x509_ocsp.OCSPCertStatus.UNKNOWN or revoked_at is None:
        return Unknown(responder, evidence)
    reason = _reason(single)
    if reason is x509.ReasonFlags.certificate_hold:
        if revoked_at == NEVER_ISSUED_AT:
            return Unknown(responder, evidence)
        return Suspended(revoked_at, evidence)
    return Revoked(revoked_at, None if reason is None else str(reason.value), evidence)


def _reason(single: x509_ocsp.OCSPSingleResponse) -> x509.ReasonFlags | None:
    try:
        return single.revocation_reason
    except ValueError:
        # A CRLReason that RFC 5280 section 5.3.1 does not define, under a good signature. That the
        # certificate is revoked does not hang on why; to refuse the answer would only promise the
        # user that a later try may help.
        return None
