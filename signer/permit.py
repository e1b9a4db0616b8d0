"""Permits: a private key signs nothing without one.

A permit is recorded durably before it exists as an object, names one key, one
owner, one digest and a time limit, and is spent before the key is touched: a
crash in between loses a signature and never doubles one.
"""

import secrets
from dataclasses import InitVar, dataclass
from datetime import datetime, timedelta
from typing import Never, Protocol

from signer.errors import PermitExpired, PermitMismatch
from signer.payload import Payload, Purpose

_SEAL = object()


@dataclass(frozen=True, slots=True)
class PermitRecord:
    """What the ledger keeps of a permit.

    Attributes:
        permit_id: 32 hexadecimal digits, random.
        purpose: names the key.
        owner: for whom is signed: a client, an election, or the service itself.
        digest: SHA-256 of the bytes to be signed, 32 bytes.
        issued_at: aware UTC.
        expires_at: aware UTC; at this instant the permit is no longer good.
    """

    permit_id: str
    purpose: Purpose
    owner: str
    digest: bytes
    issued_at: datetime
    expires_at: datetime


class PermitLedger(Protocol):
    """Where permits are recorded; each call is durable when it returns."""

    def record(self, permit: PermitRecord) -> None:
        """Record a permit that is not yet spent.

        Raises:
            PermitExists: a permit of this id is recorded.
        """

    def spend(self, permit_id: str, at: datetime) -> None:
        """Mark a permit as spent; of any number of simultaneous calls one succeeds.

        Raises:
            PermitUnknown: it was never recorded.
            PermitAlreadySpent: it was spent before.
        """


@dataclass(frozen=True, slots=True)
class SigningPermit:
    """The right to one signature; made by `issue_permit` alone.

    Attributes:
        record: what the ledger holds of it.
    """

    record: PermitRecord
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            msg = "a SigningPermit is made by issue_permit() alone"
            raise TypeError(msg)

    def __reduce__(self) -> Never:
        msg = "a SigningPermit cannot be pickled"
        raise TypeError(msg)


def issue_permit(
    payload: Payload, *, owner: str, ledger: PermitLedger, at: datetime, life: timedelta
) -> SigningPermit:
    """Record a permit for this payload, then return it.

    Args:
        payload: what may be signed.
        owner: for whom, not empty.
        ledger: records it durably first.
        at: now, aware UTC.
        life: how long the permit is good; positive.
    """
    if not owner or life <= timedelta(0):
        msg = "a permit needs an owner and a positive life"
        raise ValueError(msg)
    record = PermitRecord(
        permit_id=secrets.token_hex(16),
        purpose=payload.purpose,
        owner=owner,
        digest=payload.digest,
        issued_at=at,
        expires_at=at + life,
    )
    ledger.record(record)
    return SigningPermit(record, _SEAL)


def spend_permit(
    permit: SigningPermit, payload: Payload, *, ledger: PermitLedger, at: datetime
) -> None:
    """Use the permit up for this payload; the caller may touch the key next.

    Raises:
        PermitMismatch: the permit is for another key or other bytes.
        PermitExpired: its time is over.
        PermitAlreadySpent, PermitUnknown: the ledger says so.
    """
    if permit.record.purpose is not payload.purpose:
        raise PermitMismatch("the permit is for another key")
    if not secrets.compare_digest(permit.record.digest, payload.digest):
        raise PermitMismatch("the permit is for other bytes")
    if at >= permit.record.expires_at:
        raise PermitExpired("the permit's time is over")
    ledger.spend(permit.record.permit_id, at)
