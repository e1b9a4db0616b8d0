"""What a database URL says, without opening anything."""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from webapi.storage.errors import DatabaseUrlUnsupported

SQLITE_PREFIX = "sqlite:///"
POSTGRESQL_DRIVER = "postgresql+psycopg"
_ESCAPES = "write @ : / in a password as %40 %3A %2F"
_POSTGRESQL = frozenset({"postgresql", POSTGRESQL_DRIVER})


def is_sqlite(url: str) -> bool:
    """Whether the URL names an SQLite file."""
    return url.startswith(SQLITE_PREFIX)


def sqlite_path(url: str) -> Path:
    """The file that an SQLite URL names."""
    return Path(url.removeprefix(SQLITE_PREFIX))


def postgresql_url(url: str) -> URL:
    """A PostgreSQL URL's parts, its driver named.

    Raises:
        DatabaseUrlUnsupported: it is of another engine or driver, names no role or no database,
            sets options of the session, which are ours to set, or holds what would be shown
            where arguments and errors are; no part of it is repeated.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the latter for a port, with its text
        raise DatabaseUrlUnsupported(f"is not the URL of a database; {_ESCAPES}") from None
    if parsed.drivername not in _POSTGRESQL:
        raise DatabaseUrlUnsupported("is neither sqlite:///path nor postgresql://role@host/name")
    # Then the rest of a password was taken for a host or a name, which are shown.
    if "@" in f"{parsed.host}{parsed.database}":
        raise DatabaseUrlUnsupported(f"has an @ in its host or name; {_ESCAPES}")
    if not parsed.username or not parsed.database:
        raise DatabaseUrlUnsupported("names no role or no database: postgresql://role@host/name")
    if "options" in parsed.query:
        raise DatabaseUrlUnsupported("sets session options, which the service sets itself")
    # It would be among the arguments of pg_dump, which everybody on the host sees.
    if "sslpassword" in parsed.query:
        raise DatabaseUrlUnsupported("holds a key's password: give sslkey a file without one")
    return parsed.set(drivername=POSTGRESQL_DRIVER)


def role_in(url: str) -> str | None:
    """The role that a URL signs in as; None for SQLite, which has none."""
    return None if is_sqlite(url) else postgresql_url(url).username
