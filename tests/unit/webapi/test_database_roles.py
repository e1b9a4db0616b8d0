"""No role of one realm sees another's tables, and the service can do what was declared alone."""

from itertools import permutations

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from tests.support.databases import PostgresDatabase
from tests.support.postgres import PostgresServer, roles_in
from webapi.storage.realm import Realm
from webapi.storage.roles import RealmRoles, roles_sql
from webapi.storage.schema import EVERY_REALM, metadata_of, rights_on

REFUSED = "permission denied|must be owner"
TABLES = [(realm, table.name) for realm in Realm for table in metadata_of(realm).sorted_tables]


def refused(engine: Engine, statement: str) -> None:
    with pytest.raises(ProgrammingError, match=REFUSED), engine.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(("realm", "other"), list(permutations(Realm, 2)))
def test_no_role_reaches_into_another_realm(
    postgresql_database: PostgresDatabase, realm: Realm, other: Realm
) -> None:
    for engine in (postgresql_database.engine(realm), postgresql_database.owner_engine(realm)):
        for table in metadata_of(other).tables:
            refused(engine, f"SELECT 1 FROM {other}.{table}")
            refused(engine, f"INSERT INTO {other}.{table} DEFAULT VALUES")
        refused(engine, f"CREATE TABLE {other}.mine (x int)")
        refused(engine, f"CREATE VIEW seen AS SELECT * FROM {other}.permits")
        refused(engine, "CREATE TABLE public.mine (x int)")


def test_the_catalogue_knows_no_role_with_rights_in_two_realms(
    postgresql_database: PostgresDatabase, postgresql_server: PostgresServer
) -> None:
    rows = postgresql_server.administer(
        postgresql_database.name,
        """
        SELECT r.rolname, n.nspname FROM pg_roles r, pg_namespace n
        WHERE NOT r.rolsuper AND r.rolname !~ '^pg_'
          AND n.nspname IN ('login', 'ballots', 'pki')
          AND (has_schema_privilege(r.oid, n.oid, 'USAGE')
            OR has_schema_privilege(r.oid, n.oid, 'CREATE')
            OR EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind = 'r'
                 AND has_any_column_privilege(r.oid, c.oid, 'SELECT,INSERT,UPDATE,REFERENCES')))
        """,
    )
    expected = {(role, realm) for realm in Realm for role in _roles(realm)}
    assert {(str(role), str(schema)) for role, schema in rows} == expected
    memberships = postgresql_server.administer(
        "postgres", "SELECT count(*) FROM pg_auth_members WHERE member::regrole::text !~ '^pg_'"
    )
    assert memberships == [(0,)]


def _roles(realm: Realm) -> tuple[str, str]:
    roles = roles_in("any", realm)
    return roles.owner, roles.runtime


def test_the_service_has_exactly_the_declared_rights(
    postgresql_database: PostgresDatabase, postgresql_server: PostgresServer
) -> None:
    for realm, table in TABLES:
        role = roles_in("any", realm).runtime
        (on_table,) = postgresql_server.administer(
            postgresql_database.name,
            "SELECT "
            + ", ".join(
                f"has_table_privilege('{role}', '{realm}.{table}', '{right}')"
                for right in (
                    "SELECT",
                    "INSERT",
                    "DELETE",
                    "UPDATE",
                    "TRUNCATE",
                    "REFERENCES",
                    "TRIGGER",
                )
            ),
        )
        rights = rights_on(metadata_of(realm).tables[table])
        assert on_table == (True, True, rights.delete, False, False, False, False), table
        columns = postgresql_server.administer(
            postgresql_database.name,
            f"SELECT attname FROM pg_attribute WHERE attrelid = '{realm}.{table}'::regclass "
            f"AND attnum > 0 AND has_column_privilege('{role}', attrelid, attnum, 'UPDATE')",
        )
        assert {str(name) for (name,) in columns} == set(rights.update), table


