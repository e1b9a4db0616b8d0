"""Who may do what on PostgreSQL: two roles for each realm, and nothing for anybody else.

A realm's owner makes and alters its tables and is used by `tamga db upgrade` alone; the service
runs as the other role, which can do with each table what the table's declaration says.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from webapi.storage.realm import Realm
from webapi.storage.schema import metadata_of, rights_on

_VERSION_TABLE = "alembic_version"


@dataclass(frozen=True, slots=True)
class RealmRoles:
    """A realm's place on PostgreSQL.

    Attributes:
        realm: names the schema, too.
        database: where the schema is.
        owner: the role that `tamga db upgrade` signs in as.
        runtime: the role that the service signs in as; may be the owner in development.
    """

    realm: Realm
    database: str
    owner: str
    runtime: str


def roles_sql(roles: RealmRoles) -> str:
    """What an administrator of the database runs once; running it again changes nothing.

    It makes roles without passwords: how they prove who they are is for pg_hba.conf to say.
    """
    database, schema = _name(roles.database), _name(roles.realm)
    owner, runtime = _name(roles.owner), _name(roles.runtime)
    both = ", ".join(dict.fromkeys((owner, runtime)))
    lines = [
        f"-- The realm {roles.realm}: run it as an administrator in the database {database}.",
        _block(
            f"IF current_database() <> {_text(roles.database)} THEN",
            f"  RAISE EXCEPTION 'connect to the database %', {_text(roles.database)};",
            "END IF;",
        ),
        *[_role_sql(role) for role in dict.fromkeys((roles.owner, roles.runtime))],
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC;",
        f"GRANT CONNECT ON DATABASE {database} TO {both};",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;",
        f"CREATE SCHEMA IF NOT EXISTS {schema};",
        f"ALTER SCHEMA {schema} OWNER TO {owner};",
        f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;",
    ]
    if runtime != owner:
        lines += [
            f"REVOKE ALL ON SCHEMA {schema} FROM {runtime};",
            f"GRANT USAGE ON SCHEMA {schema} TO {runtime};",
        ]
    return "\n".join(lines) + "\n"


def grant_runtime(connection: Connection, realm: Realm, runtime: str) -> None:
    """Give the running service exactly what the tables declare; take everything else.

    Args:
        connection: the owner's, in the transaction that made the tables.
        realm: whose tables.
        runtime: the service's role; the owner itself keeps what an owner has.
    """
    if connection.scalar(text("SELECT current_user")) == runtime:
        return
    schema, role = _name(realm), _name(runtime)
    statements = [
        f"REVOKE ALL ON ALL {kind} IN SCHEMA {schema} FROM PUBLIC, {role}"
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS")
    ]
    statements.append(f"GRANT SELECT ON {schema}.{_VERSION_TABLE} TO {role}")
    for table in metadata_of(realm).sorted_tables:
        rights = rights_on(table)
        granted = ["SELECT", "INSERT"]
        if rights.delete:
            granted.append("DELETE")
        if rights.update:
            granted.append(f"UPDATE ({', '.join(map(_name, rights.update))})")
        statements.append(f"GRANT {', '.join(granted)} ON {schema}.{_name(table.name)} TO {role}")
    for statement in statements:
        connection.exec_driver_sql(statement)


def _role_sql(role: str) -> str:
    name, quoted = _name(role), _text(role)
    return _block(
        f"IF EXISTS (SELECT FROM pg_roles WHERE rolname = {quoted} AND rolsuper) THEN",
        f"  RAISE EXCEPTION 'the role % is a superuser: name another', {quoted};",
        "END IF;",
        f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {quoted}) THEN",
        f"  CREATE ROLE {name};",
        "END IF;",
        f"ALTER ROLE {name} LOGIN NOINHERIT NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;",
    )


def _block(*lines: str) -> str:
    return "\n".join(["DO $tamga$ BEGIN", *(f"  {line}" for line in lines), "END $tamga$;"])


def _name(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    """A quoted literal."""
    return "'" + value.replace("'", "''") + "'"
