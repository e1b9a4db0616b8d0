"""From a validated chain to a trusted certificate: asks the issuer's responder; fails closed."""

import secrets
from collections.abc import Callable
from dataclasses import InitVar, dataclass
from datetime import datetime
from typing import Never, assert_never

from ocsp.chain import ValidatedChain
from ocsp.errors import (
    AnswerRefused,
    CertificateRevoked,
    CertificateStatusUnavailable,
    CertificateStatusUnknown,
    CertificateSuspended,
    TransportError,
)
from ocsp.request import CONTENT_TYPE as REQUEST_TYPE
from ocsp.request import build_query
from ocsp.response import CONTENT_TYPE as RESPONSE_TYPE
from ocsp.response import judge_answer
from ocsp.status import (
    CertificateStatus,
    Good,
    OcspEvidence,
    Revoked,
    Suspended,
    Unavailable,
    Unknown,
)
from ocsp.transport import Poster

PURPOSE = "ocsp"
"""Under which responders are registered with the egress."""

_SEAL = object()


@dataclass(frozen=True, slots=True)
class TrustedCertificate:
    """A validated chain whose leaf is good by the issuer's own word.

    Made by `establish_trust` alone. It proves an identity, not a permission.

    Attributes:
        chain: path, profile and the time for which it holds.
        evidence: the OCSP answer.
    """

    chain: ValidatedChain
    evidence: OcspEvidence
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("TrustedCertificate is made by establish_trust() alone")

    def __reduce__(self) -> Never:
        raise TypeError("TrustedCertificate cannot be pickled")


def query_status(
    chain: ValidatedChain,
    *,
    egress: Poster,
    at: datetime,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> CertificateStatus:
    """Ask the responder that the issuer's profile names, and judge its answer.

    The caller has proved before that somebody holds the leaf's key: nobody without the card may
    make us query a responder.

    Args:
        chain: whose leaf is asked about.
        egress: with the profile's responder registered under PURPOSE.
        at: the time of the check, in UTC.
        random_bytes: source of the nonce.
    """
    profile = chain.profile
    query = build_query(
        chain.leaf,
        chain.issuer,
        certid_hash=profile.certid_hash,
        nonce=profile.nonce,
        random_bytes=random_bytes,
    )
    try:
        unverified_answer = egress.post(
            PURPOSE,
            profile.responder_url,
            query.der,
            content_type=REQUEST_TYPE,
            accept=RESPONSE_TYPE,
            max_bytes=profile.answer_max_bytes,
            timeout=profile.answer_timeout,
        )
        return judge_answer(
            unverified_answer, query=query, issuer=chain.issuer, profile=profile, at=at
        )
    except (AnswerRefused, TransportError) as e:
        return Unavailable(e)


def establish_trust(
    chain: ValidatedChain,
    *,
    egress: Poster,
    at: datetime,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> TrustedCertificate:
    """The same chain, trusted: its leaf is good. Everything else refuses.

    Args:
        chain: from `validate_path`, after proof of possession.
        egress: with the profile's responder registered under PURPOSE.
        at: the time of the check, in UTC.
        random_bytes: source of the nonce.

    Raises:
        CertificateRevoked, CertificateSuspended: the CA says so.
        CertificateStatusUnknown: the responder does not know the certificate.
        CertificateStatusUnavailable: no acceptable answer; `cause` says why.
    """
    status = query_status(chain, egress=egress, at=at, random_bytes=random_bytes)
    match status:
        case Good(evidence):
            return TrustedCertificate(chain, evidence, seal=_SEAL)
        case Revoked(revoked_at, reason):
            raise CertificateRevoked(revoked_at, reason)
        case Suspended(since):
            raise CertificateSuspended(since)
        case Unknown(responder):
            raise CertificateStatusUnknown(responder)
        case Unavailable(cause):
            raise CertificateStatusUnavailable(cause) from cause
        case _:
            assert_never(status)
