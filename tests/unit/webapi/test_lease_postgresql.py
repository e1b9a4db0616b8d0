"""The lease on PostgreSQL: a session's lock, gone with the session, and whoever had it knows."""

import pytest
from sqlalchemy import create_engine

from tests.support.databases import PostgresDatabase
from webapi.storage.errors import DatabaseUnavailable
from webapi.storage.lease import WorkerLease
from webapi.storage.realm import Realm

HOLDERS = """
SELECT pid FROM pg_locks JOIN pg_database ON oid = database
WHERE locktype = 'advisory' AND granted AND datname = current_database()
"""


def lease_of(database: PostgresDatabase) -> WorkerLease:
    return WorkerLease(database.engine(Realm.BALLOTS))


def holders(database: PostgresDatabase) -> list[object]:
    return [row[0] for row in database.server.administer(database.name, HOLDERS)]


def end_sessions(database: PostgresDatabase, *processes: object) -> None:
    for process in processes:
        sql = f"SELECT pg_terminate_backend({process}, 5000)"
        database.server.administer(database.name, sql)


def test_whose_connection_was_cut_has_lost_it(postgresql_database: PostgresDatabase) -> None:
    first, second = lease_of(postgresql_database), lease_of(postgresql_database)
    assert first.acquire()
    assert not second.acquire()
    end_sessions(postgresql_database, *holders(postgresql_database))
    assert second.acquire()
    assert not first.is_held()
    assert not first.acquire()
    second.release()
    assert first.acquire()
    first.release()


def test_a_cut_connection_of_the_one_that_stands_by_is_made_anew(
    postgresql_database: PostgresDatabase,
) -> None:
    first, second = lease_of(postgresql_database), lease_of(postgresql_database)
    assert first.acquire()
    assert not second.acquire()
    sessions = postgresql_database.server.administer(
        postgresql_database.name,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()",
    )
    others = {row[0] for row in sessions} - set(holders(postgresql_database))
    end_sessions(postgresql_database, *others)
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_taken_twice_it_is_one_lock(postgresql_database: PostgresDatabase) -> None:
    lease = lease_of(postgresql_database)
    assert lease.acquire()
    assert lease.acquire()
    assert len(holders(postgresql_database)) == 1
    lease.release()
    assert not lease.is_held()
    assert not holders(postgresql_database)


def test_no_upgrade_waits_for_it(postgresql_database: PostgresDatabase) -> None:
    lease = lease_of(postgresql_database)
    assert lease.acquire()
    for number in range(len(Realm)):
        taken = postgresql_database.server.administer(
            postgresql_database.name, f"SELECT pg_try_advisory_lock({0x74616D67}, {number})"
        )
        assert taken == [(True,)]
    assert lease.is_held()
    lease.release()


def test_another_installation_on_the_same_server_has_its_own(
    postgresql_database: PostgresDatabase,
) -> None:
    server = postgresql_database.server
    other = PostgresDatabase(server)
    try:
        first, second = lease_of(postgresql_database), lease_of(other)
        assert first.acquire()
        assert second.acquire()
        assert first.is_held()
        first.release()
        second.release()
    finally:
        other.close()


def test_without_a_server_nobody_can_say_who_has_it() -> None:
    lease = WorkerLease(create_engine("postgresql+psycopg://nobody@/none?host=/no/such/folder"))
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        lease.acquire()
    assert not lease.is_held()
    lease.release()
