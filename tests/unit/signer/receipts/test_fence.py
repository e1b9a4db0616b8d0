"""Two sequencers of one log, forced to run: the fence keeps them to one line of checkpoints."""

import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from signer.payload import Purpose
from signer.permit import PermitRecord
from signer.receipts.batch import BatchView, NewEntry
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import (
    FenceLost,
    LogForked,
    SequencerHalted,
)
from signer.receipts.growth import Step
from signer.receipts.log_store import EntryPath, SignedCheckpoint
from signer.receipts.sequencer import Sequenced
from tests.support.crashes import Crash, CrashBehind
from tests.support.databases import Database
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import ELECTION, NOW
from webapi.storage.log_store import SqlLogStore

SLOT = NOW.replace(second=0)


@pytest.fixture
def disk(tmp_path: Path, database: Database) -> ReceiptDisk:
    made = ReceiptDisk(tmp_path, database=database).create()
    assert made.sequencer().run_once(at=NOW) == Sequenced(1, 1)
    return made


def checkpoints(disk: ReceiptDisk) -> list[tuple[int, bytes, bytes]]:
    with disk.engine.begin() as connection:
        rows = connection.execute(
            text("select size, root, note from log_checkpoints order by size")
        )
        return [(row.size, row.root, row.note) for row in rows]


def test_a_second_sequencer_takes_over_and_the_first_stops(disk: ReceiptDisk) -> None:
    first = disk.sequencer()
    disk.register(0)
    second = disk.sequencer()
    assert second.run_once(at=NOW) == Sequenced(2, 1)
    with pytest.raises(FenceLost, match="meantime"):
        first.run_once(at=NOW)


def test_the_intent_is_the_fence(disk: ReceiptDisk) -> None:
    disk.register(0)
    with pytest.raises(Crash):
        disk.sequencer(observer=CrashBehind(Step.INTENT_RECORDED)).run_once(at=NOW)
    rival = disk.sequencer()
    disk.log.take_over(ELECTION, holder="another")
    disk.election.signer.signed.clear()
    with pytest.raises(FenceLost, match="is signing"):
        rival.run_once(at=NOW)
    assert disk.election.signer.signed == []


class TakeOverBehindIntent:
    """Another sequencer takes the log over just before this one signs."""

    def __init__(self, disk: ReceiptDisk) -> None:
        self.disk = disk

    def reached(self, step: Step, election_id: str) -> None:
        if step is Step.INTENT_RECORDED:
            self.disk.log.take_over(election_id, holder="another")


def test_the_fence_is_checked_right_before_signing(disk: ReceiptDisk) -> None:
    disk.register(0)
    sequencer = disk.sequencer(observer=TakeOverBehindIntent(disk))
    disk.election.signer.signed.clear()
    with pytest.raises(FenceLost, match="took over"):
        sequencer.run_once(at=NOW)
    assert disk.election.signer.signed == []


class Overtaken(SqlLogStore):
    """Something happens between the look at the log and the places."""

    happen: Callable[[], None]

    def assign(
        self,
        election_id: str,
        *,
        after: int,
        limit: int,
        plan: Callable[[BatchView], Sequence[NewEntry]],
    ) -> int:
        self.happen()
        return super().assign(election_id, after=after, limit=limit, plan=plan)


@pytest.mark.parametrize("closing", [False, True])
def test_who_looked_before_another_gave_places_gives_none(
    disk: ReceiptDisk, *, closing: bool
) -> None:
    store = disk.log = Overtaken(disk.engine)
    late = disk.sequencer()
    disk.log = SqlLogStore(disk.engine)
    for number in range(3):
        disk.register(number)

    def happen() -> None:
        if closing:
            disk.close()
        else:
            assert disk.sequencer().run_once(at=NOW) == Sequenced(4, 3)
            disk.register(3)
            return
        assert disk.sequencer().run_once(at=NOW) == Sequenced(5, 4)

    store.happen = happen
    with pytest.raises(FenceLost, match="gave places"):
        late.run_once(at=NOW)
    assert [size for size, _, _ in checkpoints(disk)] == [1, 5 if closing else 4]
    receipt = disk.receipt(0)
    disk.sequencer().run_once(at=NOW)
    assert disk.receipt(0) == receipt
    assert receipt is not None


def test_an_intent_follows_the_newest_checkpoint(disk: ReceiptDisk) -> None:
    def intend(previous_size: int, size: int, holder: str = "one") -> None:
        disk.log.intend(
            ELECTION,
            previous_size=previous_size,
            size=size,
            root=bytes(32),
            holder=holder,
            permits=[
                PermitRecord(
                    secrets.token_hex(16),
                    Purpose.RECEIPT_LOG,
                    ELECTION,
                    bytes(32),
                    SLOT,
                    SLOT + timedelta(minutes=1),
                )
            ],
        )

    with pytest.raises(FenceLost, match="came first"):
        intend(0, 4)
    with pytest.raises(FenceLost, match="not the newest"):
        intend(2, 4)
    intend(1, 4)
    intend(1, 4)  # as after a key that failed
    for size in (2, 5):
        with pytest.raises(FenceLost, match="came first"):
            intend(1, size)
    disk.log.take_over(ELECTION, holder="two")
    with pytest.raises(FenceLost, match="is signing"):
        intend(1, 4)
    intend(1, 4, "two")


def test_a_checkpoint_has_one_successor(disk: ReceiptDisk) -> None:
    def commit(size: int) -> None:
        disk.log.commit_checkpoint(
            ELECTION, SignedCheckpoint(size, bytes(32), b"note", 1, released=False)
        )

    commit(4)
    for size in (2, 5):
        with pytest.raises(FenceLost, match="after 1"):
            commit(size)
    assert [size for size, _, _ in checkpoints(disk)] == [1, 4]


def test_paths_that_are_out_are_not_replaced(disk: ReceiptDisk) -> None:
    disk.register(0)
    disk.register(1)
    disk.sequencer().run_once(at=NOW)
    receipt = disk.receipt(0)
    paths = [EntryPath(seq, (bytes(32),)) for seq in (1, 2)]
    disk.log.release(ELECTION, size=2, paths=paths)
    assert disk.receipt(0) == receipt


def test_two_at_once_never_sign_two_roots(disk: ReceiptDisk) -> None:
    sequencers = [disk.sequencer(), disk.sequencer()]
    for number in range(20):
        disk.register(number)
    halted: list[SequencerHalted] = []

    def run(index: int) -> None:
        try:
            for _ in range(3):
                sequencers[index].run_once(at=NOW)
        except SequencerHalted as error:
            halted.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    disk.sequencer().run_once(at=NOW)
    texts = {payload.message for payload, _, _ in disk.election.signer.signed}
    by_size = [Checkpoint.parse(message).size for message in texts]
    assert len(by_size) == len(set(by_size))
    assert sorted(disk.verified(number).index for number in range(20)) == list(range(1, 21))


def test_a_size_is_committed_once(disk: ReceiptDisk) -> None:
    with pytest.raises(FenceLost):
        disk.log.commit_checkpoint(
            ELECTION, SignedCheckpoint(1, bytes(32), b"other", 0, released=False)
        )


def test_an_intent_for_another_root_halts(disk: ReceiptDisk) -> None:
    with pytest.raises(LogForked):
        disk.log.intend(ELECTION, previous_size=0, size=1, root=bytes(32), holder="x", permits=[])
