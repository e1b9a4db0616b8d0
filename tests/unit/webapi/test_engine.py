"""The database: refused unless private, migrated and of this version."""

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from webapi.role_servers import WEB_THREADS
from webapi.storage import version
from webapi.storage.engine import make_engine, watch_connections
from webapi.storage.errors import (
    DatabaseDirectoryUnsafe,
    DatabaseNotCurrent,
    DatabaseUnavailable,
    DatabaseUrlUnsupported,
)
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.storage.sqlite import reading
from webapi.storage.version import require_current


def url_in(directory: Path) -> str:
    return f"sqlite:///{directory}/login.db"


def upgraded(directory: Path) -> Engine:
    engine = make_engine(url_in(directory), Realm.LOGIN)
    upgrade(engine, Realm.LOGIN)
    return engine


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "sqlite:///relative.db", "mysql://x@/y"],
)
def test_unsupported_urls_are_refused(url: str) -> None:
    with pytest.raises(DatabaseUrlUnsupported):
        make_engine(url, Realm.LOGIN)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_folder_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(DatabaseDirectoryUnsafe):
        make_engine(url_in(directory), Realm.LOGIN)


def test_an_absent_database_is_refused_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotCurrent, match="no login database"):
        require_current(make_engine(url_in(tmp_path), Realm.LOGIN), Realm.LOGIN)
    assert not (tmp_path / "login.db").exists()


def test_an_empty_database_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "login.db").close()
    (tmp_path / "login.db").touch()
    with pytest.raises(DatabaseNotCurrent, match="empty"):
        require_current(make_engine(url_in(tmp_path), Realm.LOGIN), Realm.LOGIN)


@pytest.mark.parametrize("version", ["login_9999", "ballots_0001"])
def test_a_later_version_and_another_realm_are_refused(tmp_path: Path, version: str) -> None:
    engine = upgraded(tmp_path)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :new"), {"new": version})
    for act in (require_current, upgrade):
        with pytest.raises(DatabaseNotCurrent, match="later version"):
            act(engine, Realm.LOGIN)


def test_an_earlier_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = upgraded(tmp_path)
    monkeypatch.setattr(version, "newest_version", lambda _realm: "login_9999")
    with pytest.raises(DatabaseNotCurrent, match="earlier version"):
        require_current(engine, Realm.LOGIN)


def test_upgrade_makes_a_private_folder_and_the_pragmas_hold(tmp_path: Path) -> None:
    directory = tmp_path / "var" / "data"
    engine = upgraded(directory)
    upgrade(engine, Realm.LOGIN)
    require_current(engine, Realm.LOGIN)
    assert directory.stat().st_mode & 0o777 == 0o700
    with engine.begin() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


def test_many_upgrades_at_once_all_succeed(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def run(_: int) -> Engine:
        engine = make_engine(url_in(tmp_path), Realm.LOGIN)
        barrier.wait()
        upgrade(engine, Realm.LOGIN)
        return engine

    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(run, range(8)))
    for engine in engines:
        require_current(engine, Realm.LOGIN)
    assert inspect(engines[0]).has_table("sessions")


def test_the_engine_alone_knows_every_table() -> None:
    script = (
        "import importlib, pkgutil\n"
        "from webapi.storage import schema\n"
        "import webapi.storage.engine\n"
        "every = (schema.LOGIN, schema.BALLOTS, schema.PKI, schema.EVERY_REALM)\n"
        "known = {table for metadata in every for table in metadata.tables}\n"
        "for module in pkgutil.iter_modules(webapi.storage.__path__):\n"
        "    importlib.import_module(f'webapi.storage.{module.name}')\n"
        "print(sorted({table for metadata in every for table in metadata.tables} - known))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert run.stdout.strip() == "[]", "add the module to webapi/storage/tables.py"


@pytest.mark.parametrize("name", ["per%20cent", "a%2Fb", "what?mode=ro", "with space", "ө"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    upgraded(directory)
    assert (directory / "login.db").exists()
    require_current(make_engine(url_in(directory), Realm.LOGIN), Realm.LOGIN)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    (directory / "login.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseUnavailable):
        upgraded(directory)


def test_each_thread_has_a_connection_of_its_own(tmp_path: Path) -> None:
    engine = make_engine(url_in(tmp_path), Realm.LOGIN)
    connections = [engine.raw_connection() for _ in range(WEB_THREADS)]
    for connection in connections:
        connection.close()


def test_no_connection_keeps_a_file_that_another_has_replaced(tmp_path: Path) -> None:
    """What one connection reads is judged by what another reads: both must have one database."""
    tmp_path.chmod(0o700)
    names = tmp_path / "db.sqlite3", tmp_path / "yesterday.sqlite3"
    for path in names:
        with closing(sqlite3.connect(path)) as made:
            made.execute("CREATE TABLE day AS SELECT ? AS name", [path.stem])
            made.commit()
    engine = make_engine(f"sqlite:///{names[0]}", Realm.PKI)
    looking, read = reading(engine), text("SELECT name FROM day")
    made_anew: list[None] = []
    watch_connections(engine, lambda: made_anew.append(None))
    with looking.connect() as one, looking.connect() as other:
        assert (one.scalar(read), other.scalar(read)) == ("db", "db")
    assert len(made_anew) == 2
    names[1].rename(names[0])
    with looking.connect() as one, looking.connect() as other:
        assert (one.scalar(read), other.scalar(read)) == ("yesterday", "yesterday")
    assert len(made_anew) == 4
    names[0].unlink()
    with looking.connect() as one:
        assert one.scalar(read) == "yesterday"
