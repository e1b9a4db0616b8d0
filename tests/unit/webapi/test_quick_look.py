"""One prepared look-up: failures by their names first, then the row."""

import pytest
from sqlalchemy import Engine, Integer, bindparam, column, literal_column, select, table

from tests.support.databases import Database, SqliteDatabase
from webapi.storage.certificates import SqlCertificateStore, issued_certificates
from webapi.storage.errors import DatabaseUnavailable
from webapi.storage.quick_look import QuickLook
from webapi.storage.realm import Realm
from webapi.storage.sqlite import path_of

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
