"""Permits: a private key signs nothing without one.

A permit is recorded durably before it exists as an object, names one key, one
owner, one digest and a time limit, and is spent before the key is touched: a
crash in between loses a signature and never doubles one.

Permits that are reserved together are spent together: a batch of a log costs one transaction
before its keys are touched, however many keys sign it.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Never, Protocol

from signer.errors import PermitAlreadySpent, PermitExpired, PermitForked, PermitMismatch
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
    """Where permits are recorded; each call is one transaction, durable when it returns."""

    def reserve(self, records: Sequence[PermitRecord]) -> None:
        """Record permits that are not yet spent, and an audit entry for each of them.

        Raises:
            PermitExists: a permit of one of these ids is recorded.
            AuditBehind: too much waits to be sealed in the audit log.
        """

    def spend(self, permit_ids: Sequence[str], at: datetime) -> None:
        """Mark permits as spent, all or none; of simultaneous calls for one permit one succeeds.

        Raises:
            PermitUnknown: one was never recorded.
            PermitAlreadySpent: one was spent before.
        """


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a right ends: at an instant, and after so long by a clock that nobody can set.

    Records tell of time coarsely where a finer one would tell too much, and the instant is
    compared with a time that may be as coarse; so the second clock is what ends a right.

    Attributes:
        expires_at: aware UTC; at this instant the right is over.
        ends: monotonic seconds, likewise; they mean nothing to another process.
        stopwatch: monotonic seconds.
    """

    expires_at: datetime
    ends: float
    stopwatch: Callable[[], float] = field(repr=False, compare=False)

    @classmethod
    def after(cls, life: timedelta, *, at: datetime, stopwatch: Callable[[], float]) -> "Deadline":
        """The end of a life that begins now.

        Args:
            life: how long.
            at: now, aware UTC.
            stopwatch: monotonic seconds.
        """
        return cls(at + life, stopwatch() + life.total_seconds(), stopwatch)

    def require(self, at: datetime) -> None:
        """Refuse what is over at this time, or by now; raises PermitExpired."""
        if at >= self.expires_at or self.stopwatch() >= self.ends:
            raise PermitExpired("the permit's time is over")


@dataclass(frozen=True, slots=True)
class SigningPermit:
    """The right to one signature; made by `reserve_permits` and by ranges alone.

    Attributes:
        purpose: names the key.
        owner: for whom.
        digest: SHA-256 of the bytes to be signed, 32 bytes.
        deadline: when it is no longer good.
        use: uses the right up, or refuses.
    """

    purpose: Purpose
    owner: str
    digest: bytes
    deadline: Deadline
    use: Callable[[datetime], None] = field(repr=False, compare=False)
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            msg = "a SigningPermit is made by reserve_permits() and by ranges alone"
            raise TypeError(msg)

    def __reduce__(self) -> Never:
        msg = "a SigningPermit cannot be pickled"
        raise TypeError(msg)


def reserve_permits(
    payloads: Sequence[Payload],
    *,
    owner: str,
    ledger: PermitLedger,
    at: datetime,
    life: timedelta,
    stopwatch: Callable[[], float] = time.monotonic,
) -> tuple[SigningPermit, ...]:
    """Record a permit for each payload in one transaction, then return them in this order.

    The first that is used spends all of them in the ledger; each is still good for one
    signature only.

    Args:
        payloads: what may be signed.
        owner: for whom, not empty.
        ledger: records them durably first.
        at: now, aware UTC.
        life: how long the permits are good; positive.
        stopwatch: monotonic seconds.

    Raises:
        PermitExists, AuditBehind: as the ledger says.
    """
    if not owner or life <= timedelta(0):
        msg = "a permit needs an owner and a positive life"
        raise ValueError(msg)
    deadline = Deadline.after(life, at=at, stopwatch=stopwatch)
    records = [
        PermitRecord(
            permit_id=secrets.token_hex(16),
            purpose=payload.purpose,
            owner=owner,
            digest=payload.digest,
            issued_at=at,
            expires_at=deadline.expires_at,
        )
        for payload in payloads
    ]
    ledger.reserve(records)
    together = _SpentTogether(ledger, [record.permit_id for record in records])
    return tuple(
        sealed_permit(payload, owner=owner, deadline=deadline, use=together.one())
        for payload in payloads
    )


def sealed_permit(
    payload: Payload, *, owner: str, deadline: Deadline, use: Callable[[datetime], None]
) -> SigningPermit:
    """A permit for what was recorded just now; for this module and `signer.permit_range` alone.

    And for `signer.health`, whose texts are fixed and need no record.

    Args:
        payload: what may be signed.
        owner: for whom.
        deadline: when it ends.
        use: uses the recorded right up, once, or raises a PermitError.
    """
    return SigningPermit(payload.purpose, owner, payload.digest, deadline, use, _SEAL)


def spend_permit(permit: SigningPermit, payload: Payload, *, at: datetime) -> None:
    """Use the permit up for this payload; the caller may touch the key next.

    Raises:
        PermitMismatch: the permit is for another key or other bytes.
        PermitExpired: its time is over, if need be only after it was spent.
        PermitForked: it was given to another process.
        PermitAlreadySpent, PermitUnknown: the ledger or the range says so.
    """
    if permit.purpose is not payload.purpose:
        raise PermitMismatch("the permit is for another key")
    if not secrets.compare_digest(permit.digest, payload.digest):
        raise PermitMismatch("the permit is for other bytes")
    permit.deadline.require(at)
    permit.use(at)
    permit.deadline.require(at)  # the ledger may have kept us waiting


class SingleUse:
    """A right that this process has once, whatever its threads and forked children do."""

    __slots__ = ("_process", "_right")

    def __init__(self) -> None:
        self._process = os.getpid()
        self._right = [True]

    def __call__(self, _at: datetime) -> None:
        """Use it up.

        Raises:
            PermitForked: this is a forked child; the right stays its parent's.
            PermitAlreadySpent: it was used.
        """
        require_process(self._process)
        try:
            self._right.pop()  # of several threads one finds it there
        except IndexError:
            raise PermitAlreadySpent("the permit was used before") from None


def require_process(process: int) -> None:
    """Refuse a forked child what its parent holds in memory; raises PermitForked."""
    if os.getpid() != process:
        raise PermitForked("the permit was given to another process")


class _SpentTogether:
    """Permits that one transaction of the ledger spends, when the first of them is used."""

    def __init__(self, ledger: PermitLedger, permit_ids: Sequence[str]) -> None:
        self._ledger = ledger
        self._permit_ids = permit_ids
        self._is_spent = False
        self._process = os.getpid()
        self._lock = threading.Lock()

    def one(self) -> Callable[[datetime], None]:
        """The way in which one of them is used."""
        single = SingleUse()

        def use(at: datetime) -> None:
            self._spend(at)
            single(at)

        return use

    def _spend(self, at: datetime) -> None:
        require_process(self._process)
        with self._lock:
            if not self._is_spent:
                self._ledger.spend(self._permit_ids, at)
                self._is_spent = True
