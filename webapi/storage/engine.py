"""The connection to one realm's database; never shared across a fork."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, ExceptionContext, event
from sqlalchemy.pool import ConnectionPoolEntry

from webapi.storage import (
    postgresql,
    sqlite,
    tables,  # noqa: F401 - makes every realm complete
)
from webapi.storage.errors import StorageError
from webapi.storage.realm import Realm
from webapi.storage.urls import is_sqlite

_BEGAN = "tamga transaction began"
"""Where a connection remembers it."""


def make_engine(url: str, realm: Realm) -> Engine:
    """An engine for the database of a realm; opens nothing yet.

    Make it after the fork of a worker: connections must not cross one. Whatever is done with it
    can raise DatabaseBusy and DatabaseUnavailable.

    Args:
        url: `sqlite:////absolute/path` or `postgresql://role@host/name`.
        realm: whose tables are there.

    Raises:
        DatabaseUrlUnsupported: another engine, SQLite in memory, or a URL that lacks a part.
        DatabaseDirectoryUnsafe: SQLite's folder exists and others may enter it.
    """
    if is_sqlite(url):
        engine = sqlite.make_sqlite_engine(url)
    else:
        engine = postgresql.make_postgresql_engine(url, realm)
    event.listen(engine, "handle_error", _name_the_failure, retval=True)
    return engine


@contextmanager
def opened_engine(url: str, realm: Realm) -> Iterator[Engine]:
    """An engine whose connections end with the block; raises as `make_engine`."""
    engine = make_engine(url, realm)
    try:
        yield engine
    finally:
        engine.dispose()


def watch_connections(engine: Engine, observe: Callable[[], None]) -> None:
    """Tell `observe` of each new connection: another database may be behind it."""

    def note(_connection: object, _record: ConnectionPoolEntry) -> None:
        observe()

    event.listen(engine, "connect", note)


def watch_transactions(engine: Engine, observe: Callable[[float], None]) -> None:
    """Tell `observe` the seconds that each transaction took, its wait for the lock included."""

    def note_begin(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        record.info[_BEGAN] = time.monotonic()

    def note_end(_connection: object, record: ConnectionPoolEntry) -> None:
        began = record.info.pop(_BEGAN, None)
        if began is not None:  # a connection that broke has forgotten it
            observe(time.monotonic() - began)

    # A connection is taken for one transaction: before BEGIN IMMEDIATE, which waits, and
    # until behind the commit, which writes to the disk.
    event.listen(engine, "checkout", note_begin)
    event.listen(engine, "checkin", note_end)


def watch_pool(engine: Engine, taken: Callable[[], None], returned: Callable[[], None]) -> None:
    """Tell when a connection is taken from the engine's pool, and when it is back or lost."""

    def note_taken(_connection: object, _record: ConnectionPoolEntry, _proxy: object) -> None:
        taken()

    def note_returned(_connection: object, _record: ConnectionPoolEntry) -> None:
        returned()

    event.listen(engine, "checkout", note_taken)
    event.listen(engine, "checkin", note_returned)
    event.listen(engine, "detach", note_returned)


def _name_the_failure(context: ExceptionContext) -> StorageError | None:
    """What SQLAlchemy raises instead of its own error; None leaves that as it is."""
    if context.is_pre_ping:
        return None  # the pool opens another connection; nothing failed yet
    error = context.original_exception
    return sqlite.failure_of(error) or postgresql.failure_of(error)
