"""PostgreSQL: what a session is set to, and by which name each of its failures goes."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import errors as psycopg_errors
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import ProgrammingError

from tests.support.certificates import NOW
from tests.support.databases import PostgresDatabase
from tests.support.login import ORIGIN
from tests.support.postgres import PATTERN, PostgresServer, roles_in, running_server
from webapi.storage import migration, postgresql
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.elections import elections
from webapi.storage.engine import make_engine, opened_engine
from webapi.storage.errors import (
    DatabaseBusy,
    DatabaseNotCurrent,
    DatabaseUnavailable,
    DatabaseUrlUnsupported,
)
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.storage.roles import roles_sql
from webapi.storage.version import require_current


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with running_server(durable=True) as server:
        yield server


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///name",
        "postgresql://role@/",
        "postgresql+psycopg2://role@/name",
        "postgresql://role@/name?options=-csynchronous_commit%3Doff",
        "not a url",
    ],
)
def test_urls_that_lack_a_part_or_say_too_much(url: str) -> None:
    with pytest.raises(DatabaseUrlUnsupported):
        make_engine(url, Realm.LOGIN)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://role:p@ss:w0rd@host/name",
        "postgresql://role:p@ss@host/name",
        "postgresql://role:p@ss/w0rd@host/name",
        "postgresql://role:p@ss?w0rd@host/name",
    ],
)
def test_nothing_of_a_password_that_was_not_escaped_is_shown(url: str) -> None:
    with pytest.raises(DatabaseUrlUnsupported) as refused:
        make_engine(url, Realm.LOGIN)
    assert "ss" not in str(refused.value).replace("password", "")
    assert refused.value.__cause__ is None


def test_every_session_is_set_to_what_we_promise(
    postgresql_database: PostgresDatabase, postgresql_server: PostgresServer
) -> None:
    name = postgresql_database.name
    # What administrators set for the database or the role does not count.
    for wrong in ("synchronous_commit = off", "search_path = ballots", "statement_timeout = 0"):
        postgresql_server.administer("postgres", f"ALTER DATABASE {name} SET {wrong}")
    with postgresql_database.engine(Realm.LOGIN).begin() as connection:
        found = {
            setting: connection.scalar(text(f"SHOW {setting}"))
            for setting in (
                "search_path",
                "synchronous_commit",
                "timezone",
                "lock_timeout",
                "statement_timeout",
                "idle_in_transaction_session_timeout",
                "transaction_isolation",
                "application_name",
            )
        }
    assert found == {
        "search_path": "login,pg_temp",
        "synchronous_commit": "on",
        "timezone": "UTC",
        "lock_timeout": "10s",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "1min",
        "transaction_isolation": "read committed",
        "application_name": "tamga-login",
    }


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg_errors.SerializationFailure, DatabaseBusy),
        (psycopg_errors.DeadlockDetected, DatabaseBusy),
        (psycopg_errors.LockNotAvailable, DatabaseBusy),
        (psycopg_errors.QueryCanceled, DatabaseBusy),
        (psycopg_errors.AdminShutdown, DatabaseUnavailable),
        (psycopg_errors.CrashShutdown, DatabaseUnavailable),
        (psycopg_errors.CannotConnectNow, DatabaseUnavailable),
        (psycopg_errors.ConnectionFailure, DatabaseUnavailable),
        (psycopg_errors.DiskFull, DatabaseUnavailable),
        (psycopg_errors.TooManyConnections, DatabaseUnavailable),
        (psycopg_errors.IoError, DatabaseUnavailable),
        (psycopg_errors.ReadOnlySqlTransaction, DatabaseUnavailable),
        (psycopg_errors.IdleInTransactionSessionTimeout, DatabaseUnavailable),
        (psycopg.OperationalError, DatabaseUnavailable),
        (psycopg.InterfaceError, DatabaseUnavailable),
        (psycopg_errors.UndefinedTable, None),
        (psycopg_errors.UniqueViolation, None),
        (psycopg_errors.InsufficientPrivilege, None),
        (psycopg.ProgrammingError, None),
        (OSError, None),
    ],
)
def test_failures_by_their_sqlstate(error: type[Exception], expected: type | None) -> None:
    found = postgresql.failure_of(error("x"))
    assert (None if found is None else type(found)) is expected


def test_a_wrong_statement_stays_a_fault_of_ours(postgresql_database: PostgresDatabase) -> None:
    engine = postgresql_database.engine(Realm.LOGIN)
    with pytest.raises(ProgrammingError), engine.begin() as connection:
        connection.execute(text("SELECT nothing FROM nowhere"))


def test_an_exhausted_pool_is_busy(
    postgresql_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "POOL_TIMEOUT_SECONDS", 0.05)
    engine = postgresql_database.engine(Realm.LOGIN)
    held = [engine.connect() for _ in range(postgresql.CONNECTIONS)]
    with pytest.raises(DatabaseBusy, match="in use"):
        engine.connect()
    held.pop().close()
    engine.connect().close()
    for connection in held:
        connection.close()


def test_a_lock_that_is_not_given_up_is_busy(
    postgresql_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "LOCK_TIMEOUT_MILLISECONDS", 50)
    holder = postgresql_database.owner_engine(Realm.LOGIN)
    engine = postgresql_database.engine(Realm.LOGIN)
    with holder.begin() as connection:
        connection.execute(text("LOCK TABLE challenges"))
        with pytest.raises(DatabaseBusy):
            SqlChallengeStore(engine).take("0" * 32)
    assert SqlChallengeStore(engine).take("0" * 32) is None


def test_a_statement_that_takes_too_long_is_busy(
    postgresql_database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "STATEMENT_TIMEOUT_MILLISECONDS", 50)
    engine = postgresql_database.engine(Realm.LOGIN)
    with pytest.raises(DatabaseBusy), engine.begin() as connection:
        connection.execute(text("SELECT pg_sleep(10)"))


def test_a_read_only_server_is_unavailable(
    postgresql_database: PostgresDatabase, postgresql_server: PostgresServer
) -> None:
    name = postgresql_database.name
    postgresql_server.administer(
        "postgres", f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    )
    store = SqlChallengeStore(postgresql_database.engine(Realm.LOGIN))
    assert store.count_stock(ORIGIN, usable_until=NOW) == 0
    with pytest.raises(DatabaseUnavailable):
        store.take("0" * 32)


@pytest.mark.parametrize("wrong", ["no_such_role", "ballots_service"])
def test_a_role_without_the_schema_is_told_what_to_run(
    postgresql_database: PostgresDatabase, postgresql_server: PostgresServer, wrong: str
) -> None:
    engine = make_engine(postgresql_server.url(wrong, postgresql_database.name), Realm.LOGIN)
    expected: tuple[type[Exception], str] = (
        (DatabaseUnavailable, 'role "no_such_role" does not exist')
        if wrong == "no_such_role"
        else (DatabaseNotCurrent, "tamga db roles")
    )
    with pytest.raises(expected[0], match=expected[1]):
        require_current(engine, Realm.LOGIN)
    engine.dispose()


def ask(
    engine: Engine,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """A transaction with something that happens in the midst of it."""
    with engine.begin() as connection:
        before()
        assert connection.scalar(text("SELECT 1")) == 1
        after()


def cut(server: PostgresServer) -> None:
    """End every session of the service, as an administrator may."""
    server.administer(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'tamga-%'",
    )


def test_connections_that_died_in_the_pool_fail_nobody(own_postgresql: PostgresServer) -> None:
    url = own_postgresql.url(roles_in(PATTERN, Realm.LOGIN).runtime, PATTERN)
    with opened_engine(url, Realm.LOGIN) as engine:
        held = [engine.connect() for _ in range(postgresql.CONNECTIONS)]
        for connection in held:
            connection.close()
        cut(own_postgresql)
        assert SqlChallengeStore(engine).count_stock(ORIGIN, usable_until=NOW) == 0
        own_postgresql.stop()
        own_postgresql.start()
        assert SqlChallengeStore(engine).count_stock(ORIGIN, usable_until=NOW) == 0


def test_only_what_is_under_way_fails_when_the_server_goes(own_postgresql: PostgresServer) -> None:
    url = own_postgresql.url(roles_in(PATTERN, Realm.LOGIN).runtime, PATTERN)
    with opened_engine(url, Realm.LOGIN) as engine:
        with pytest.raises(DatabaseUnavailable):
            ask(engine, before=lambda: own_postgresql.stop(signal.SIGQUIT))
        with pytest.raises(DatabaseUnavailable), engine.begin():
            pass
        own_postgresql.start()
        ask(engine)


def test_a_commit_that_is_not_confirmed_is_no_success(own_postgresql: PostgresServer) -> None:
    url = own_postgresql.url(roles_in(PATTERN, Realm.LOGIN).runtime, PATTERN)
    with opened_engine(url, Realm.LOGIN) as engine:
        with pytest.raises(DatabaseUnavailable):
            ask(engine, after=lambda: cut(own_postgresql))
        ask(engine)


# Migrations.


@pytest.fixture
def bare(postgresql_server: PostgresServer) -> Iterator[str]:
    """A database in which the administrator's SQL was run, and nothing else."""
    name = postgresql_server.new_database("template1")
    for realm in Realm:
        for _ in range(2):  # a second time changes nothing
            postgresql_server.administer(name, roles_sql(roles_in(name, realm)))
    yield name
    postgresql_server.drop_database(name)


