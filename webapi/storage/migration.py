"""From any earlier version of a realm's tables to this one.

Each realm has a line of versions of its own in `migrations/<realm>/`; the name of a version
begins with the realm's, so that a database of one realm is never taken for another's.
"""

from contextlib import AbstractContextManager

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from webapi.storage import postgresql, sqlite
from webapi.storage.realm import Realm
from webapi.storage.roles import grant_runtime
from webapi.storage.version import MIGRATIONS, require_known


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
        require_known(connection, realm)
        config = _config(realm)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if runtime_role is not None:
            grant_runtime(connection, realm, runtime_role)


def _upgrading(engine: Engine, realm: Realm) -> AbstractContextManager[Connection]:
    if engine.dialect.name == "sqlite":
        return sqlite.upgrading(engine)
    return postgresql.upgrading(engine, realm)


def _config(realm: Realm) -> Config:
    config = Config()
    # A % in an option begins a substitution; a newline is the one character no path has.
    options = {
        "script_location": str(MIGRATIONS),
        "version_locations": str(MIGRATIONS / realm),
        "path_separator": "newline",
    }
    for name, value in options.items():
        config.set_main_option(name, value.replace("%", "%%"))
    config.attributes["realm"] = realm
    return config
