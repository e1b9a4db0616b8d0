"""The durable order: a crash behind each step, two sequencers, closing, publication."""

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
    ElectionOver,
    FenceLost,
    LogForked,
    SequencerHalted,
)
from signer.receipts.growth import Step
from signer.receipts.leaf import CloseLeaf, decode_leaf
from signer.receipts.log_store import EntryPath, SignedCheckpoint
from signer.receipts.note import UnverifiedNote
from signer.receipts.opening import system_shuffle
from signer.receipts.publication import Published
from signer.receipts.sequencer import Sequenced
from tests.support.crashes import Crash, CrashBehind, CrashingFiles
from tests.support.databases import Database
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import ELECTION, NOW, PURPOSES
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


def entries(disk: ReceiptDisk) -> list[bytes]:
    return disk.log.entries(ELECTION, 0, 10_000)


@pytest.mark.parametrize("step", list(Step))
def test_a_crash_behind_any_step_loses_and_forks_nothing(disk: ReceiptDisk, step: Step) -> None:
    for number in range(5):
        disk.register(number)
    with pytest.raises(Crash):
        disk.sequencer(observer=CrashBehind(step)).run_once(at=NOW)
    # No receipt is out before its checkpoint is durable, here and on the disk.
    released = [number for number in range(5) if disk.receipt(number) is not None]
    assert released == ([0, 1, 2, 3, 4] if step is Step.RELEASED else [])
    order, signed = entries(disk), checkpoints(disk)

    disk.register(5)
    later = NOW + timedelta(minutes=20)
    again = disk.sequencer(at=later, shuffle=system_shuffle)
    again.run_once(at=later)
    again.run_once(at=later)
    assert entries(disk)[: len(order)] == order
    assert checkpoints(disk)[: len(signed)] == signed
    assert sorted(disk.verified(number).index for number in range(6)) == [1, 2, 3, 4, 5, 6]
    assert disk.log.log_state(ELECTION).signed_size == 7
    assert again.run_once(at=later) is None


@pytest.mark.parametrize("writes", [0, 1])
def test_a_crash_between_tiles(disk: ReceiptDisk, writes: int) -> None:
    disk.register(0)
    disk.files = CrashingFiles(disk.folder / "logs" / ELECTION)
    CrashingFiles.left = writes
    with pytest.raises(Crash):
        disk.sequencer().run_once(at=NOW)
    CrashingFiles.left = 100
    assert disk.sequencer().run_once(at=NOW) == Sequenced(2, 1)
    assert disk.verified(0).index == 1


def test_the_steps_come_in_their_order(disk: ReceiptDisk) -> None:
    disk.register(0)
    observer = CrashBehind(Step.RELEASED, skip=5)
    disk.sequencer(observer=observer).run_once(at=NOW)
    assert observer.reached_steps == list(Step)


def test_a_failing_key_is_tried_again_with_the_same_root(disk: ReceiptDisk) -> None:
    disk.register(0)
    sequencer = disk.sequencer()
    key = disk.election.signer.keys.pop(Purpose.RECEIPT_LOG)
    with pytest.raises(KeyError):
        sequencer.run_once(at=NOW)
    disk.register(1)
    disk.election.signer.keys[Purpose.RECEIPT_LOG] = key
    assert sequencer.run_once(at=NOW) == Sequenced(2, 1)
    assert sequencer.run_once(at=NOW) == Sequenced(3, 1)


def test_a_batch_costs_one_signature_per_key_and_tells_no_second(disk: ReceiptDisk) -> None:
    for number in range(40):
        disk.register(number)
    disk.election.signer.signed.clear()
    assert disk.sequencer().run_once(at=NOW) == Sequenced(41, 40)
    signed = disk.election.signer.signed
    assert [payload.purpose for payload, _, _ in signed] == list(PURPOSES)
    assert {at for _, _, at in signed} == {NOW.replace(second=0)}
    log = disk.folder / "logs" / ELECTION
    dates = {path.stat().st_mtime % 600 for path in (log, *log.rglob("*"))}
    assert dates == {0}


def test_order_is_shuffled_from_the_given_source(disk: ReceiptDisk) -> None:
    for number in range(3):
        disk.register(number)
    disk.sequencer().run_once(at=NOW)
    assert [disk.verified(number).index for number in range(3)] == [3, 2, 1]


