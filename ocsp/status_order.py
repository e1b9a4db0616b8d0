"""Responders and lists with equal rights, in the order of the issuer's profile."""

from dataclasses import dataclass
from datetime import datetime

from ocsp.chain import ValidatedChain
from ocsp.crl.rules import StatusOrder
from ocsp.status import CertificateStatus, Unavailable
from ocsp.trust import StatusSource


@dataclass(frozen=True, slots=True)
class StatusByOrder:
    """`ocsp.trust.StatusSource`: the first that says anything; the second only if it says nothing.

    Unknown is an answer: it refuses, and nobody else is asked.

    Attributes:
        responders: OCSP.
        lists: CRLs.
    """

    responders: StatusSource
    lists: StatusSource

    def status_of(self, chain: ValidatedChain, at: datetime) -> CertificateStatus:
        """As the sources, by the order of the issuer's profile."""
        match chain.profile.order:
            case StatusOrder.OCSP:
                return self.responders.status_of(chain, at)
            case StatusOrder.CRL_ONLY:
                return self.lists.status_of(chain, at)
            case StatusOrder.OCSP_THEN_CRL:
                return _first_to_say(self.responders, self.lists, chain, at)
            case StatusOrder.CRL_THEN_OCSP:
                return _first_to_say(self.lists, self.responders, chain, at)


def _first_to_say(
    first: StatusSource, second: StatusSource, chain: ValidatedChain, at: datetime
) -> CertificateStatus:
    status = first.status_of(chain, at)
    if not isinstance(status, Unavailable):
        return status
    other = second.status_of(chain, at)
    if not isinstance(other, Unavailable):
        return other
    return Unavailable(other.cause, (*status.attempts, *other.attempts))
