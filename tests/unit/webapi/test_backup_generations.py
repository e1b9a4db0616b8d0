"""Backups of an audit log that was begun anew: the active generation is what is copied."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from signer.audit.sealing import audit_origin
from signer.receipts.errors import CheckpointFileMissing
from signer.receipts.growth import SilentObserver
from signer.receipts.policy import Policy
from tests.support.backups import Place, Places, copy_of
from tests.support.databases import SqliteDatabase
from tests.support.receipts import NOW, TrialElection
from webapi.audit_anew import RealmAudit, begin_anew
from webapi.audit_folders import AuditFolders
from webapi.audit_logs import AuditLogs
from webapi.backup.errors import BackupDamaged
from webapi.backup.verify import examine_backup
from webapi.put_back import Containment
from webapi.storage.audit_generations import SqlAuditGenerations
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.lease import WorkerLease
from webapi.storage.realm import Realm
from webapi.storage.sqlite_copies import SqliteCopies

HOST = "tamga.example.mn"


def audit_of(place: Place) -> RealmAudit:
    return RealmAudit(
        Realm.BALLOTS,
        HOST,
        SqlAuditGenerations(place.engine(Realm.BALLOTS), Realm.BALLOTS),
        lambda generation: SqlAuditLog(place.engine(Realm.BALLOTS), Realm.BALLOTS, generation),
        AuditFolders(place.folder / "audit"),
    )


def begin(place: Place) -> None:
    lease = WorkerLease(place.engine(Realm.BALLOTS))
    begin_anew(audit_of(place), lease, because="the disk was lost", at=NOW)


def seal(place: Place) -> dict[str, str]:
    audit = audit_of(place)
    logs = AuditLogs(
        host=HOST,
        log_of=lambda _: audit.log_of(audit.generations.active()),
        folders=audit.folders,
        backend=lambda: place.election.signer,
        observer=SilentObserver(),
        contain=Containment(place.engine, lambda: NOW),
    )
    logs._try_log(str(Realm.BALLOTS), at=NOW)
    logs.close()
    return dict(logs.halted)


def live_twice(place: Place) -> None:
    """The second generation of the ballots' audit log is sealed."""
    place.live()
    place.seal()
    shutil.rmtree(place.folder / "audit" / "ballots")
    begin(place)
    assert seal(place) == {}


def test_the_active_generation_is_copied_and_put_back(places: Places, tmp_path: Path) -> None:
    live_twice(places.old)
    manifest = places.old.back_up(tmp_path / "backup")
    active = audit_of(places.old).opened()[-1]
    signed = active.log.log_state("ballots-2").signed
    assert signed is not None
    assert manifest.audit[Realm.BALLOTS].size == signed.size
    policy = (tmp_path / "backup" / "policies" / "audit" / "ballots").read_bytes()
    assert list(Policy.parse(policy).logs) == [audit_origin(HOST, "ballots", 2)]

    report = places.new.restore(tmp_path / "backup")
    assert Realm.BALLOTS in report.audit_halted
    assert AuditFolders(places.new.folder / "audit").of(Realm.BALLOTS, 2).read_policy() == policy
    assert audit_of(places.new).generations.stored() == audit_of(places.old).generations.stored()
    assert seal(places.new) == {"ballots": CheckpointFileMissing.__name__}
    # The newest checkpoint is found, and the log goes on; or it is begun anew once more.
    note = active.files.read_checkpoint()
    assert note is not None
    audit_of(places.new).opened()[-1].files.write_checkpoint(note, slot=1)
    assert seal(places.new) == {}


def test_a_copied_policy_of_another_generation_is_found(places: Places, tmp_path: Path) -> None:
    place = places.old
    place.live()
    place.seal()
    policy = place.audit_files(Realm.BALLOTS).read_policy()
    assert policy is not None
    shutil.rmtree(place.folder / "audit" / "ballots")
    begin(place)
    assert seal(place) == {}
    audit_of(place).opened()[-1].files.write_policy(policy, slot=1)
    with pytest.raises(BackupDamaged, match=r"pins no key of audit\.tamga\.example\.mn/ballots/2"):
        place.back_up(tmp_path / "backup")


def test_a_copy_of_tables_without_generations_has_the_first(
    sqlite_pattern: Path, tmp_path: Path
) -> None:
    database = SqliteDatabase(sqlite_pattern, tmp_path / "database")
    place = Place(tmp_path, database, TrialElection())
    place.live()
    place.seal()
    place.back_up(tmp_path / "backup")
    assert examine_backup(tmp_path / "backup").findings == ()
    copy = copy_of(tmp_path / "backup", Realm.BALLOTS)
    before = SqliteCopies().audit_log(copy, Realm.BALLOTS)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("DROP TABLE audit_generations")
    assert SqliteCopies().audit_log(copy, Realm.BALLOTS) == before
    assert before.generation == 1
    database.close()