def owner_of(server: PostgresServer, database: str) -> Engine:
    return make_engine(server.url("login_owner", database), Realm.LOGIN)


def test_an_empty_schema_is_refused_until_it_is_upgraded(
    postgresql_server: PostgresServer, bare: str
) -> None:
    engine = owner_of(postgresql_server, bare)
    with pytest.raises(DatabaseNotCurrent, match="empty"):
        require_current(engine, Realm.LOGIN)
    upgrade(engine, Realm.LOGIN)
    require_current(engine, Realm.LOGIN)
    engine.dispose()


def test_who_does_not_own_the_schema_cannot_upgrade_it(
    postgresql_server: PostgresServer, bare: str
) -> None:
    engine = make_engine(postgresql_server.url("login_service", bare), Realm.LOGIN)
    with pytest.raises(DatabaseNotCurrent, match="upgrade_url"):
        upgrade(engine, Realm.LOGIN)
    engine.dispose()


def test_a_database_without_schemas_says_what_to_run(postgresql_server: PostgresServer) -> None:
    name = postgresql_server.new_database("template1")
    engine = owner_of(postgresql_server, name)
    for act in (upgrade, require_current):
        with pytest.raises(DatabaseNotCurrent, match="tamga db roles"):
            act(engine, Realm.LOGIN)
    engine.dispose()
    postgresql_server.drop_database(name)