def test_growth_over_tile_borders(disk: ReceiptDisk) -> None:
    sequencer = disk.sequencer()
    number = 0
    for batch in (254, 1, 1, 300, 2):
        for _ in range(batch):
            disk.register(number)
            number += 1
        sequencer.run_once(at=NOW)
    for chosen in (0, 200, 254, 255, 256, 300, 557):
        assert disk.verified(chosen).index >= 1
    assert disk.verified(557).size == 559
    names = sorted(
        str(path.relative_to(disk.folder / "logs" / ELECTION / "tile"))
        for path in disk.folder.rglob("tile/**/*")
        if path.is_file()
    )
    assert names == [
        "0/000",
        "0/001",
        "0/002.p/47",
        "1/000.p/2",
        "entries/000",
        "entries/001",
        "entries/002.p/47",
    ]


# Two sequencers, forced to run.


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


# Closing.


def test_close_drains_what_is_pending_and_ends_the_log(
    disk: ReceiptDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signer.receipts.sequencer.BATCH_LIMIT", 4)
    for number in range(6):
        disk.register(number)
    disk.close()
    with pytest.raises(ElectionOver):
        disk.register(6)
    sequencer = disk.sequencer()
    assert sequencer.run_once(at=NOW) == Sequenced(5, 4)
    assert sequencer.run_once(at=NOW) == Sequenced(8, 3)
    assert sequencer.run_once(at=NOW) is None
    close = decode_leaf(entries(disk)[-1])
    assert isinstance(close, CloseLeaf)
    assert (close.seq, close.count, close.no_vote_size) == (7, 6, 2)
    receipt = disk.receipt(5)
    assert disk.register(5).release is not None
    assert disk.receipt(5) == receipt


# What the public sees.


def publish(disk: ReceiptDisk, minutes: int) -> int | None:
    return disk.sequencer().publish_due(
        at=NOW + timedelta(minutes=minutes), epoch=timedelta(minutes=10), least=3
    )


def test_the_public_sees_epochs(disk: ReceiptDisk) -> None:
    assert publish(disk, 0) == 1
    assert publish(disk, 0) is None
    disk.register(0)
    disk.register(1)
    disk.sequencer().run_once(at=NOW)
    assert publish(disk, 10) is None  # two ballots are no crowd
    disk.register(2)
    disk.sequencer().run_once(at=NOW)
    assert publish(disk, 0) is None
    assert publish(disk, 10) is None  # this epoch was judged: the third ballot must not show
    assert publish(disk, 20) == 4
    disk.register(3)
    disk.close()
    disk.sequencer().run_once(at=NOW)
    assert publish(disk, 20) == 6  # nothing comes after the close record
    assert publish(disk, 100) is None


def test_neither_size_nor_epoch_goes_back(disk: ReceiptDisk) -> None:
    def published() -> Published:
        return disk.log.log_state(ELECTION).published

    disk.log.publish(ELECTION, Published(4, 1200))
    disk.log.publish(ELECTION, Published(4, 600))  # a worker that stood still
    assert published() == Published(4, 1200)
    disk.log.publish(ELECTION, Published(3, 1800))
    assert published() == Published(4, 1200)
    disk.log.publish(ELECTION, Published(6, 600))  # a close after the clock was set back
    assert published() == Published(6, 1200)


def test_a_batch_that_is_not_released_waits_for_another_epoch(disk: ReceiptDisk) -> None:
    publish(disk, 0)
    for number in range(3):
        disk.register(number)
    disk.sequencer().run_once(at=NOW)
    for number in range(3, 6):
        disk.register(number)
    with pytest.raises(Crash):
        disk.sequencer(observer=CrashBehind(Step.COMMITTED)).run_once(at=NOW)
    assert publish(disk, 10) == 4
    disk.sequencer().run_once(at=NOW)
    assert publish(disk, 10) is None
    assert publish(disk, 20) == 7


def test_a_shorter_and_a_longer_epoch_after_a_restart(disk: ReceiptDisk) -> None:
    publish(disk, 0)
    for number in range(3):
        disk.register(number)
    disk.sequencer().run_once(at=NOW)
    for hours, epoch in [(0, timedelta(days=1)), (24, timedelta(days=1))]:
        size = disk.sequencer().publish_due(at=NOW + timedelta(hours=hours), epoch=epoch, least=3)
        assert size == (4 if hours else None)


def test_nothing_unreleased_is_published(tmp_path: Path) -> None:
    disk = ReceiptDisk(tmp_path).create()
    assert publish(disk, 0) is None
    with pytest.raises(Crash):
        disk.sequencer(observer=CrashBehind(Step.COMMITTED)).run_once(at=NOW)
    assert publish(disk, 0) is None


def test_the_checkpoint_file_is_the_committed_bytes(disk: ReceiptDisk) -> None:
    note = disk.files.read_checkpoint()
    assert note == checkpoints(disk)[0][2]
    assert len(UnverifiedNote.parse(note).signatures) == 2
