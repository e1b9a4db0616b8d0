"""PostgreSQL: one schema and two roles for each realm, commits that are on the disk.

The session's settings come with the connection and so stand above whatever server, database or
role are set to: what a realm's connection can name, how it commits, how long it waits.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, PoolProxiedConnection, QueuePool, create_engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from webapi.storage.errors import (
    DatabaseBusy,
    DatabaseNotCurrent,
    StorageError,
)
from webapi.storage.realm import Realm
from webapi.storage.urls import postgresql_url

CONNECTIONS = 10
"""The most that one process holds to one realm. A transaction lasts milliseconds: further threads
wait for a connection, which costs the server nothing."""

POOL_TIMEOUT_SECONDS = 10.0
LOCK_TIMEOUT_MILLISECONDS = 10_000
STATEMENT_TIMEOUT_MILLISECONDS = 30_000
IDLE_TIMEOUT_MILLISECONDS = 60_000
UPGRADE_LOCK_SECONDS = 120

_LINE = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds that sent bytes may stay unacknowledged
}
"""A host that vanished is noticed in half a minute, not in the two hours of the system."""

_UPGRADE_LOCK = 0x7461_6D67  # "tamg": the first half of the advisory lock's name


class _Pool(QueuePool):
    """A pool whose exhaustion is told as what it is: others hold the database."""

    def connect(self) -> PoolProxiedConnection:
        try:
            return super().connect()
        except PoolTimeoutError as error:
            raise DatabaseBusy("every connection to the database is in use") from error


def make_postgresql_engine(url: str, realm: Realm) -> Engine:
    """An engine for `postgresql://role@host/name`; opens nothing yet.

    Raises:
        DatabaseUrlUnsupported: see `urls.postgresql_url`.
    """
    settings = {
        # Nothing else can be named, and no temporary table takes a table's place.
        "search_path": f"{realm},pg_temp",
        "synchronous_commit": "on",
        "timezone": "UTC",
        # A plan that was made while a table was new and small would be kept until statistics
        # are gathered, and read all of it long after it has become large.
        "plan_cache_mode": "force_custom_plan",
        "lock_timeout": LOCK_TIMEOUT_MILLISECONDS,
        "statement_timeout": STATEMENT_TIMEOUT_MILLISECONDS,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT_MILLISECONDS,
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return create_engine(
        postgresql_url(url),
        connect_args={**_LINE, "application_name": f"tamga-{realm}", "options": options},
        hide_parameters=True,  # what statements are given names people
        isolation_level="READ COMMITTED",
        poolclass=_Pool,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        # A connection that died while it lay in the pool fails nobody's request.
        pool_pre_ping=True,
    )


@contextmanager
def upgrading(engine: Engine, realm: Realm) -> Iterator[Connection]:
    """A transaction in which tables may be made and altered, by one process at a time.

    Raises:
        DatabaseNotCurrent: the realm's schema is not there, or not this role's to change.
    """
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{UPGRADE_LOCK_SECONDS}s'"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        require_schema(connection, realm)
        if not connection.scalar(text("SELECT has_schema_privilege(current_schema(), 'CREATE')")):
            raise DatabaseNotCurrent(
                f"this role may not change the schema {realm}: name its owner in upgrade_url"
            )
        # The lock is the database's, so its name holds the realm.
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:ours, :realm)"),
            {"ours": _UPGRADE_LOCK, "realm": list(Realm).index(realm)},
        )
        yield connection


def require_schema(connection: Connection, realm: Realm) -> None:
    """Raises DatabaseNotCurrent if this role sees no schema of the realm."""
    if connection.scalar(text("SELECT current_schema()")) != realm:
        raise DatabaseNotCurrent(
            f"this role sees no schema {realm}; have the SQL of `tamga db roles` run"
        )


def failure_of(error: BaseException) -> StorageError | None:
    """As `postgresql_failures.failure_of`."""
    # SQLAlchemy loads the driver with an engine that needs it: until then no error is its.
    if "psycopg" not in sys.modules:
        return None
    # A tenth of a second of each start, for those alone who use PostgreSQL.
    from webapi.storage import postgresql_failures  # noqa: PLC0415

    return postgresql_failures.failure_of(error)
