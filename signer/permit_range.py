"""Ranges of permits, for purposes of high rate: one durable record for many signatures.

A range names one key, one owner, a number of signatures and a time limit. Its record and its
audit entry are durable before the first signature; in memory each signature takes the next
number, bound to its digest, and is good once. What a crash leaves unclosed counts as used
to its end.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Never, Protocol

from signer.errors import PermitMismatch, RangeUsedUp
from signer.payload import Payload, Purpose
from signer.permit import Deadline, SigningPermit, SingleUse, require_process, sealed_permit
from signer.receipts.merkle import leaf_hash, root_of

_SEAL = object()


@dataclass(frozen=True, slots=True)
class RangeRecord:
    """What the ledger keeps of a range.

    Attributes:
        range_id: 32 hexadecimal digits, random.
        purpose: names the key.
        owner: for whom is signed.
        count: number of signatures, at least 1.
        issued_at: aware UTC.
        expires_at: aware UTC; at this instant the range gives no more permits.
    """

    range_id: str
    purpose: Purpose
    owner: str
    count: int
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RangeEnd:
    """What became of a range.

    Attributes:
        range_id: names it.
        used: how many numbers were given out.
        root: root of the Merkle tree (RFC 6962) over their digests, in order; 32 bytes.
    """

    range_id: str
    used: int
    root: bytes


class RangeLedger(Protocol):
    """Where ranges are recorded; each call is one transaction, durable when it returns."""

    def reserve_range(self, record: RangeRecord) -> None:
        """Record a range, and its audit entry.

        Raises:
            PermitExists: a range of this id is recorded.
            AuditBehind: too much waits to be sealed in the audit log.
        """

    def end_range(self, end: RangeEnd) -> None:
        """Record what became of a range, and its audit entry; nothing, if just that is recorded.

        Whoever did not hear that it was done may say it again.

        Raises:
            PermitUnknown: no range of this id was reserved, or it ended otherwise.
        """


class PermitRange:
    """Permits of one process; made by `reserve_range` alone.

    Attributes:
        record: what the ledger holds of it.
    """

    def __init__(
        self, record: RangeRecord, deadline: Deadline | None = None, seal: object = None
    ) -> None:
        if deadline is None or seal is not _SEAL:
            msg = "a PermitRange is made by reserve_range() alone"
            raise TypeError(msg)
        self.record = record
        self._deadline = deadline
        self._process = os.getpid()
        self._digests: list[bytes] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def __reduce__(self) -> Never:
        msg = "a PermitRange cannot be pickled"
        raise TypeError(msg)

    @property
    def left(self) -> int:
        """How many numbers are left."""
        return self.record.count - len(self._digests)

    def take(self, payload: Payload, *, owner: str, at: datetime) -> SigningPermit:
        """The permit of the next number, bound to these bytes.

        Raises:
            PermitForked: this is a forked child of the process that reserved the range.
            PermitMismatch: the range is for another key or owner.
            PermitExpired: its time is over.
            RangeUsedUp: no number is left, or the range was closed.
        """
        require_process(self._process)
        record = self.record
        if payload.purpose is not record.purpose or owner != record.owner:
            raise PermitMismatch("the range is for another key or owner")
        self._deadline.require(at)
        digest = payload.digest
        with self._lock:
            if self._is_closed or len(self._digests) >= record.count:
                raise RangeUsedUp("no number is left in the range")
            self._digests.append(digest)
        return sealed_permit(payload, owner=owner, deadline=self._deadline, use=SingleUse())

    def close(self) -> RangeEnd:
        """Give out no more; what became of the range. A second call says the same.

        Raises:
            PermitForked: this is a forked child of the process that reserved the range.
        """
        require_process(self._process)
        with self._lock:
            self._is_closed = True
        root = root_of(leaf_hash(digest) for digest in self._digests)
        return RangeEnd(self.record.range_id, len(self._digests), root)


def reserve_range(
    purpose: Purpose,
    *,
    owner: str,
    count: int,
    ledger: RangeLedger,
    at: datetime,
    life: timedelta,
    stopwatch: Callable[[], float] = time.monotonic,
) -> PermitRange:
    """Record a range, then return it.

    Args:
        purpose: names the key.
        owner: for whom, not empty.
        count: number of signatures, at least 1.
        ledger: records it durably first.
        at: now, aware UTC.
        life: how long it gives permits, and these are good; positive.
        stopwatch: monotonic seconds.

    Raises:
        PermitExists, AuditBehind: as the ledger says.
    """
    if not owner or count < 1 or life <= timedelta(0):
        msg = "a range needs an owner, a number of signatures and a positive life"
        raise ValueError(msg)
    deadline = Deadline.after(life, at=at, stopwatch=stopwatch)
    record = RangeRecord(secrets.token_hex(16), purpose, owner, count, at, deadline.expires_at)
    ledger.reserve_range(record)
    return PermitRange(record, deadline, _SEAL)
