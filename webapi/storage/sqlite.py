"""SQLite: durable, serialised writers, in a folder that is the service's alone.

Rules (each paid for once, see the docstrings): the driver's own transaction guessing is off,
every transaction that may write begins with BEGIN IMMEDIATE (others: `reading`), commits reach the
disk, and the switch to write-ahead logging happens only in `upgrading`, under a file lock.
"""

import fcntl
import os
import sqlite3
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from webapi.storage.errors import (
    DatabaseBusy,
    DatabaseDirectoryUnsafe,
    DatabaseUnavailable,
    DatabaseUrlUnsupported,
    StorageError,
)
from webapi.storage.urls import sqlite_path

BUSY_TIMEOUT_MILLISECONDS = 10_000
"""How long a transaction waits for another writer before it fails."""

MAX_CONNECTIONS = 64
"""At least one for each thread of a process, so that none waits for another's connection."""

READ_ONLY = "tamga_read_only"
_FILE = "tamga_file"

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


def make_sqlite_engine(url: str) -> Engine:
    """An engine for `sqlite:////absolute/path`; opens nothing yet.

    Raises:
        DatabaseUrlUnsupported: in memory (every connection would see a database of its own),
            or a relative path.
        DatabaseDirectoryUnsafe: the folder exists and others may enter it.
    """
    path = sqlite_path(url)
    if not path.is_absolute():
        raise DatabaseUrlUnsupported("the SQLite URL must hold an absolute path: sqlite:////path")
    if path.parent.exists():
        _require_private(path.parent)
    # Not the text again: a % or ? in a folder's name means nothing to a file system.
    url_of_path = URL.create("sqlite", database=str(path))
    # What statements are given names people; an error's text ends in logs.
    engine = create_engine(url_of_path, hide_parameters=True, pool_size=MAX_CONNECTIONS)
    event.listen(engine, "connect", _prepare_connection)
    _follow_file(engine, path)
    event.listen(engine, "begin", _begin)
    return engine


def reading(engine: Engine) -> Engine:
    """A view of an engine for look-ups alone: they wait for no writer, and cannot write.

    On PostgreSQL, where readers wait for nobody anyhow, it changes nothing.
    """
    return engine.execution_options(**{READ_ONLY: True})


def path_of(engine: Engine) -> Path:
    """The file of an engine's database."""
    return Path(str(engine.url.database))


@contextmanager
def upgrading(engine: Engine) -> Iterator[Connection]:
    """A transaction in which tables may be made and altered, by one process at a time.

    Several processes that open a new database at once fail on the switch to write-ahead logging
    whatever the busy timeout, so the whole upgrade holds a file lock.
    """
    path = path_of(engine)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_private(path.parent)
    with _exclusive(path.with_name(path.name + ".upgrade-lock")):
        # The driver's own connection: SQLAlchemy would begin a transaction, and journal_mode
        # cannot change inside one.
        try:
            with closing(engine.raw_connection()) as raw:
                raw.cursor().execute("PRAGMA journal_mode=WAL")
        except sqlite3.Error as error:
            raise failure_of(error) or error from error
        with engine.begin() as connection:
            yield connection


def failure_of(error: BaseException) -> StorageError | None:
    """A failure of the file or its locks by its name; None for a wrong statement."""
    # The driver gives no code to errors that it found by itself, hence the default.
    extended_code: int = getattr(error, "sqlite_errorcode", 0)
    code = extended_code & 0xFF  # https://www.sqlite.org/rescode.html, section 2
    if code in _BUSY:
        return DatabaseBusy("another writer holds the database")
    if code in _UNAVAILABLE:
        return DatabaseUnavailable("the database's file cannot be opened, read or written")
    return None


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


def _follow_file(engine: Engine, path: Path) -> None:
    """Let no two connections of the pool have two databases: one has taken the other's place.

    What is read on one is judged by what another reads (`webapi.put_back`).
    """

    def note(_driver_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_FILE] = _identity(path)

    def require_same(
        _driver_connection: object, record: ConnectionPoolEntry, _proxy: object
    ) -> None:
        present = _identity(path)
        if present is not None and present != record.info[_FILE]:
            raise InvalidatePoolError

    event.listen(engine, "connect", note)
    event.listen(engine, "checkout", require_same)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file the path names; None while it names none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class KeptReaders:
    """Connections for look-ups alone, kept outside the engine's pool; safe for threads.

    The pool takes three times as long to lend a connection as the database to find a row by its
    key. So they are lent from here: each is used by one look-up at a time, cannot write, holds no
    transaction in between, and like the pool's is given up where another file has taken its own's
    place.

    Args:
        engine: opens them; the events of its pool tell of each once.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._path = path_of(engine)
        self._free: deque[_Reader] = deque()
        event.listen(engine, "engine_disposed", self._close_free)

    def take(self) -> "_Reader":
        """A connection for one look-up, to be put back or discarded; raises sqlite3.Error."""
        present = _identity(self._path)
        while True:
            try:
                reader = self._free.pop()
            except IndexError:
                return self._open()
            if present is None or present == reader.file:
                return reader
            self.discard(reader)

    def put_back(self, reader: "_Reader") -> None:
        """Keep it for the next look-up."""
        self._free.append(reader)

    def discard(self, reader: "_Reader") -> None:
        """Close it: it failed, or its file is another now."""
        reader.proxied.close()

    def _open(self) -> "_Reader":
        proxied = self._engine.raw_connection()
        file = proxied.info[_FILE]
        proxied.detach()
        reader = _Reader(proxied, file)
        reader.cursor().execute("PRAGMA query_only=ON")
        return reader

    def _close_free(self, _engine: Engine) -> None:
        while self._free:
            self.discard(self._free.pop())


class _Reader:
    def __init__(self, proxied: PoolProxiedConnection, file: tuple[int, int] | None) -> None:
        self.proxied = proxied
        self.file = file
        # Past the proxy.
        self.cursor: Callable[[], Any] = proxied.dbapi_connection.cursor  # type: ignore[union-attr]


def _begin(connection: Connection) -> None:
    is_reading = connection.get_execution_options().get(READ_ONLY, False)
    # Said each time, because a connection is used by readers and writers in turn.
    connection.exec_driver_sql(f"PRAGMA query_only={'ON' if is_reading else 'OFF'}")
    # A deferred transaction that turns writer fails at once, without the busy timeout.
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")


@contextmanager
def _exclusive(lock_path: Path) -> Iterator[None]:
    descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
