"""The worker's lease: of all background workers of an installation, one holds it.

It is for liveness alone, so that one works and the others stand by. What keeps two sequencers
from forking a log is the fence, the intent row (log, size): a lease can be lost unnoticed.

SQLite: flock on a file beside the database. PostgreSQL: an advisory lock of a session of its own,
which the server ends, and the lock with it, soon after the worker's host has vanished; so no
pooler that shares sessions between transactions may stand between them.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from webapi.storage.errors import DatabaseUnavailable

_LOCK = {"family": 0x7461_6D67, "number": 16}  # "tamg"; the numbers below are for upgrades
_ANSWER_SECONDS = 5
_CONNECT_ARGUMENTS = {
    "connect_timeout": _ANSWER_SECONDS,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": _ANSWER_SECONDS * 1000,
    # The server's own end of the connection: it finds out that a host is gone just as soon.
    "options": (
        f"-c statement_timeout={_ANSWER_SECONDS}s -c tcp_keepalives_idle=2 "
        "-c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 "
        f"-c tcp_user_timeout={_ANSWER_SECONDS}s"
    ),
}
_TRY = text("SELECT pg_try_advisory_lock(:family, :number)")
_FREE = text("SELECT pg_advisory_unlock_all()")  # of this session
_ASK = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND pid = pg_backend_pid() AND database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND classid = :family AND objid = :number AND objsubid = 2"
)


class _Lock(Protocol):
    def acquire(self) -> bool: ...

    def is_held(self) -> bool: ...

    def release(self) -> None: ...


class WorkerLease:
    """One worker's claim to be the active one; not for several threads.

    Args:
        engine: of the database that all workers of the installation share.
    """

    def __init__(self, engine: Engine) -> None:
        self._lock: _Lock
        if engine.dialect.name == "sqlite":
            database = Path(str(engine.url.database))
            self._lock = _FileLock(database.with_name(database.name + ".worker-lock"))
        else:
            self._lock = _SessionLock(engine.url)

    def acquire(self) -> bool:
        """Take the lease if nobody has it; does not wait.

        Returns:
            Whether this worker has it now.

        Raises:
            DatabaseUnavailable: nobody can say who has it.
        """
        return self._lock.acquire()

    def is_held(self) -> bool:
        """Whether this worker still has it; a database that does not answer is a no."""
        return self._lock.is_held()

    def release(self) -> None:
        """Give it up; does nothing where it is not held."""
        self._lock.release()


class _FileLock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        if self.is_held():
            return True
        self.release()
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DatabaseUnavailable(f"the file {self._path} cannot be opened") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return self.is_held()

    def is_held(self) -> bool:
        """A file that somebody removed locks nobody out: whoever comes next makes a new one."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)  # which releases the lock
            self._descriptor = None


class _SessionLock:
    def __init__(self, url: URL) -> None:
        # Not the service's pool: it would lend the session to others.
        self._engine = create_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            connect_args=_CONNECT_ARGUMENTS,
        )
        self._session: Connection | None = None

    def acquire(self) -> bool:
        if self.is_held():  # taken twice, it would have to be given up twice
            return True
        try:
            if self._session is None:
                self._session = self._engine.connect()
            return bool(self._session.execute(_TRY, _LOCK).scalar_one())
        except SQLAlchemyError as error:
            self._end_session()
            raise DatabaseUnavailable("the database does not answer") from error

    def is_held(self) -> bool:
        if self._session is None:
            return False
        try:
            return bool(self._session.execute(_ASK, _LOCK).scalar_one())
        except SQLAlchemyError:
            self._end_session()
            return False

    def release(self) -> None:
        """Give the lock up, then end the session, whose end the server notices only later."""
        if self._session is not None:
            # Without an answer the lock goes with the session.
            with contextlib.suppress(SQLAlchemyError):
                self._session.execute(_FREE)
        self._end_session()

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.invalidate()
            session.close()
