"""What is wrong with a backup is found: in its files, its manifest, its databases, its logs."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.backups import (
    Place,
    accept_files,
    copy_of,
    flip,
    restate,
)
from tests.support.databases import PostgresDatabase, SqliteDatabase
from tests.support.receipts import ELECTION, TrialElection
from webapi.backup import folder as folder_module
from webapi.backup.errors import (
    BackupDamaged,
    BackupError,
    BackupIncomplete,
    BackupManifestMalformed,
    BackupVersionOther,
)
from webapi.backup.verify import examine_backup
from webapi.storage.postgresql_copies import PostgresqlCopies
from webapi.storage.realm import Realm
from webapi.storage.realm_copies import CopyDamaged

Spoil = Callable[[Path], None]


def append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def swap(one: Path, other: Path) -> None:
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def link_inside(folder: Path) -> None:
    path = copy_of(folder, Realm.PKI)
    outside = path.rename(folder.parent / "outside")
    path.symlink_to(outside)


def link_a_folder(folder: Path) -> None:
    outside = (folder / "checkpoints").rename(folder.parent / "outside")
    (folder / "checkpoints").symlink_to(outside)


def put_a_pipe(folder: Path) -> None:
    path = copy_of(folder, Realm.PKI)
    path.unlink()
    os.mkfifo(path)


SPOILT: dict[str, tuple[Spoil, type[BackupError]]] = {
    "a changed byte in a database": (lambda f: flip(copy_of(f, Realm.LOGIN)), BackupDamaged),
    "a changed byte in a checkpoint": (
        lambda f: flip(f / "checkpoints" / "ballots" / ELECTION),
        BackupDamaged,
    ),
    "a missing database": (lambda f: copy_of(f, Realm.PKI).unlink(), BackupIncomplete),
    "another file": (lambda f: (f / "more").touch(), BackupIncomplete),
    "swapped databases": (
        lambda f: swap(copy_of(f, Realm.PKI), copy_of(f, Realm.LOGIN)),
        BackupDamaged,
    ),
    "a symbolic link": (link_inside, BackupIncomplete),
    "a folder that is a link": (link_a_folder, BackupIncomplete),
    "a pipe": (put_a_pipe, BackupIncomplete),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), BackupManifestMalformed),
    "a manifest that is a link": (
        lambda f: (f / "manifest.json").symlink_to((f / "manifest.json").rename(f.parent / "m")),
        BackupManifestMalformed,
    ),
    "a manifest with a space": (
        lambda f: append(f / "manifest.json", b" "),
        BackupManifestMalformed,
    ),
    "other logs": (lambda f: restate(f, logs=[]), BackupDamaged),
}


@pytest.fixture(scope="module")
def pattern(sqlite_pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A backup of SQLite files that no test changes."""
    folder = tmp_path_factory.mktemp("pattern")
    database = SqliteDatabase(sqlite_pattern, folder / "database")
    place = Place(folder, database, TrialElection())
    place.live()
    place.vote(1, 2, 3)
    place.back_up(folder / "backup")
    yield folder / "backup"
    database.close()


