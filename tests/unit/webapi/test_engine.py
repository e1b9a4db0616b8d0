"""The database: refused unless private, migrated and of this version."""

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, inspect, select, text

from webapi.roles import WEB_THREADS
from webapi.storage.engine import make_engine, require_current, schema_tables, upgrade
from webapi.storage.errors import (
    DatabaseDirectoryUnsafe,
    DatabaseNotCurrent,
    DatabaseUnavailable,
    DatabaseUrlUnsupported,
)


def url_in(directory: Path) -> str:
    return f"sqlite:///{directory}/tamga.db"


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "sqlite:///relative.db", "postgresql+psycopg://x@/y"],
)
def test_unsupported_urls_are_refused(url: str) -> None:
    with pytest.raises(DatabaseUrlUnsupported):
        make_engine(url)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_folder_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(DatabaseDirectoryUnsafe):
        make_engine(url_in(directory))


def test_an_absent_database_is_refused_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotCurrent, match="no database"):
        require_current(make_engine(url_in(tmp_path)))
    assert not (tmp_path / "tamga.db").exists()


def test_an_empty_database_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "tamga.db").close()
    (tmp_path / "tamga.db").touch()
    with pytest.raises(DatabaseNotCurrent, match="empty"):
        require_current(make_engine(url_in(tmp_path)))


def test_a_table_of_another_version_is_refused(tmp_path: Path) -> None:
    engine = make_engine(url_in(tmp_path))
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(schema_tables.update().values(ddl_sha256="0" * 64))
    with pytest.raises(DatabaseNotCurrent, match="not of this version"):
        require_current(engine)
    with pytest.raises(DatabaseNotCurrent, match="another version"):
        upgrade(engine)


def test_a_missing_table_is_refused_and_made_by_upgrade(tmp_path: Path) -> None:
    engine = make_engine(url_in(tmp_path))
    upgrade(engine)
    with engine.begin() as connection:
        name = connection.execute(
            select(schema_tables.c.name).where(schema_tables.c.name != "schema_tables")
        ).scalar()
        if name is not None:
            connection.execute(text(f"DROP TABLE {name}"))
            connection.execute(delete(schema_tables).where(schema_tables.c.name == name))
    if name is not None:
        with pytest.raises(DatabaseNotCurrent):
            require_current(engine)
    upgrade(engine)
    require_current(engine)


def test_upgrade_makes_a_private_folder_and_the_pragmas_hold(tmp_path: Path) -> None:
    directory = tmp_path / "var" / "data"
    engine = make_engine(url_in(directory))
    upgrade(engine)
    upgrade(engine)
    require_current(engine)
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
        engine = make_engine(url_in(tmp_path))
        barrier.wait()
        upgrade(engine)
        return engine

    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(run, range(8)))
    for engine in engines:
        require_current(engine)
    assert inspect(engines[0]).has_table("schema_tables")


def test_the_engine_alone_knows_every_table() -> None:
    script = (
        "import importlib, pkgutil\n"
        "from webapi.storage.schema import metadata\n"
        "import webapi.storage.engine\n"
        "known = set(metadata.tables)\n"
        "for module in pkgutil.iter_modules(webapi.storage.__path__):\n"
        "    importlib.import_module(f'webapi.storage.{module.name}')\n"
        "print(sorted(set(metadata.tables) - known))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert run.stdout.strip() == "[]", "add the module to webapi/storage/tables.py"


@pytest.mark.parametrize("name", ["per%20cent", "a%2Fb", "what?mode=ro", "with space", "ө"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    upgrade(make_engine(url_in(directory)))
    assert (directory / "tamga.db").exists()
    require_current(make_engine(url_in(directory)))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    (directory / "tamga.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseUnavailable):
        upgrade(make_engine(url_in(directory)))


def test_each_thread_has_a_connection_of_its_own(tmp_path: Path) -> None:
    engine = make_engine(url_in(tmp_path))
    connections = [engine.raw_connection() for _ in range(WEB_THREADS)]
    for connection in connections:
        connection.close()
