"""The database connection: durable, serialised writers, never shared across a fork.

SQLite rules (each paid for once, see the docstrings): the driver's own transaction guessing
is off, every transaction begins with BEGIN IMMEDIATE, commits reach the disk, and the switch to
write-ahead logging happens only in `upgrade`, under a file lock.
"""

import fcntl
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    ExceptionContext,
    String,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import CreateIndex, CreateTable

from webapi.storage import tables  # noqa: F401 - makes `metadata` complete
from webapi.storage.errors import (
    DatabaseBusy,
    DatabaseDirectoryUnsafe,
    DatabaseNotCurrent,
    DatabaseUnavailable,
    DatabaseUrlUnsupported,
    StorageError,
)
from webapi.storage.schema import metadata

_BEGAN = "tamga transaction began"
"""Where a connection remembers it."""

BUSY_TIMEOUT_MILLISECONDS = 10_000
"""How long a transaction waits for another writer before it fails."""

MAX_CONNECTIONS = 64
"""At least one for each thread of a process, so that none waits for another's connection."""

URL_PREFIX = "sqlite:///"

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)

schema_tables = Table(
    "schema_tables",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("ddl_sha256", String(64), nullable=False),
)
"""One row per table that `upgrade` made: its name and the digest of its definition."""


def make_engine(url: str) -> Engine:
    """An engine for `sqlite:////absolute/path`; opens nothing yet.

    Make it after the fork of a worker: SQLite connections must not cross one. Whatever is done
    with it can raise DatabaseBusy and DatabaseUnavailable.

    Raises:
        DatabaseUrlUnsupported: another engine, or SQLite in memory (every connection would see
            a database of its own).
        DatabaseDirectoryUnsafe: the folder exists and others may enter it.
    """
    path = _database_path(url)
    if path.parent.exists():
        _require_private(path.parent)
    # Not the text again: a % or ? in a folder's name means nothing to a file system.
    url_of_path = URL.create("sqlite", database=str(path))
    # What statements are given names people; an error's text ends in logs.
    engine = create_engine(url_of_path, hide_parameters=True, pool_size=MAX_CONNECTIONS)
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin_immediate)
    event.listen(engine, "handle_error", _name_the_failure, retval=True)
    return engine


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


def upgrade(engine: Engine) -> None:
    """Create what is missing; run by a person or `tamga init`, never by a worker.

    Several processes that open a new database at once fail on the switch to write-ahead logging
    whatever the busy timeout, so the whole upgrade holds a file lock.

    Raises:
        DatabaseNotCurrent: a table exists with another definition; data is never altered here.
    """
    path = _path_of(engine)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_private(path.parent)
    with _exclusive(path.with_name(path.name + ".upgrade-lock")):
        # The driver's own connection: SQLAlchemy would begin a transaction, and journal_mode
        # cannot change inside one.
        try:
            with closing(engine.raw_connection()) as raw:
                raw.cursor().execute("PRAGMA journal_mode=WAL")
        except sqlite3.Error as error:
            raise _failure_of(error) or error from error
        with engine.begin() as connection:
            _create_missing(connection)


def require_current(engine: Engine) -> None:
    """Refuse a database that `upgrade` has not brought to this version.

    Raises:
        DatabaseNotCurrent: absent, incomplete or of another version.
    """
    if not _path_of(engine).exists():
        raise DatabaseNotCurrent("there is no database yet; run `tamga db upgrade`")
    with engine.begin() as connection:
        if not inspect(connection).has_table(schema_tables.name):
            raise DatabaseNotCurrent("the database is empty; run `tamga db upgrade`")
        recorded = _recorded(connection)
        for name, digest in _definitions(connection).items():
            if recorded.get(name) != digest:
                raise DatabaseNotCurrent(
                    f"table {name} is not of this version; run `tamga db upgrade`"
                )


def _database_path(url: str) -> Path:
    name = url.removeprefix(URL_PREFIX)
    if name == url:
        raise DatabaseUrlUnsupported("this version keeps its data in SQLite: sqlite:////path")
    if not Path(name).is_absolute():
        raise DatabaseUrlUnsupported("the SQLite URL must hold an absolute path: sqlite:////path")
    return Path(name)


def _path_of(engine: Engine) -> Path:
    return Path(str(engine.url.database))


def _require_private(directory: Path) -> None:
    status = directory.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise DatabaseDirectoryUnsafe(
            f"{directory} must belong to the service's user alone: chmod 700"
        )


def _prepare_connection(driver_connection: Any, _record: object) -> None:
    # The DBAPI connection is untyped in SQLAlchemy's event interface.
    driver_connection.isolation_level = None
    cursor = driver_connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MILLISECONDS}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that turns writer fails at once, without the busy timeout.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _name_the_failure(context: ExceptionContext) -> StorageError | None:
    """What SQLAlchemy raises instead of its own error; None leaves that as it is."""
    return _failure_of(context.original_exception)


def _failure_of(error: BaseException) -> StorageError | None:
    """A failure of the file or its locks by its name; None for a wrong statement."""
    # The driver gives no code to errors that it found by itself, hence the default.
    extended_code: int = getattr(error, "sqlite_errorcode", 0)
    code = extended_code & 0xFF  # https://www.sqlite.org/rescode.html, section 2
    if code in _BUSY:
        return DatabaseBusy("another writer holds the database")
    if code in _UNAVAILABLE:
        return DatabaseUnavailable("the database's file cannot be opened, read or written")
    return None


@contextmanager
def _exclusive(lock_path: Path) -> Iterator[None]:
    descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _definitions(connection: Connection) -> dict[str, str]:
    return {table.name: _ddl_digest(table, connection) for table in metadata.sorted_tables}


def _ddl_digest(table: Table, connection: Connection) -> str:
    indexes = sorted(str(CreateIndex(index).compile(connection)) for index in table.indexes)
    text = "\n".join([str(CreateTable(table).compile(connection)), *indexes])
    return hashlib.sha256(text.encode()).hexdigest()


def _recorded(connection: Connection) -> dict[str, str]:
    rows = connection.execute(select(schema_tables.c.name, schema_tables.c.ddl_sha256))
    return {row.name: row.ddl_sha256 for row in rows}


def _create_missing(connection: Connection) -> None:
    schema_tables.create(connection, checkfirst=True)
    recorded = _recorded(connection)
    for table in metadata.sorted_tables:
        digest = _ddl_digest(table, connection)
        if table.name not in recorded:
            table.create(connection, checkfirst=table is schema_tables)
            connection.execute(insert(schema_tables).values(name=table.name, ddl_sha256=digest))
        elif recorded[table.name] != digest:
            raise DatabaseNotCurrent(
                f"table {table.name} was made by another version of the service"
            )
