"""From a validated chain to a trusted certificate: the status is good, or it is refused."""

from collections.abc import Callable
from dataclasses import InitVar, dataclass
from datetime import datetime
from typing import Never, Protocol, assert_never

from ocsp.chain import ValidatedChain
from ocsp.errors import (
    CertificateRevoked,
    CertificateStatusUnavailable,
    CertificateStatusUnknown,
    CertificateSuspended,
)
from ocsp.responder_authority import DelegateStatus, refuse_unchecked
from ocsp.status import (
    CertificateStatus,
    Evidence,
    Good,
    Revoked,
    Suspended,
    Unavailable,
    Unknown,
)

_SEAL = object()


class StatusSource(Protocol):
    """Where a certificate's status is learnt; `ocsp.client.OcspClient` is one."""

    def status_of(self, chain: ValidatedChain, at: datetime) -> CertificateStatus:
        """The status of the chain's leaf, by the issuer's own word.

        Args:
            chain: after proof of possession.
            at: the time of the check, in UTC.

        Raises:
            CertificateExpired, CertificateNotYetValid: nobody is asked about such a certificate.
        """
        ...


DelegatesOf = Callable[[ValidatedChain, datetime], DelegateStatus]
"""Who says that a delegate of a chain's issuer is good at a time, where it must be asked."""


def refuse_all(_chain: ValidatedChain, _at: datetime) -> DelegateStatus:
    """Where there are no lists: every delegate without nocheck is refused."""
    return refuse_unchecked


@dataclass(frozen=True, slots=True)
class TrustedCertificate:
    """A validated chain whose leaf is good by the issuer's own word.

    Made by `establish_trust` alone. It proves an identity, not a permission.

    Attributes:
        chain: path, profile and the time for which it holds.
        evidence: the OCSP answer, or the lists.
    """

    chain: ValidatedChain
    evidence: Evidence
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("TrustedCertificate is made by establish_trust() alone")

    def __reduce__(self) -> Never:
        raise TypeError("TrustedCertificate cannot be pickled")


def establish_trust(
    chain: ValidatedChain, *, source: StatusSource, at: datetime
) -> TrustedCertificate:
    """The same chain, trusted: its leaf is good. Everything else refuses (hard fail, check 20).

    Args:
        chain: from `validate_path`, after proof of possession.
        source: where the status is learnt.
        at: the time of the check, in UTC.

    Raises:
        CertificateRevoked, CertificateSuspended: the CA says so.
        CertificateStatusUnknown: the responder does not know the certificate.
        CertificateStatusUnavailable: no acceptable answer; `cause` says why.
        CertificateExpired, CertificateNotYetValid: out of date at `at`.
    """
    status = source.status_of(chain, at)
    match status:
        case Good(evidence):
            return TrustedCertificate(chain, evidence, seal=_SEAL)
        case Revoked(revoked_at, reason):
            raise CertificateRevoked(revoked_at, reason)
        case Suspended(since):
            raise CertificateSuspended(since)
        case Unknown(responder):
            raise CertificateStatusUnknown(responder)
        case Unavailable(cause, attempts):
            told = "; ".join(str(attempt) for attempt in attempts)
            raise CertificateStatusUnavailable(cause, told) from cause
        case _:
            assert_never(status)
