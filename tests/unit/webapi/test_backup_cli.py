"""`tamga backup` as a person types it, what a restore leaves behind, and PostgreSQL's programs."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from tests.support.backups import SERIAL, Place
from tests.support.databases import PostgresDatabase, SqliteDatabase
from tests.support.receipts import ELECTION, TrialElection
from tests.support.settings import DEVELOPMENT_SETTINGS
from webapi.cli import main
from webapi.doctor.holds import check_answer_holds, check_log_holds
from webapi.operations.checks import CheckState
from webapi.storage import postgresql_copies
from webapi.storage.answer_holds import SqlAnswerHolds
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.engine import make_engine
from webapi.storage.errors import DatabaseUrlUnsupported
from webapi.storage.log_holds import HoldReason, SqlLogHolds
from webapi.storage.realm import Realm
from webapi.storage.realm_copies import ToolUnusable


@pytest.fixture
def place(sqlite_pattern: Path, tmp_path: Path) -> Place:
    """An installation with its configuration file."""
    text = DEVELOPMENT_SETTINGS.replace("sqlite:///", "sqlite:///database/")
    (tmp_path / "tamga.toml").write_text(text)
    made = Place(tmp_path, SqliteDatabase(sqlite_pattern, tmp_path / "database"), TrialElection())
    made.live()
    made.vote(1, 2)
    return made


def run(place: Place, *arguments: object) -> Result:
    config = ["--config", str(place.folder / "tamga.toml")]
    return CliRunner().invoke(main, [*config, *map(str, arguments)])


def lose(place: Place) -> None:
    for name in ("database", "logs", "salts"):
        shutil.rmtree(place.folder / name)


def test_a_backup_is_made_verified_and_put_back(place: Place, tmp_path: Path) -> None:
    backup, keys = tmp_path / "backup", tmp_path / "stick"
    made = run(place, "backup", "create", backup, "--salt-keys", keys)
    assert made.exit_code == 0, made.output
    assert "1 salt key(s) copied" in made.output
    fingerprint = made.output.split("fingerprint ")[1].split()[0]
    assert [path.stat().st_mode & 0o777 for path in keys.iterdir()] == [0o600]

    told = run(place, "backup", "verify", backup)
    assert told.exit_code == 0
    assert f"{ELECTION}: 3 entries signed" in told.output
    members = json.loads(run(place, "backup", "verify", backup, "--json").output)
    assert (members["ok"], members["fingerprint"]) == (True, fingerprint)

    assert "holds rows" in run(place, "backup", "restore", backup).output
    lose(place)
    back = run(
        place, "backup", "restore", backup, "--salt-keys", keys, "--fingerprint", fingerprint
    )
    assert back.exit_code == 0, back.output
    assert f"tamga log confirm {ELECTION}" in back.output
    assert "salt key is missing" not in back.output
    assert (place.folder / "salts" / f"{ELECTION}.key").exists()

    # The responder is silent until a person has compared.
    assert run(place, "pki", "confirm", "--because", " ").exit_code == 2
    confirmed = run(place, "pki", "confirm", "--because", "compared with the paper orders")
    assert confirmed.exit_code == 0, confirmed.output
    assert "put back to" in confirmed.output
    again = run(place, "pki", "confirm", "--because", "once more")
    assert "not on hold" in again.output
    store = SqlCertificateStore(place.engine(Realm.PKI))
    assert store.status_to_tell("citizen-ca", SERIAL) is not None


def test_what_is_wrong_is_told(place: Place, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    assert run(place, "backup", "create", backup, "--salt-keys", backup / "keys").exit_code == 2
    assert not backup.exists()
    assert run(place, "backup", "create", backup).exit_code == 0
    again = run(place, "backup", "create", backup)
    assert again.exit_code == 1
    assert "a backup never replaces anything" in again.output

    (backup / "login.sqlite3").unlink()
    told = run(place, "backup", "verify", backup)
    assert told.exit_code == 1
    assert "BackupIncomplete: login.sqlite3 is missing" in told.output
    members = json.loads(run(place, "backup", "verify", backup, "--json").output)
    assert members["findings"][0]["reason"] == "BackupIncomplete"
    nothing = json.loads(run(place, "backup", "verify", tmp_path / "no", "--json").output)
    assert (nothing["ok"], nothing["made_at"], nothing["logs"]) == (False, None, [])


def test_lost_salt_keys_and_younger_logs_are_told(place: Place, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    assert run(place, "backup", "create", backup).exit_code == 0
    place.vote(3)
    newest = place.disk.files.read_checkpoint()
    assert newest is not None
    lose(place)
    (place.logs / "younger").mkdir(parents=True)
    place.disk.files.write_checkpoint(newest, slot=1)
    back = run(place, "backup", "restore", backup)
    assert back.exit_code == 0, back.output
    for said in ("its salt key is missing", "it is younger", "newer than the backup, and stays"):
        assert said in back.output


def test_the_doctor_tells_of_holds(place: Place) -> None:
    logs = SqlLogHolds(place.engine(Realm.BALLOTS))
    answers = SqlAnswerHolds(place.engine(Realm.PKI))
    (well,) = check_log_holds(lambda: logs)
    (silent,) = check_answer_holds(lambda: answers)
    assert {well.state, silent.state} == {CheckState.OK}
    logs.place(ELECTION, reason=HoldReason.ORDERED, slot=2_985_000)
    (held,) = check_log_holds(lambda: logs)
    assert held.state is CheckState.FAILED
    assert held.remedy.endswith(f"tamga log confirm {ELECTION}")
    logs.contradict(ELECTION, b"proof", slot=1)
    (final,) = check_log_holds(lambda: logs)
    assert "new log" in final.remedy


def test_the_doctor_tells_of_a_silent_responder(place: Place, tmp_path: Path) -> None:
    run(place, "backup", "create", tmp_path / "backup")
    lose(place)
    run(place, "backup", "restore", tmp_path / "backup")
    (held,) = check_answer_holds(lambda: SqlAnswerHolds(place.engine(Realm.PKI)))
    assert held.state is CheckState.FAILED
    assert "tamga pki confirm" in held.remedy


def test_a_missing_old_or_failing_pg_dump_is_told(
    postgresql_database: PostgresDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path / "place", postgresql_database, TrialElection())
    place.live()
    tool = tmp_path / "pg_dump"
    monkeypatch.setattr(shutil, "which", lambda _: str(tool))
    for script, said in (
        ("echo 'pg_dump (PostgreSQL) 9.6'", "is of version 9, the server of"),
        ("echo nothing", "does not tell its version"),
        ('[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99" || exit 1', "failed: no reason"),
    ):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o700)
        with pytest.raises(ToolUnusable, match=said):
            place.back_up(tmp_path / "backup")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ToolUnusable, match="pg_dump is not installed"):
        place.back_up(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_no_password_is_in_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "another")
    for url in (
        "postgresql://role:s3cret%40@db.example/name?sslmode=require",
        "postgresql://role@db.example/name?sslmode=require&password=s3cret%40",
    ):
        engine = engine_of(url)
        where = postgresql_copies._where(engine)
        assert where[1] == "--dbname=postgresql://role@db.example/name?sslmode=require"
        assert postgresql_copies._environment(engine)["PGPASSWORD"] == "s3cret@"
    with pytest.raises(DatabaseUrlUnsupported) as refused:
        engine_of("postgresql://role@db.example/name?sslkey=/key&sslpassword=s3cret")
    assert "s3cret" not in str(refused.value)


def engine_of(url: str) -> Engine:
    return make_engine(url, Realm.LOGIN)
