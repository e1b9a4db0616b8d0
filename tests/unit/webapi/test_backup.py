"""Backups on both kinds of databases: whole or refused, and restored with everything on hold."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from signer.receipts.errors import CheckpointFileMissing, SequencerRunning
from signer.receipts.growth import Step
from signer.receipts.inspection import inspect_log
from signer.receipts.sequencer import ballot_log_of
from tests.support.backups import (
    SERIAL,
    Place,
    Places,
    copy_of,
    flip,
    restate,
)
from tests.support.crashes import Crash, CrashBehind
from tests.support.receipts import ELECTION, NOW
from webapi.backup import folder as folder_module
from webapi.backup.errors import (
    BackupDamaged,
    BackupExists,
    BackupManifestOther,
    BackupNotWritten,
    BackupVersionOther,
    ServiceRunning,
)
from webapi.backup.verify import examine_backup
from webapi.storage.answer_holds import AnswersOnHold, SqlAnswerHolds
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.errors import StorageError
from webapi.storage.lease import WorkerLease
from webapi.storage.log_holds import HoldReason, SqlLogHolds
from webapi.storage.realm import Realm
from webapi.storage.realm_copies import DatabaseNotEmpty
from webapi.storage.realm_database import RealmDatabase
from webapi.storage.registrations import registrations


@pytest.fixture
def backup(places: Places, tmp_path: Path) -> Path:
    """Of an election with four entries."""
    places.old.live()
    places.old.vote(1, 2)
    places.old.vote(3)
    places.old.back_up(tmp_path / "backup")
    return tmp_path / "backup"


def test_a_spoilt_backup_restores_nothing(places: Places, backup: Path) -> None:
    flip(copy_of(backup, Realm.LOGIN))
    with pytest.raises(BackupDamaged):
        places.new.restore(backup)
    assert not places.new.logs.exists()
    assert set(places.new.rows(Realm.BALLOTS).values()) == {0}


def test_a_backup_of_another_program_is_refused(
    places: Places, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapi.storage.realm_database.newest_version", lambda _: "later")
    with pytest.raises(BackupVersionOther, match=r"restore with version 0\.1\.0"):
        places.new.restore(backup)


def test_a_fingerprint_that_was_noted_must_be_the_manifests(places: Places, backup: Path) -> None:
    report = examine_backup(backup)
    assert report.findings == ()
    assert examine_backup(backup, fingerprint=report.fingerprint.upper()).findings == ()
    (finding,) = examine_backup(backup, fingerprint="ab" * 32).findings
    assert isinstance(finding, BackupManifestOther)
    with pytest.raises(BackupManifestOther):
        places.new.restore(backup, fingerprint="ab" * 32)


def test_files_are_their_owners_alone_and_nothing_is_replaced(
    places: Places, backup: Path, tmp_path: Path
) -> None:
    assert backup.stat().st_mode & 0o777 == 0o700
    files = [path for path in backup.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    before = examine_backup(backup).fingerprint
    for taken in (backup, tmp_path / "nowhere" / "backup"):
        with pytest.raises(BackupExists):
            places.old.back_up(taken)
    assert examine_backup(backup).fingerprint == before


def test_a_backup_that_fails_leaves_nothing(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.old.live()

    def full(_folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module, "sync_folder", full)
    with pytest.raises(BackupNotWritten, match="No space") as refused:
        places.old.back_up(tmp_path / "backup")
    assert str(tmp_path / "backup") in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_nothing_is_restored_over_rows_or_beneath_a_worker(places: Places, backup: Path) -> None:
    with pytest.raises(DatabaseNotEmpty):
        places.old.restore(backup)
    lease = WorkerLease(places.new.engine(Realm.BALLOTS))
    assert lease.acquire()
    with pytest.raises(ServiceRunning):
        places.new.restore(backup)
    lease.release()
    with places.new.disk.files.locked(), pytest.raises(ServiceRunning) as refused:
        places.new.restore(backup)
    assert isinstance(refused.value.__cause__, SequencerRunning)
    assert set(places.new.rows(Realm.PKI).values()) == {0}


def test_all_comes_back_and_waits_for_a_person(places: Places, backup: Path) -> None:
    old, new = places.old, places.new
    shutil.copytree(old.folder / "salts", new.folder / "salts")
    receipts = [old.disk.receipt(number) for number in (1, 2, 3)]
    report = new.restore(backup)
    assert (report.held, report.witnesses, report.unknown) == ((ELECTION,), (), ())
    (hold,) = SqlLogHolds(new.engine(Realm.BALLOTS)).find(ELECTION)
    assert hold.reason is HoldReason.RESTORED
    assert hold.contradiction is None
    certificates = SqlCertificateStore(new.engine(Realm.PKI))
    with pytest.raises(AnswersOnHold):
        certificates.status_to_tell("citizen-ca", SERIAL)
    (answers,) = SqlAnswerHolds(new.engine(Realm.PKI)).find()
    assert answers.restored_to is not None
    assert NOW - timedelta(minutes=10) < answers.restored_to <= NOW
    assert answers.since == (NOW + timedelta(days=1)).replace(microsecond=0)
    record = certificates.status("citizen-ca", SERIAL)
    assert record is not None
    assert record.subject == "CN=Ш \\ tab\there"

    # What is short-lived stays behind; every other row is there.
    assert old.rows(Realm.LOGIN)["challenges"] == old.rows(Realm.LOGIN)["challenge_stock"] == 1
    gone = dict.fromkeys(("challenges", "challenge_stock", "sessions"), 0)
    assert new.rows(Realm.LOGIN) == {**old.rows(Realm.LOGIN), **gone}
    assert new.rows(Realm.BALLOTS) == {**old.rows(Realm.BALLOTS), "log_holds": 1}
    assert new.rows(Realm.PKI) == {**old.rows(Realm.PKI), "answer_holds": 1}

    # A person releases it; receipts are the same bytes, and the log goes on.
    SqlLogHolds(new.engine(Realm.BALLOTS)).release(ELECTION, statement="compared", slot=1)
    assert new.disk.files.read_checkpoint() == old.disk.files.read_checkpoint()
    new.vote(4)
    assert [new.disk.receipt(number) for number in (1, 2, 3)] == receipts
    assert new.disk.verified(4).size == 5


def test_a_finished_log_is_not_held(places: Places, tmp_path: Path) -> None:
    old = places.old
    old.live()
    old.vote(1, 2)
    old.disk.close()
    sequencer = old.disk.sequencer()
    sequencer.run_once(at=NOW)
    sequencer.publish_due(at=NOW, epoch=timedelta(minutes=10), least=1)
    sequencer.publish_due(at=NOW, epoch=timedelta(minutes=10), least=1)
    manifest = old.back_up(tmp_path / "backup")
    assert [log.finished for log in manifest.logs] == [True]
    assert places.new.restore(tmp_path / "backup").held == ()


def test_a_backup_of_half_a_batch_restores(places: Places, tmp_path: Path) -> None:
    old, new = places.old, places.new
    old.live()
    for step in (Step.ASSIGNED, Step.INTENT_RECORDED, Step.COMMITTED):
        old.disk.register(int(step))
        with pytest.raises(Crash):
            old.disk.sequencer(observer=CrashBehind(step)).run_once(at=NOW)
        if step is Step.COMMITTED:
            break
        old.disk.sequencer().run_once(at=NOW)
    shutil.copytree(old.folder / "salts", new.folder / "salts")
    old.back_up(tmp_path / "backup")
    new.restore(tmp_path / "backup")
    new.vote(9)
    assert new.disk.verified(9).size == 5
    assert new.disk.verified(int(Step.COMMITTED)).size == 4
    old.disk.sequencer().run_once(at=NOW)
    assert new.disk.receipt(int(Step.COMMITTED)) == old.disk.receipt(int(Step.COMMITTED))


def test_a_newer_checkpoint_in_the_folder_stays_and_an_older_one_is_replaced(
    places: Places, backup: Path
) -> None:
    old, new = places.old, places.new
    first = old.disk.log.checkpoint(ELECTION, 1)
    assert first is not None
    old.vote(5)
    newest = old.disk.files.read_checkpoint()
    assert newest is not None
    (new.logs / "younger-election").mkdir(parents=True)
    new.disk.files.write_checkpoint(newest, slot=1)
    report = new.restore(backup)
    assert (report.witnesses, report.unknown) == ((ELECTION,), ("younger-election",))
    assert new.disk.files.read_checkpoint() == newest

    # And there it says what it is for, whatever a person may have released.
    found = {type(d).__name__ for d in inspect(new)}
    assert "DatabaseBehind" in found


def inspect(place: Place) -> tuple[Exception, ...]:
    disk = place.disk
    return inspect_log(ballot_log_of(disk.manifest), store=disk.log, files=disk.files)


@pytest.mark.parametrize(("present", "stays"), [("older", False), ("damaged", True)])
def test_what_the_folder_held_before(
    places: Places, backup: Path, present: str, stays: bool
) -> None:
    first = places.old.disk.log.checkpoint(ELECTION, 1)
    assert first is not None
    note = first.note if present == "older" else b"damaged"
    places.new.disk.files.write_checkpoint(note, slot=1)
    report = places.new.restore(backup)
    assert report.witnesses == ((ELECTION,) if stays else ())
    found = places.new.disk.files.read_checkpoint()
    assert found == (note if stays else places.old.disk.files.read_checkpoint())


def test_a_database_behind_its_copied_files_is_no_backup(
    places: Places, backup: Path, tmp_path: Path
) -> None:
    """As when somebody puts the files of a later moment into it."""
    places.old.vote(6)
    newest = places.old.disk.files.read_checkpoint()
    assert newest is not None
    path = backup / "checkpoints" / "ballots" / ELECTION
    path.write_bytes(newest)
    data = json.loads((backup / "manifest.json").read_bytes())
    records = {record.name: record for record in folder_module.record_files(backup)}
    for file in data["files"]:
        file["sha256"], file["length"] = records[file["name"]].sha256, records[file["name"]].length
    restate(backup, files=data["files"])
    (finding,) = examine_backup(backup).findings
    assert isinstance(finding, BackupDamaged)
    assert "behind the copied file" in str(finding)


def test_an_open_hold_survives_the_next_backup(places: Places, tmp_path: Path) -> None:
    old = places.old
    old.live()
    holds = SqlLogHolds(old.engine(Realm.BALLOTS))
    holds.place(ELECTION, reason=HoldReason.ORDERED, slot=1)
    holds.contradict(ELECTION, b"proof \\ \t \n \\x00", slot=1)
    with old.engine(Realm.BALLOTS).begin() as connection:
        connection.execute(update(registrations).values(path=None))
    old.back_up(tmp_path / "backup")
    places.new.restore(tmp_path / "backup")
    found = SqlLogHolds(places.new.engine(Realm.BALLOTS)).find(ELECTION)
    assert [hold.contradiction for hold in found] == [b"proof \\ \t \n \\x00", None]


def test_audit_logs_are_copied_and_wait_for_their_newest_checkpoint(
    places: Places, tmp_path: Path
) -> None:
    old, new = places.old, places.new
    old.live()
    old.seal()
    manifest = old.back_up(tmp_path / "backup")
    assert manifest.audit[Realm.LOGIN].size == 0
    sealed = [realm for realm, log in manifest.audit.items() if log.size]
    assert Realm.BALLOTS in sealed
    assert new.restore(tmp_path / "backup").audit_halted == tuple(sorted(sealed))
    with pytest.raises(CheckpointFileMissing):
        new.seal()
    for realm in sealed:
        assert new.audit_files(realm).read_policy() == old.audit_files(realm).read_policy()
        note = old.audit_files(realm).read_checkpoint()
        assert note is not None
        new.audit_files(realm).write_checkpoint(note, slot=1)
    new.seal()


def test_a_disk_that_fails_under_a_copy_is_told(places: Places, tmp_path: Path) -> None:
    database = RealmDatabase(places.old.engine(Realm.PKI), Realm.PKI, None)
    with pytest.raises((OSError, StorageError)):
        database.copy_to(tmp_path / "no" / "such" / "folder")
