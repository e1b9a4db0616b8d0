"""One prepared look-up: failures by their names first, then the row."""

import shutil
import sqlite3
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, Integer, bindparam, column, literal_column, select, table

from tests.support.databases import Database, SqliteDatabase
from webapi.storage.certificates import SqlCertificateStore, issued_certificates
from webapi.storage.engine import watch_connections, watch_pool
from webapi.storage.errors import DatabaseUnavailable
from webapi.storage.quick_look import QuickLook
from webapi.storage.realm import Realm
from webapi.storage.sqlite import KeptReaders, path_of

GIVEN = select(
    literal_column("1", Integer),
    bindparam("one", type_=Integer),
    bindparam("other", type_=Integer),
)


def engine_of(database: Database) -> Engine:
    return database.engine(Realm.PKI)


def test_a_file_that_is_no_database_is_told_by_name(sqlite_database: SqliteDatabase) -> None:
    engine = engine_of(sqlite_database)
    path_of(engine).write_bytes(b"no database" * 1_000)
    with pytest.raises(DatabaseUnavailable):
        SqlCertificateStore(engine).status_to_tell("citizen", 1)


def test_a_wrong_statement_stays_what_it_is_and_the_next_is_answered(database: Database) -> None:
    engine = engine_of(database)
    wrong = QuickLook(engine, select(column("x")).select_from(table("nowhere")))
    with pytest.raises(engine.dialect.loaded_dbapi.Error):
        wrong.one({})
    assert QuickLook(engine, GIVEN).one({"one": 2, "other": 3}) == (1, 2, 3)


def test_values_are_taken_by_name(database: Database) -> None:
    look = QuickLook(engine_of(database), GIVEN)
    assert look.one({"other": 3, "one": 2}) == (1, 2, 3)


def test_no_row_is_none(database: Database) -> None:
    nobody = select(issued_certificates.c.ca).where(issued_certificates.c.ca == bindparam("ca"))
    assert QuickLook(engine_of(database), nobody).one({"ca": "nobody"}) is None


END = datetime(2030, 1, 1, tzinfo=UTC)
ONE = {"one": 1, "other": 1}


def test_a_kept_connection_cannot_write(sqlite_database: SqliteDatabase) -> None:
    reader = KeptReaders(engine_of(sqlite_database)).take()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.cursor().execute("DELETE FROM issued_certificates")


def test_a_kept_connection_is_given_up_with_its_file(sqlite_database: SqliteDatabase) -> None:
    engine = engine_of(sqlite_database)
    store = SqlCertificateStore(engine)
    path = path_of(engine)
    assert store.status_to_tell("citizen", 1) is None
    earlier = path.with_name("earlier.db")
    with sqlite3.connect(earlier) as copy, sqlite3.connect(path) as present:
        present.backup(copy)
    copy.close()
    present.close()
    opened: list[None] = []
    watch_connections(engine, lambda: opened.append(None))
    store.register(ca="citizen", serial=1, subject="CN=Bat", not_after=END)
    assert store.status_to_tell("citizen", 1) is not None
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    before = len(opened)
    shutil.move(earlier, path)
    assert store.status_to_tell("citizen", 1) is None
    assert len(opened) > before  # whoever judges what is read hears of it


def test_what_another_connection_commits_is_in_the_very_next_look(
    sqlite_database: SqliteDatabase,
) -> None:
    engine = engine_of(sqlite_database)
    store = SqlCertificateStore(engine)
    for serial in range(20):
        assert store.status_to_tell("citizen", serial) is None
        SqlCertificateStore(sqlite_database.engine(Realm.PKI)).register(
            ca="citizen", serial=serial, subject="CN=Bat", not_after=END
        )
        assert store.status_to_tell("citizen", serial) is not None


def test_a_kept_connection_is_opened_once_and_is_none_of_the_pool(
    sqlite_database: SqliteDatabase,
) -> None:
    engine = engine_of(sqlite_database)
    taken: list[None] = []
    returned: list[None] = []
    opened: list[None] = []
    watch_pool(engine, lambda: taken.append(None), lambda: returned.append(None))
    watch_connections(engine, lambda: opened.append(None))
    look = QuickLook(engine, GIVEN)
    for _ in range(3):
        assert look.one(ONE) == (1, 1, 1)
    assert (len(taken), len(returned), len(opened)) == (1, 1, 1)
    engine.dispose()
    assert look.one(ONE) == (1, 1, 1)
    assert len(opened) == 2


def test_looks_at_once_have_a_connection_each(sqlite_database: SqliteDatabase) -> None:
    readers = KeptReaders(engine_of(sqlite_database))
    first, second = readers.take(), readers.take()
    assert first is not second
    readers.put_back(first)
    assert readers.take() is first
