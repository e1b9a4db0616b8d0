"""What a CA knows about a serial number: a closed union, and who tells it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class RevocationReason(StrEnum):
    """Why a certificate was revoked for good (RFC 5280 section 5.3.1, ASN.1 spelling).

    certificateHold and removeFromCRL are not among them: suspension is a state of its own.
    """

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"


@dataclass(frozen=True, slots=True)
class IssuedGood:
    """Issued, and neither revoked nor suspended."""


@dataclass(frozen=True, slots=True)
class IssuedRevoked:
    """Revoked for good.

    Attributes:
        at: when, in UTC.
        reason: why.
    """

    at: datetime
    reason: RevocationReason


@dataclass(frozen=True, slots=True)
class IssuedSuspended:
    """On hold.

    Attributes:
        since: when, in UTC.
    """

    since: datetime


@dataclass(frozen=True, slots=True)
class NotIssued:
    """No certificate of this CA has the serial number."""


IssuedStatus = IssuedGood | IssuedRevoked | IssuedSuspended | NotIssued


class IssuedStatusSource(Protocol):
    """Where the responder looks a serial number up."""

    def status(self, ca: str, serial: int) -> IssuedStatus:
        """The present state of a serial number of the CA with this name."""
        ...
