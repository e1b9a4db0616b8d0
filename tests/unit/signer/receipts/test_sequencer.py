"""The durable order: a crash behind each step, two sequencers, closing, publication."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from signer.payload import Purpose
from signer.receipts.errors import (
    ElectionOver,
)
from signer.receipts.growth import Step
from signer.receipts.leaf import CloseLeaf, decode_leaf
from signer.receipts.note import UnverifiedNote
from signer.receipts.opening import system_shuffle
from signer.receipts.publication import Published
from signer.receipts.sequencer import Sequenced
from tests.support.crashes import Crash, CrashBehind, CrashingFiles
from tests.support.databases import Database
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import ELECTION, NOW, PURPOSES


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
