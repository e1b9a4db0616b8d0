"""SQLite: whoever only looks waits for no writer, and cannot become one."""

import pytest
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import SQLAlchemyError

from tests.support.databases import SqliteDatabase
from webapi.storage.answer_holds import SqlAnswerHolds
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.elections import SqlElectionStore
from webapi.storage.errors import DatabaseUnavailable
from webapi.storage.log_holds import SqlLogHolds
from webapi.storage.log_store import SqlLogStore
from webapi.storage.permits import permits
from webapi.storage.realm import Realm
from webapi.storage.registrations import SqlRegistrationStore
from webapi.storage.sqlite import reading


@pytest.fixture
def engine(sqlite_database: SqliteDatabase) -> Engine:
    return sqlite_database.engine(Realm.BALLOTS)


def test_a_reader_waits_for_no_writer(engine: Engine, sqlite_database: SqliteDatabase) -> None:
    pki = sqlite_database.engine(Realm.PKI)
    log = SqlLogStore(engine)
    with engine.begin(), pki.begin():
        assert SqlElectionStore(engine).list_all() == []
        assert not SqlElectionStore(engine).exists("a")
        assert log.checkpoint("a", 1) is None
        assert log.entries("a", 0, 10) == []
        assert SqlRegistrationStore(engine).count("a") == 0
        assert SqlRegistrationStore(engine).count_pending("a") == 0
        assert SqlAuditLog(engine, Realm.BALLOTS).count_unsealed() == 0
        assert SqlLogHolds(engine).held() == frozenset()
        assert SqlAnswerHolds(pki).find() == ()
        assert SqlCertificateStore(pki).status_to_tell("citizen-ca", 1) is None


def test_a_reader_cannot_write_and_leaves_no_trace_on_its_connection(engine: Engine) -> None:
    with (
        pytest.raises((DatabaseUnavailable, SQLAlchemyError)),
        reading(engine).begin() as connection,
    ):
        connection.execute(insert(permits).values(permit_id="a"))
    with engine.begin() as connection:  # the same connection, out of the pool
        assert connection.execute(text("PRAGMA query_only")).scalar_one() == 0
        connection.execute(text("CREATE TABLE more (x)"))
