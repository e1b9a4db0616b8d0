"""The migrations make exactly the tables that the program declares, each in its realm."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from tests.support.databases import Database, SqliteDatabase
from webapi.storage.realm import Realm
from webapi.storage.schema import EVERY_REALM, metadata_of

TOGETHER = [("login", "ballots"), ("login", "pki"), ("ballots", "pki")]


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_no_two_realms_share_a_table_that_is_not_in_every_one(one: str, other: str) -> None:
    shared = metadata_of(Realm(one)).tables.keys() & metadata_of(Realm(other)).tables.keys()
    assert shared == EVERY_REALM.tables.keys()


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
