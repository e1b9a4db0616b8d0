"""A permit ledger in memory, with the rules of the real one."""

import threading
from datetime import datetime

from signer.errors import PermitAlreadySpent, PermitExists, PermitUnknown
from signer.permit import PermitRecord


class MemoryLedger:
    def __init__(self) -> None:
        self.recorded: dict[str, PermitRecord] = {}
        self.spent: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def record(self, permit: PermitRecord) -> None:
        with self._lock:
            if permit.permit_id in self.recorded:
                raise PermitExists(permit.permit_id)
            self.recorded[permit.permit_id] = permit

    def spend(self, permit_id: str, at: datetime) -> None:
        with self._lock:
            if permit_id not in self.recorded:
                raise PermitUnknown(permit_id)
            if permit_id in self.spent:
                raise PermitAlreadySpent(permit_id)
            self.spent[permit_id] = at
