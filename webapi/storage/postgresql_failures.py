"""What PostgreSQL's driver raises, by this service's names."""

import psycopg

from webapi.storage.errors import DatabaseBusy, DatabaseUnavailable, StorageError

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BUSY = frozenset({"40001", "40P01", "55P03", "57014"})
_UNAVAILABLE = frozenset({"25006", "25P03", "57P01", "57P02", "57P03", "57P05"})
_UNAVAILABLE_CLASSES = frozenset({"08", "53", "58"})


def failure_of(error: BaseException) -> StorageError | None:
    """A failure of the server or the line to it by its name; None for a wrong statement."""
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate
    if state in _BUSY:
        return DatabaseBusy("other transactions hold what this one needs")
    if state is None:
        # The client library's own words: it could not connect, or the line is gone. They name
        # host and role and nothing that a statement was given.
        if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return None
        return DatabaseUnavailable(f"the database cannot be reached: {_first_line(error)}")
    if state in _UNAVAILABLE or state[:2] in _UNAVAILABLE_CLASSES:
        return DatabaseUnavailable(f"the database cannot serve now (SQLSTATE {state})")
    return None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no reason given")
