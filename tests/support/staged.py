"""A service's parts, which tell a test of each step and end or stand still where it wants."""

import base64
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import patch

from signer.backend import Signature
from signer.hsm_backend import HsmBackend
from signer.payload import Payload
from signer.permit import PermitRecord, SigningPermit
from signer.permit_range import RangeEnd, RangeRecord
from signer.receipts import tile_store
from signer.receipts.batch import BatchView, NewEntry
from signer.receipts.durable import sync_folder
from signer.receipts.growth import Step
from signer.receipts.log_store import SignedCheckpoint
from webapi import clock, token_keys, wiring
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.log_records import SqlLogRecords
from webapi.watched import WatchedLogStore, WatchedPermitLedger


class Stage:
    """What the test has ordered: the time, and the point to end or to stand still at."""

    def __init__(self, orders: TextIO, answers: TextIO, journal: Path) -> None:
        self.orders = orders
        self.answers = answers
        self.journal = journal
        self.at = datetime(2000, 1, 1, tzinfo=UTC)
        self._point: dict[str, Any] | None = None

    def now(self) -> datetime:
        return self.at

    def arm(self, point: dict[str, Any] | None) -> None:
        self._point = point

    def reached(self, name: str, log_id: str | None = None) -> None:
        point = self._point
        if point is None or point["name"] != name:
            return
        if log_id is not None and point["election_id"] != log_id:
            return
        if point["skip"]:
            point["skip"] -= 1
            return
        self._point = None
        if point["action"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.answer({"paused": name})
        self.orders.readline()

    def answer(self, members: dict[str, Any]) -> None:
        self.answers.write(json.dumps(members) + "\n")
        self.answers.flush()

    def note_signature(self, payload: Payload, owner: str) -> None:
        line = {
            "purpose": payload.purpose,
            "owner": owner,
            "message": base64.b64encode(payload.message).decode(),
        }
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


class StagedRecords(SqlLogRecords):
    """The steps of a log that its database makes durable."""

    stage: Stage

    def intend(
        self,
        log_id: str,
        *,
        previous_size: int,
        size: int,
        root: bytes,
        holder: str,
        permits: Sequence[PermitRecord],
    ) -> None:
        super().intend(
            log_id,
            previous_size=previous_size,
            size=size,
            root=root,
            holder=holder,
            permits=permits,
        )
        self.stage.reached("permit recorded", log_id)

    def spend(
        self, log_id: str, *, size: int, holder: str, permit_ids: Sequence[str], at: datetime
    ) -> None:
        super().spend(log_id, size=size, holder=holder, permit_ids=permit_ids, at=at)
        self.stage.reached("permit spent", log_id)


class StagedLogStore(StagedRecords, WatchedLogStore):
    """Of the ballot logs."""

    def assign(
        self,
        election_id: str,
        *,
        after: int,
        limit: int,
        plan: Callable[[BatchView], Sequence[NewEntry]],
    ) -> int:
        self.stage.reached("state read", election_id)
        return super().assign(election_id, after=after, limit=limit, plan=plan)


class StagedAuditLog(StagedRecords, SqlAuditLog):
    """Of the audit logs."""

    def assign(self, *, after: int, limit: int) -> int:
        self.stage.reached("state read", self.log_id)
        places = super().assign(after=after, limit=limit)
        if places:
            self.stage.reached("ASSIGNED", self.log_id)
        return places

    def commit_checkpoint(self, log_id: str, checkpoint: SignedCheckpoint) -> None:
        super().commit_checkpoint(log_id, checkpoint)
        self.stage.reached("COMMITTED", log_id)

    def release(self, log_id: str, size: int) -> None:
        self.stage.reached("CHECKPOINT_FILE_WRITTEN", log_id)
        super().release(log_id, size)
        self.stage.reached("RELEASED", log_id)


class StagedLedger(WatchedPermitLedger):
    """Of ranges."""

    stage: Stage

    def reserve_range(self, record: RangeRecord) -> None:
        super().reserve_range(record)
        self.stage.reached("range recorded", record.owner)

    def end_range(self, end: RangeEnd) -> None:
        super().end_range(end)
        self.stage.reached("range ended", None)


class StagedBackend(HsmBackend):
    __slots__ = ()
    stage: Stage

    def sign(self, permit: SigningPermit, payload: Payload, *, at: datetime) -> Signature:
        signature = super().sign(permit, payload, at=at)
        self.stage.note_signature(payload, permit.owner)
        self.stage.reached("signature made", permit.owner)
        return signature


class WatchedSteps:
    """Stands in for the timer of batches, which is told of the same steps."""

    stage: Stage

    def __init__(self, _batches: object) -> None: ...

    def reached(self, step: Step, log_id: str) -> None:
        self.stage.reached(step.name, log_id)


@contextmanager
def rehearsed(stage: Stage) -> Iterator[None]:
    """The wiring's parts, with the stage's in place of some."""
    StagedRecords.stage = StagedLedger.stage = StagedBackend.stage = WatchedSteps.stage = stage
    write_file = tile_store._write_file

    def write(path: Path, data: bytes, times: tuple[int, int]) -> None:
        write_file(path, data, times)
        stage.reached("file written")

    def sync(folder: Path) -> None:
        stage.reached("files renamed")
        sync_folder(folder)

    with ExitStack() as stack:
        for target, name, double in (
            (clock, "now", stage.now),
            (wiring, "WatchedPermitLedger", StagedLedger),
            (wiring, "WatchedLogStore", StagedLogStore),
            (wiring, "SqlAuditLog", StagedAuditLog),
            (token_keys, "HsmBackend", StagedBackend),
            (wiring, "BatchTimer", WatchedSteps),
            (wiring, "RECEIPT_WAIT_SECONDS", 0),
            (tile_store, "_write_file", write),
            (tile_store, "sync_folder", sync),
        ):
            stack.enter_context(patch.object(target, name, double))
        yield
