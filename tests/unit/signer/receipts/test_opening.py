"""What the comparison at the start finds: restored backups, damage, other keys."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from signer.payload import Purpose
from signer.receipts.errors import (
    CheckpointFileMalformed,
    CheckpointFileMissing,
    DatabaseBehind,
    ElectionNotFound,
    KeysChanged,
    LogForked,
)
from signer.receipts.sequencer import Sequenced, Step
from tests.support.crashes import Crash, CrashBehind
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import ELECTION, NOW, TrialElection


@pytest.fixture
def disk(tmp_path: Path) -> ReceiptDisk:
    made = ReceiptDisk(tmp_path).create()
    assert made.sequencer().run_once(at=NOW) == Sequenced(1, 1)
    return made


def copy_database(disk: ReceiptDisk, target: Path) -> None:
    source = sqlite3.connect(disk.folder / "data" / "ballots.db")
    destination = sqlite3.connect(target)
    source.backup(destination)
    source.close()
    destination.close()


def restored(disk: ReceiptDisk, backup: Path) -> ReceiptDisk:
    disk.engine.dispose()
    shutil.rmtree(disk.folder / "data")
    (disk.folder / "data").mkdir(mode=0o700)
    shutil.copy(backup, disk.folder / "data" / "ballots.db")
    return ReceiptDisk(disk.folder, disk.election)


def test_a_restored_backup_halts_by_the_checkpoint_file(disk: ReceiptDisk, tmp_path: Path) -> None:
    copy_database(disk, tmp_path / "backup.db")
    disk.register(0)
    disk.sequencer().run_once(at=NOW)
    disk.election.signer.signed.clear()
    with pytest.raises(DatabaseBehind, match="size 2"):
        restored(disk, tmp_path / "backup.db").sequencer()
    assert disk.election.signer.signed == []


def test_a_restored_backup_halts_by_the_tiles(disk: ReceiptDisk, tmp_path: Path) -> None:
    copy_database(disk, tmp_path / "backup.db")
    disk.register(0)
    with pytest.raises(Crash):
        disk.sequencer(observer=CrashBehind(Step.TILES_WRITTEN)).run_once(at=NOW)
    with pytest.raises(DatabaseBehind, match="entries beyond"):
        restored(disk, tmp_path / "backup.db").sequencer()


def test_a_database_that_lost_entries_halts(disk: ReceiptDisk) -> None:
    with disk.engine.begin() as connection:
        connection.execute(text("delete from log_entries"))
    with pytest.raises(DatabaseBehind, match="signed more"):
        disk.sequencer()


def test_a_database_with_another_root_halts(disk: ReceiptDisk) -> None:
    with disk.engine.begin() as connection:
        connection.execute(text("update log_checkpoints set root = zeroblob(32)"))
    with pytest.raises(LogForked, match="differ at size 1"):
        disk.sequencer()


def test_a_database_with_another_entry_halts(disk: ReceiptDisk) -> None:
    with disk.engine.begin() as connection:
        connection.execute(text("update log_entries set entry = x'80'"))
    with pytest.raises(LogForked, match="entries do not have the root"):
        disk.sequencer()
    # What the person needs to see is still there.
    assert not list((disk.folder / "logs" / ELECTION).glob("tile.damaged-*"))


def test_a_checkpoint_that_says_something_else_than_its_record(disk: ReceiptDisk) -> None:
    with disk.engine.begin() as connection:
        connection.execute(text("update log_checkpoints set size = 1, note = x'00'"))
    with pytest.raises(KeysChanged, match="does not verify"):
        disk.sequencer()
    note = disk.files.read_checkpoint()
    disk.register(0)
    with disk.engine.begin() as connection:
        connection.execute(text("update log_checkpoints set note = :note"), {"note": note})
    disk.sequencer().run_once(at=NOW)
    with disk.engine.begin() as connection:
        connection.execute(
            text("update log_checkpoints set note = :note where size = 2"), {"note": note}
        )
    with pytest.raises(LogForked, match="something else"):
        disk.sequencer()


def test_missing_and_damaged_tiles_are_made_anew(disk: ReceiptDisk) -> None:
    for number in range(300):
        disk.register(number)
    disk.sequencer().run_once(at=NOW)
    log = disk.folder / "logs" / ELECTION
    (log / "tile" / "1" / "000.p" / "1").write_bytes(bytes(32))
    disk.register(300)
    assert disk.sequencer().run_once(at=NOW) == Sequenced(302, 1)
    assert disk.verified(300).size == 302
    assert len(list(log.glob("tile.damaged-*"))) == 1
    shutil.rmtree(log / "tile")
    disk.register(301)
    assert disk.sequencer().run_once(at=NOW) == Sequenced(303, 1)


@pytest.mark.parametrize("data", [b"", b"damaged"])
def test_a_malformed_checkpoint_file_halts(disk: ReceiptDisk, data: bytes) -> None:
    (disk.folder / "logs" / ELECTION / "checkpoint").write_bytes(data)
    with pytest.raises(CheckpointFileMalformed):
        disk.sequencer()


def test_a_restored_backup_without_its_folder_halts(disk: ReceiptDisk, tmp_path: Path) -> None:
    copy_database(disk, tmp_path / "backup.db")
    disk.register(0)
    disk.sequencer().run_once(at=NOW)
    newest = disk.files.read_checkpoint()
    assert newest is not None
    again = restored(disk, tmp_path / "backup.db")
    shutil.rmtree(disk.folder / "logs")
    again.register(1)
    disk.election.signer.signed.clear()
    with pytest.raises(CheckpointFileMissing, match="size 1"):
        again.sequencer()
    # A person brings the newest checkpoint that anyone has; it tells what happened.
    again.files.write_checkpoint(newest, slot=1)
    with pytest.raises(DatabaseBehind, match="size 2"):
        again.sequencer()
    assert disk.election.signer.signed == []


def test_a_folder_that_was_lost_is_made_anew_from_an_older_checkpoint(disk: ReceiptDisk) -> None:
    older = disk.files.read_checkpoint()
    assert older is not None
    disk.register(0)
    disk.sequencer().run_once(at=NOW)
    newest = disk.files.read_checkpoint()
    shutil.rmtree(disk.folder / "logs")
    disk.files.write_checkpoint(older, slot=1)
    assert disk.sequencer().run_once(at=NOW) is None
    assert disk.files.read_checkpoint() == newest


def test_a_crash_before_the_first_checkpoint_file_is_no_loss(tmp_path: Path) -> None:
    disk = ReceiptDisk(tmp_path).create()
    with pytest.raises(Crash):
        disk.sequencer(observer=CrashBehind(Step.COMMITTED)).run_once(at=NOW)
    assert disk.files.read_checkpoint() is None
    disk.sequencer().run_once(at=NOW)
    assert disk.files.read_checkpoint() is not None


def test_keys_that_the_manifest_does_not_pin(disk: ReceiptDisk) -> None:
    good = disk.election.signer
    disk.election.signer = TrialElection().signer
    with pytest.raises(KeysChanged, match="receipt-log"):
        disk.sequencer()
    disk.election.signer = disk.election.standby
    assert disk.sequencer().run_once(at=NOW) is None
    disk.election.signer = good
    assert disk.sequencer().run_once(at=NOW) is None


def test_one_key_where_two_types_are_pinned(disk: ReceiptDisk) -> None:
    disk.register(0)
    sequencer = disk.sequencer(purposes=[Purpose.RECEIPT_LOG])
    with pytest.raises(KeysChanged, match="does not verify"):
        sequencer.run_once(at=NOW)
    assert disk.receipt(0) is None


def test_an_election_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ElectionNotFound):
        ReceiptDisk(tmp_path).sequencer()