@pytest.fixture
def whole(pattern: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(pattern, tmp_path / "whole")


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_backup_is_found(whole: Path, how: str) -> None:
    spoil, expected = SPOILT[how]
    spoil(whole)
    assert {type(finding) for finding in examine_backup(whole).findings} == {expected}


def test_what_the_manifest_says_of_a_log_must_be_so(whole: Path) -> None:
    backup = whole
    (log,) = json.loads((backup / "manifest.json").read_bytes())["logs"]
    for change in (
        {"size": "3"},
        {"root": "ab" * 32},
        {"finished": True},
        {"origin": "other.example/x"},
    ):
        restate(backup, logs=[{**log, **change}])
        (finding,) = examine_backup(backup).findings
        assert isinstance(finding, BackupDamaged)
        assert "ends otherwise" in str(finding)


def test_a_version_or_kind_that_the_files_are_not_of(whole: Path) -> None:
    databases = json.loads((whole / "manifest.json").read_bytes())["databases"]
    for change in ({"version": "pki_9999"}, {"engine": "postgresql"}):
        restate(whole, databases={**databases, "pki": {**databases["pki"], **change}})
        (finding,) = examine_backup(whole).findings
        assert isinstance(finding, BackupDamaged)


@pytest.mark.parametrize("spoilt", ["policy", "checkpoint", "head", "key"])
def test_a_spoilt_audit_log_is_found(sqlite_pattern: Path, tmp_path: Path, spoilt: str) -> None:
    database = SqliteDatabase(sqlite_pattern, tmp_path / "database")
    place = Place(tmp_path / "place", database, TrialElection())
    place.live()
    place.seal()
    backup = tmp_path / "backup"
    place.back_up(backup)
    members = json.loads((backup / "manifest.json").read_bytes())
    if spoilt == "head":
        members["audit"]["ballots"]["root"] = "ab" * 32
    elif spoilt == "checkpoint":
        place.vote(1)
        place.seal()
        newer = place.audit_files(Realm.BALLOTS).read_checkpoint()
        assert newer is not None
        (backup / "checkpoints" / "audit" / "ballots").write_bytes(newer)
    else:
        path = backup / "policies" / "audit" / "ballots"
        policy = path.read_bytes()
        path.write_bytes(b"?" if spoilt == "policy" else policy.replace(b"audit.", b"other."))
    records = folder_module.record_files(backup)
    files = [{"length": r.length, "name": r.name, "sha256": r.sha256} for r in records]
    restate(backup, files=files, audit=members["audit"])
    (finding,) = examine_backup(backup).findings
    assert isinstance(finding, BackupDamaged)
    database.close()


@pytest.mark.parametrize("realm", [Realm.LOGIN, Realm.BALLOTS])
def test_a_database_that_is_damaged_in_itself_is_found(whole: Path, realm: Realm) -> None:
    """As when the disk spoilt it before the backup was made."""
    path = copy_of(whole, realm)
    data = path.read_bytes()
    for spoilt in (b"no database at all", data[: len(data) // 2], data[:100] + bytes(8000)):
        path.write_bytes(spoilt)
        accept_files(whole)
        (finding,) = examine_backup(whole).findings
        assert isinstance(finding, BackupDamaged)


def test_a_dump_that_is_damaged_in_itself_is_found(
    postgresql_database: PostgresDatabase, tmp_path: Path
) -> None:
    place = Place(tmp_path / "place", postgresql_database, TrialElection())
    place.live()
    backup = tmp_path / "backup"
    place.back_up(backup)
    path = copy_of(backup, Realm.BALLOTS)
    data = path.read_bytes()
    for spoilt in (b"no dump at all", data[: len(data) - 200]):
        path.write_bytes(spoilt)
        accept_files(backup)
        (finding,) = examine_backup(backup).findings
        assert isinstance(finding, BackupDamaged)
        with pytest.raises(BackupDamaged):
            place.restore(backup)
    # Another realm's dump lacks the tables.
    path.write_bytes(copy_of(backup, Realm.LOGIN).read_bytes())
    accept_files(backup)
    (finding,) = examine_backup(backup).findings
    assert "another version" in str(finding)
    with pytest.raises(CopyDamaged, match="lacks the table"):
        PostgresqlCopies().load(place.engine(Realm.BALLOTS), Realm.BALLOTS, path, lambda _: None)


def test_a_backup_goes_into_its_own_kind_of_database(
    postgresql_database: PostgresDatabase, whole: Path, tmp_path: Path
) -> None:
    place = Place(tmp_path / "place", postgresql_database, TrialElection())
    with pytest.raises(BackupVersionOther, match="was sqlite, and this one is postgresql"):
        place.restore(whole)
