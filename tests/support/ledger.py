"""A ledger of permits and ranges in memory, with the rules of the real one."""

import threading
from collections.abc import Sequence
from datetime import datetime

from signer.backend import PERMIT_LIFE
from signer.errors import PermitAlreadySpent, PermitExists, PermitUnknown
from signer.payload import Payload
from signer.permit import PermitLedger, PermitRecord, SigningPermit, reserve_permits
from signer.permit_range import RangeEnd, RangeRecord


class MemoryLedger:
    def __init__(self) -> None:
        self.recorded: dict[str, PermitRecord] = {}
        self.spent: dict[str, datetime] = {}
        self.ranges: dict[str, RangeRecord] = {}
        self.ended: dict[str, RangeEnd] = {}
        self._lock = threading.Lock()

    def reserve(self, records: Sequence[PermitRecord]) -> None:
        with self._lock:
            new = {record.permit_id: record for record in records}
            if new.keys() & self.recorded.keys():
                raise PermitExists(str(new.keys()))
            self.recorded.update(new)

    def spend(self, permit_ids: Sequence[str], at: datetime) -> None:
        with self._lock:
            for permit_id in permit_ids:
                if permit_id not in self.recorded:
                    raise PermitUnknown(permit_id)
                if permit_id in self.spent:
                    raise PermitAlreadySpent(permit_id)
            self.spent.update(dict.fromkeys(permit_ids, at))

    def reserve_range(self, record: RangeRecord) -> None:
        with self._lock:
            self.ranges[record.range_id] = record

    def end_range(self, end: RangeEnd) -> None:
        with self._lock:
            if self.ended.get(end.range_id, end) != end:
                raise PermitUnknown(end.range_id)
            self.ended[end.range_id] = end


def permit_of(
    payload: Payload, ledger: PermitLedger, *, owner: str = "login", at: datetime
) -> SigningPermit:
    """A permit for one payload."""
    (permit,) = reserve_permits([payload], owner=owner, ledger=ledger, at=at, life=PERMIT_LIFE)
    return permit
