"""The databases that tests are given: as good as new, however they were used before."""

from collections.abc import Callable

import pytest
from sqlalchemy import func, insert, select

from tests.support.databases import PostgresDatabase
from tests.support.postgres import PostgresServer
from webapi.storage.challenges import challenge_stock
from webapi.storage.realm import Realm

STOCKED = {"nonce": "n", "origin": "https://tamga.example.mn", "expires_at": 1}


def used(server: PostgresServer) -> PostgresDatabase:
    database = PostgresDatabase(server)
    with database.engine(Realm.LOGIN).begin() as connection:
        connection.execute(insert(challenge_stock), STOCKED)
    return database


def identity(database: PostgresDatabase) -> object:
    """What stays the same however a database is named."""
    ((number,),) = database.server.administer(
        database.name, "SELECT oid FROM pg_database WHERE datname = current_database()"
    )
    return number


def test_a_used_database_is_given_again_empty_and_under_another_name(
    postgresql_server: PostgresServer,
) -> None:
    first = used(postgresql_server)
    before = identity(first)
    first.close()
    second = PostgresDatabase(postgresql_server)
    try:
        assert (identity(second), second.name != first.name) == (before, True)
        with second.engine(Realm.LOGIN).begin() as connection:
            query = select(func.count()).select_from(challenge_stock)
            assert connection.execute(query).scalar_one() == 0
    finally:
        second.close()


def _set_read_only(database: PostgresDatabase) -> None:
    setting = f"ALTER DATABASE {database.name} SET default_transaction_read_only = on"
    database.server.administer("postgres", setting)


def _run(sql: str) -> Callable[[PostgresDatabase], None]:
    def run(database: PostgresDatabase) -> None:
        database.server.administer(database.name, sql)

    return run


@pytest.mark.parametrize(
    "change",
    [
        _set_read_only,
        _run("ALTER TABLE login.challenge_stock ADD COLUMN more text"),
        _run("ALTER TABLE login.challenge_stock ALTER COLUMN origin DROP NOT NULL"),
        _run("DROP TABLE login.challenge_stock"),
        _run("DROP INDEX login.ix_challenge_stock_origin_expires_at"),
        _run("GRANT TRUNCATE ON login.challenge_stock TO login_service"),
        _run("REVOKE USAGE ON SCHEMA login FROM login_service"),
        _run("UPDATE login.alembic_version SET version_num = 'login_9999'"),
        _run("CREATE TABLE login.another (number integer)"),
    ],
)
def test_one_that_is_not_as_it_was_is_given_to_nobody(
    postgresql_server: PostgresServer, change: Callable[[PostgresDatabase], None]
) -> None:
    database = used(postgresql_server)
    change(database)
    before = identity(database)
    database.close()
    found = postgresql_server.administer("postgres", "SELECT oid FROM pg_database")
    assert (before,) not in found
