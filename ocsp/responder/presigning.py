"""Answers signed beforehand: twins for the two usual CertID hashes, and when the next are due.

Two answers with one SingleResponse each, and not one with two: clients that expect exactly one
refuse others.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ocsp.responder.answering import Question, ResponderCa, signed_answer
from ocsp.responder.statuses import IssuedStatus

SHORT_LIFE = timedelta(hours=16)
"""Below it the next answer is due by half-time (Baseline Requirements 4.9.10)."""

MARGIN = timedelta(hours=8)
"""So long before nextUpdate the answer after a longer one is due."""

LONGEST_PAUSE = timedelta(days=4)
"""At the latest so long after thisUpdate."""


@dataclass(frozen=True, slots=True)
class Twins:
    """Two answers about one certificate that differ in the hash of the CertID.

    Attributes:
        sha1: encoded OCSPResponse.
        sha256: likewise.
        this_update: of both.
        next_update: of both.
    """

    sha1: bytes = field(repr=False)
    sha256: bytes = field(repr=False)
    this_update: datetime
    next_update: datetime


def sign_twins(
    ca: ResponderCa, serial: int, status: IssuedStatus, at: datetime, *, validity: timedelta
) -> Twins:
    """Sign both answers by a delegate that `can_sign`.

    Args:
        ca: whose delegate signs.
        serial: of a certificate that the CA issued.
        status: what is said of it.
        at: now, in UTC; the answers have whole seconds.
        validity: from thisUpdate to nextUpdate; ends earlier with the delegate.
    """
    sha1, sha256 = (
        signed_answer(
            Question(ca, ca.cert_id(hash_name, serial), None), status, at, validity=validity
        ).der
        for hash_name in ("sha1", "sha256")
    )
    this_update = at.replace(microsecond=0)
    return Twins(sha1, sha256, this_update, ca.end_of(this_update, validity))


def refresh_due(this_update: datetime, next_update: datetime) -> datetime:
    """When the next answer is due (Baseline Requirements 4.9.10)."""
    life = next_update - this_update
    if life < SHORT_LIFE:
        return this_update + life / 2
    return min(next_update - MARGIN, this_update + LONGEST_PAUSE)
