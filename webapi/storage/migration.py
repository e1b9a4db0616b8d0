"""From any earlier version of a realm's tables to this one, and the refusal of all others.

Each realm has a line of versions of its own in `migrations/<realm>/`; the name of a version
begins with the realm's, so that a database of one realm is never taken for another's.
"""

from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from webapi.storage import postgresql, sqlite
from webapi.storage.errors import DatabaseNotCurrent
from webapi.storage.realm import Realm
from webapi.storage.roles import grant_runtime

_MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(engine: Engine, realm: Realm, *, runtime_role: str | None = None) -> None:
    """Bring a realm's tables to this version; a person runs it, or `tamga init`, never a worker.

    It is one transaction: a version is there entirely or not at all. Of several processes at
    once one does it, and the others find it done.

    Args:
        engine: on PostgreSQL it signs in as the owner of the realm's schema.
        realm: whose tables.
        runtime_role: the role of the running service on PostgreSQL, which gets exactly the
            rights that the tables declare; None where there are no roles.

    Raises:
        DatabaseNotCurrent: the database is of a later version, or of another realm; or on
            PostgreSQL the schema is not there or not this role's.
    """
    with _upgrading(engine, realm) as connection:
        _require_known(connection, realm)
        config = _config(realm)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if runtime_role is not None:
            grant_runtime(connection, realm, runtime_role)


def _upgrading(engine: Engine, realm: Realm) -> AbstractContextManager[Connection]:
    if engine.dialect.name == "sqlite":
        return sqlite.upgrading(engine)
    return postgresql.upgrading(engine, realm)


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
        found = _require_known(connection, realm)
    if found is None:
        raise DatabaseNotCurrent(f"the {realm} database is empty; run `tamga db upgrade`")
    if found != newest_version(realm):
        raise DatabaseNotCurrent(
            f"the {realm} database is of an earlier version; run `tamga db upgrade`"
        )


@cache
def newest_version(realm: Realm) -> str:
    """The version that this program's tables have."""
    head = _scripts(realm).get_current_head()
    if head is None:
        msg = f"there are no migrations of {realm}"
        raise LookupError(msg)
    return head


@cache
def _versions(realm: Realm) -> frozenset[str]:
    return frozenset(script.revision for script in _scripts(realm).walk_revisions())


def _require_known(connection: Connection, realm: Realm) -> str | None:
    """The database's version, None while it is empty; refused if it is none of ours."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in _versions(realm):
        raise DatabaseNotCurrent(
            f"the {realm} database is of a later version of the service, or another realm's"
        )
    return found


def _scripts(realm: Realm) -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(realm))


def _config(realm: Realm) -> Config:
    config = Config()
    # A % in an option begins a substitution; a newline is the one character no path has.
    options = {
        "script_location": str(_MIGRATIONS),
        "version_locations": str(_MIGRATIONS / realm),
        "path_separator": "newline",
    }
    for name, value in options.items():
        config.set_main_option(name, value.replace("%", "%%"))
    config.attributes["realm"] = realm
    return config
