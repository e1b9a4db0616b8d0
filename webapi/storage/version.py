"""Which version a realm's tables are of, and the refusal of all but this program's own.

Every process asks this before its first statement; what brings tables from one version to the
next (`webapi.storage.migration`) is loaded only by those that do so.
"""

from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from webapi.storage import postgresql, sqlite
from webapi.storage.errors import DatabaseNotCurrent
from webapi.storage.realm import Realm

MIGRATIONS = Path(__file__).parent / "migrations"
"""A folder for each realm. A file there, `0003_what_for.py`, makes the version `<realm>_0003`."""

_TABLE = "alembic_version"


def require_current(engine: Engine, realm: Realm) -> None:
    """Refuse a database whose tables are not this version's.

    Raises:
        DatabaseNotCurrent: absent, empty, of an earlier or later version, or of another realm.
    """
    is_sqlite = engine.dialect.name == "sqlite"
    if is_sqlite and not sqlite.path_of(engine).exists():
        raise DatabaseNotCurrent(f"there is no {realm} database yet; run `tamga db upgrade`")
    with engine.begin() as connection:
        if not is_sqlite:
            postgresql.require_schema(connection, realm)
        found = require_known(connection, realm)
    if found is None:
        raise DatabaseNotCurrent(f"the {realm} database is empty; run `tamga db upgrade`")
    if found != newest_version(realm):
        raise DatabaseNotCurrent(
            f"the {realm} database is of an earlier version; run `tamga db upgrade`"
        )


@cache
def known_versions(realm: Realm) -> tuple[str, ...]:
    """The versions that this program's tables have had, the newest last."""
    numbers = sorted(file.name[:4] for file in (MIGRATIONS / realm).glob("[0-9]*_*.py"))
    return tuple(f"{realm}_{number}" for number in numbers)


def newest_version(realm: Realm) -> str:
    """The version that this program's tables have."""
    return known_versions(realm)[-1]


def require_known(connection: Connection, realm: Realm) -> str | None:
    """The database's version, None while it is empty; refused if it is none of ours."""
    found = version_of(connection)
    if found is not None and found not in known_versions(realm):
        raise DatabaseNotCurrent(
            f"the {realm} database is of a later version of the service, or another realm's"
        )
    return found


def version_of(connection: Connection) -> str | None:
    """The version that stands in a database; None while it is empty.

    Raises:
        sqlalchemy.exc.MultipleResultsFound: several stand there.
    """
    if not inspect(connection).has_table(_TABLE):
        return None
    found: str | None = connection.execute(
        text(f"SELECT version_num FROM {_TABLE}")  # noqa: S608 - the table's name is above
    ).scalar_one_or_none()
    return found