@pytest.mark.parametrize("version", ["login_9999", "ballots_0001"])
def test_a_later_version_and_another_realm_are_refused(
    postgresql_database: PostgresDatabase, version: str
) -> None:
    engine = postgresql_database.owner_engine(Realm.LOGIN)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :new"), {"new": version})
    for act in (require_current, upgrade):
        with pytest.raises(DatabaseNotCurrent, match="later version"):
            act(engine, Realm.LOGIN)


def test_a_failed_upgrade_leaves_nothing_behind(
    postgresql_server: PostgresServer, bare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = owner_of(postgresql_server, bare)

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(migration, "grant_runtime", fail)
    with pytest.raises(RuntimeError):
        upgrade(engine, Realm.LOGIN, runtime_role="login_service")
    with pytest.raises(DatabaseNotCurrent, match="empty"):
        require_current(engine, Realm.LOGIN)
    engine.dispose()


def test_processes_that_upgrade_at_once_all_succeed(
    postgresql_server: PostgresServer, bare: str
) -> None:
    script = (
        "import sys\n"
        "from webapi.storage.engine import make_engine\n"
        "from webapi.storage.migration import upgrade\n"
        "from webapi.storage.realm import Realm\n"
        "engine = make_engine(sys.argv[1], Realm.LOGIN)\n"
        "sys.stdin.readline()\n"
        "upgrade(engine, Realm.LOGIN, runtime_role='login_service')\n"
    )
    url = postgresql_server.url("login_owner", bare)
    processes = [
        subprocess.Popen([sys.executable, "-c", script, url], stdin=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    with opened_engine(postgresql_server.url("login_service", bare), Realm.LOGIN) as engine:
        require_current(engine, Realm.LOGIN)


def test_bytes_come_back_as_bytes(postgresql_database: PostgresDatabase) -> None:
    with postgresql_database.engine(Realm.BALLOTS).begin() as connection:
        connection.execute(
            elections.insert().values(
                election_id="e", manifest=b"\x00\xff", published_size=0, published_epoch=0
            )
        )
        assert type(connection.execute(select(elections.c.manifest)).scalar_one()) is bytes


def test_more_threads_than_connections_are_all_served(
    postgresql_database: PostgresDatabase,
) -> None:
    store = SqlChallengeStore(postgresql_database.engine(Realm.LOGIN))
    barrier = threading.Barrier(4 * postgresql.CONNECTIONS)

    def ask(_: int) -> int:
        barrier.wait()
        return store.count_stock(ORIGIN, usable_until=NOW)

    began = time.monotonic()
    with ThreadPoolExecutor(4 * postgresql.CONNECTIONS) as pool:
        assert set(pool.map(ask, range(4 * postgresql.CONNECTIONS))) == {0}
    assert time.monotonic() - began < postgresql.POOL_TIMEOUT_SECONDS