@pytest.mark.parametrize(
    ("realm", "table"),
    [
        (Realm.BALLOTS, "log_entries"),
        (Realm.BALLOTS, "log_checkpoints"),
        (Realm.BALLOTS, "log_intents"),
        (Realm.BALLOTS, "registrations"),
        (Realm.BALLOTS, "elections"),
        (Realm.LOGIN, "login_evidence"),
        (Realm.PKI, "issued_certificates"),
        *((realm, "permits") for realm in Realm),
    ],
)
def test_what_is_kept_for_ever_the_service_cannot_remove(
    postgresql_database: PostgresDatabase, realm: Realm, table: str
) -> None:
    engine = postgresql_database.engine(realm)
    refused(engine, f"DELETE FROM {table}")
    refused(engine, f"TRUNCATE {table}")
    refused(engine, f"ALTER TABLE {table} ADD COLUMN more int")
    refused(engine, f"DROP TABLE {table}")
    refused(engine, f"CREATE TRIGGER t BEFORE INSERT ON {table} EXECUTE FUNCTION now()")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_entries SET entry = ''",
        "UPDATE log_checkpoints SET note = ''",
        "UPDATE log_intents SET root = ''",
        "UPDATE registrations SET ballot_sha256 = ''",
        "UPDATE elections SET manifest = ''",
        "UPDATE alembic_version SET version_num = 'x'",
        "CREATE TABLE mine (x int)",
        "CREATE TEMPORARY TABLE log_entries (x int)",
    ],
)
def test_what_was_signed_the_service_cannot_change(
    postgresql_database: PostgresDatabase, postgresql_server: PostgresServer, statement: str
) -> None:
    name = postgresql_database.name
    # The copy of a database does not keep the rights on the database itself.
    postgresql_server.administer(name, roles_sql(roles_in(name, Realm.BALLOTS)))
    refused(postgresql_database.engine(Realm.BALLOTS), statement)


def test_rights_that_were_given_by_hand_go_with_the_next_upgrade(
    postgresql_database: PostgresDatabase, postgresql_server: PostgresServer
) -> None:
    from webapi.storage.migration import upgrade

    postgresql_server.administer(
        postgresql_database.name,
        "GRANT ALL ON ballots.log_entries TO ballots_service; "
        "GRANT UPDATE (note) ON ballots.log_checkpoints TO PUBLIC",
    )
    engine = postgresql_database.engine(Realm.BALLOTS)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM log_entries"))
    owner = postgresql_database.owner_engine(Realm.BALLOTS)
    upgrade(owner, Realm.BALLOTS, runtime_role="ballots_service")
    refused(engine, "DELETE FROM log_entries")
    refused(engine, "UPDATE log_checkpoints SET note = ''")


def test_every_table_says_what_the_service_may_do() -> None:
    for realm in Realm:
        for table in (*metadata_of(realm).sorted_tables, *EVERY_REALM.sorted_tables):
            assert set(rights_on(table).update) <= set(table.columns.keys())


def test_the_sql_refuses_a_superuser_and_the_wrong_database(
    postgresql_server: PostgresServer,
) -> None:
    from psycopg.errors import RaiseException

    name = postgresql_server.new_database("template1")
    for roles, said in (
        (RealmRoles(Realm.LOGIN, name, "administrator", "login_service"), "superuser"),
        (RealmRoles(Realm.LOGIN, "elsewhere", "login_owner", "login_service"), "elsewhere"),
    ):
        with pytest.raises(RaiseException, match=said):
            postgresql_server.administer(name, roles_sql(roles))
    postgresql_server.drop_database(name)


def test_names_are_quoted(postgresql_server: PostgresServer) -> None:
    name = postgresql_server.new_database("template1")
    odd = RealmRoles(Realm.LOGIN, name, "Өө\"o'wner", "log in")
    postgresql_server.administer(name, roles_sql(odd))
    same = RealmRoles(Realm.LOGIN, name, "one", "one")
    postgresql_server.administer(name, roles_sql(same))
    owner = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'login'"
    assert postgresql_server.administer(name, owner) == [("one",)]
    postgresql_server.drop_database(name)
    for role in (odd.owner, odd.runtime, "one"):
        quoted = role.replace('"', '""')
        postgresql_server.administer("postgres", f'DROP ROLE "{quoted}"')
