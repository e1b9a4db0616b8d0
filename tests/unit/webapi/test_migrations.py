"""The migrations make exactly the tables that the program declares, each in its realm."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import MultipleResultsFound

from tests.support.databases import Database, SqliteDatabase
from webapi.storage.realm import Realm
from webapi.storage.schema import EVERY_REALM, metadata_of
from webapi.storage.version import MIGRATIONS, known_versions, newest_version, version_of

TOGETHER = [("login", "ballots"), ("login", "pki"), ("ballots", "pki")]


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_no_two_realms_share_a_table_that_is_not_in_every_one(one: str, other: str) -> None:
    shared = metadata_of(Realm(one)).tables.keys() & metadata_of(Realm(other)).tables.keys()
    assert shared == EVERY_REALM.tables.keys()


@pytest.mark.parametrize("realm", Realm)
def test_the_names_of_the_files_tell_the_versions_and_their_order(realm: Realm) -> None:
    scripts = ScriptDirectory(MIGRATIONS, version_locations=[str(MIGRATIONS / realm)])
    versions = [script.revision for script in scripts.walk_revisions()]
    assert known_versions(realm) == tuple(reversed(versions))
    assert newest_version(realm) == scripts.get_current_head()


def test_a_database_of_two_versions_has_none() -> None:
    with create_engine("sqlite://").begin() as connection:
        assert version_of(connection) is None
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        assert version_of(connection) is None
        connection.execute(text("INSERT INTO alembic_version VALUES ('a'), ('b')"))
        with pytest.raises(MultipleResultsFound):
            version_of(connection)


@pytest.mark.parametrize("realm", Realm)
def test_the_migrated_schema_is_the_declared_one(database: Database, realm: Realm) -> None:
    with database.engine(realm).begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata_of(realm)) == []
        checks = {
            table: {check["name"] for check in inspect(connection).get_check_constraints(table)}
            for table in metadata_of(realm).tables
        }
    declared = create_engine("sqlite://")
    metadata_of(realm).create_all(declared)
    for table, names in checks.items():
        expected = inspect(declared).get_check_constraints(table)
        assert names == {check["name"] for check in expected}


@pytest.mark.parametrize("realm", Realm)
def test_the_migrated_definitions_are_the_declared_ones_to_the_letter(
    sqlite_database: SqliteDatabase, realm: Realm
) -> None:
    """Beyond what a comparison of columns sees: hidden row numbers, checks, keys."""
    query = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    declared = create_engine("sqlite://")
    metadata_of(realm).create_all(declared)
    found = []
    for engine in (sqlite_database.engine(realm), declared):
        with engine.begin() as connection:
            rows = connection.execute(query).all()
        found.append(
            {
                row.name: sorted(line.strip().rstrip(",") for line in row.sql.splitlines())
                for row in rows
                if row.name != "alembic_version"
            }
        )
    assert found[0] == found[1]
