"""What a restore refuses before anything is changed, and what cannot be exchanged beneath it."""

import shutil
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from click.testing import CliRunner, Result
from sqlalchemy import inspect, text

from tests.support.backups import Place, Places, copy_of
from tests.support.databases import SqliteDatabase
from tests.support.receipts import ELECTION, TrialElection
from tests.support.settings import DEVELOPMENT_SETTINGS
from webapi.backup import restore as restore_module
from webapi.backup.errors import (
    BackupIncomplete,
    BackupManifestMalformed,
    BackupOriginOther,
    ServiceRunning,
)
from webapi.backup.verify import BackupReport, examine_backup
from webapi.cli import main
from webapi.storage.engine import opened_engine
from webapi.storage.lease import WorkerLease
from webapi.storage.realm import Realm
from webapi.storage.realm_copies import DatabaseNotEmpty
from webapi.storage.realm_database import RealmDatabase
from webapi.storage.salt_keys import SaltKeysMissing


@pytest.fixture
def backup(places: Places, tmp_path: Path) -> Path:
    places.old.live()
    places.old.vote(1, 2)
    places.old.back_up(tmp_path / "backup")
    return tmp_path / "backup"


def test_a_database_of_another_version_stays_as_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/database/pki.db"
    with opened_engine(url, Realm.PKI) as engine:
        database = RealmDatabase(engine, Realm.PKI, None)
        database.make_place()
        database.require_unused()
        assert not (tmp_path / "database" / "pki.db").exists()
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
            connection.execute(text("INSERT INTO alembic_version VALUES ('pki_0001')"))
            connection.execute(text("CREATE TABLE permits (permit_id TEXT)"))
        database.require_unused()
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO permits VALUES ('a')"))
        with pytest.raises(DatabaseNotEmpty, match="permits"):
            database.require_unused()
        with engine.begin() as connection:
            assert sorted(inspect(connection).get_table_names()) == ["alembic_version", "permits"]


def test_nothing_is_upgraded_before_rows_or_a_worker_are_noticed(
    places: Places, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upgraded(*_arguments: object, **_options: object) -> None:
        raise AssertionError("the database was changed")

    monkeypatch.setattr("webapi.storage.realm_database.upgrade", upgraded)
    with pytest.raises(DatabaseNotEmpty):
        places.old.restore(backup)
    lease = WorkerLease(places.new.engine(Realm.BALLOTS))
    assert lease.acquire()
    with pytest.raises(ServiceRunning):
        places.new.restore(backup)
    lease.release()
    with places.new.engine(Realm.PKI).begin() as connection:
        assert MigrationContext.configure(connection).get_current_revision() is not None


def test_a_backup_of_another_service_is_refused(places: Places, backup: Path) -> None:
    with pytest.raises(BackupOriginOther, match="not of https"):
        places.new.restore(backup, origin="https://other.example.mn")
    with pytest.raises(BackupManifestMalformed):
        places.new.restore(backup.with_name("none"))


@pytest.mark.parametrize("what", ["file", "folder"])
def test_links_are_not_followed(places: Places, backup: Path, what: str) -> None:
    victim = copy_of(backup, Realm.PKI) if what == "file" else backup / "checkpoints"
    victim.rename(backup.with_name("elsewhere"))
    victim.symlink_to(backup.with_name("elsewhere"))
    with pytest.raises(BackupIncomplete):
        places.new.restore(backup)


def test_what_is_exchanged_behind_the_check_is_not_loaded(
    places: Places, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def examine(folder: Path, *, fingerprint: str | None) -> BackupReport:
        report = examine_backup(folder, fingerprint=fingerprint)
        assert folder.stat().st_mode & 0o777 == 0o700
        shutil.rmtree(backup)
        return report

    monkeypatch.setattr(restore_module, "examine_backup", examine)
    fingerprint = examine_backup(backup).fingerprint
    assert places.new.restore(backup, fingerprint=fingerprint).held == (ELECTION,)
    assert not list(places.new.folder.glob(".restore-*"))


@pytest.fixture
def place(sqlite_pattern: Path, tmp_path: Path) -> Place:
    text = DEVELOPMENT_SETTINGS.replace("sqlite:///", "sqlite:///database/")
    (tmp_path / "tamga.toml").write_text(text)
    made = Place(tmp_path, SqliteDatabase(sqlite_pattern, tmp_path / "database"), TrialElection())
    made.live()
    return made


def run(place: Place, *arguments: object) -> Result:
    config = ["--config", str(place.folder / "tamga.toml")]
    return CliRunner().invoke(main, [*config, "backup", *map(str, arguments)])


def test_salt_keys_are_read_before_anything_is_loaded(place: Place, tmp_path: Path) -> None:
    backup, keys = tmp_path / "backup", tmp_path / "stick"
    assert run(place, "create", backup, "--salt-keys", keys).exit_code == 0
    for name in ("database", "logs", "salts"):
        shutil.rmtree(place.folder / name)
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "absent", tmp_path / "empty"):
        refused = run(place, "restore", backup, "--salt-keys", wrong)
        assert refused.exit_code == 1
        assert "holds no salt key" in refused.output
        assert isinstance(refused.exception, SystemExit | SaltKeysMissing)
    (key,) = keys.iterdir()
    key.chmod(0o644)
    refused = run(place, "restore", backup, "--salt-keys", keys)
    assert "owner's alone" in refused.output
    assert "Traceback" not in refused.output
    assert not (place.folder / "database").exists()
    key.chmod(0o600)
    back = run(place, "restore", backup, "--salt-keys", keys)
    assert back.exit_code == 0, back.output
    assert "no --fingerprint" in back.output
    assert back.output.index("restored:") < back.output.index("1 salt key(s) put back")
