"""`tamga db`: the SQL for an administrator, and the upgrade as each realm's owner."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.postgres import PostgresServer, roles_in
from tests.support.settings import DEVELOPMENT_SETTINGS
from webapi.cli.database import database
from webapi.storage.engine import opened_engine
from webapi.storage.realm import Realm
from webapi.storage.version import require_current


@pytest.fixture
def empty(postgresql_server: PostgresServer) -> Iterator[str]:
    name = postgresql_server.new_database("template1")
    yield name
    postgresql_server.drop_database(name)


@pytest.fixture
def config(tmp_path: Path, postgresql_server: PostgresServer, empty: str) -> Path:
    """Logins and ballots on PostgreSQL, certificates in a file."""
    text = DEVELOPMENT_SETTINGS
    for realm in (Realm.LOGIN, Realm.BALLOTS):
        roles = roles_in(empty, realm)
        urls = {
            "url": postgresql_server.url(roles.runtime, empty),
            "upgrade_url": postgresql_server.url(roles.owner, empty),
        }
        lines = "\n".join(f'{key} = "{url}"' for key, url in urls.items())
        text = text.replace(f'url = "sqlite:///{realm}.db"', lines)
    path = tmp_path / "tamga.toml"
    path.write_text(text)
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(database, arguments, obj=config)


def test_what_roles_prints_is_all_that_upgrade_needs(
    config: Path, postgresql_server: PostgresServer, empty: str
) -> None:
    refused = run(config, "upgrade")
    assert type(refused.exception).__name__ == "DatabaseNotCurrent"
    printed = run(config, "roles")
    assert printed.exit_code == 0
    assert '"pki"' not in printed.output
    assert "PASSWORD" not in printed.output.upper()
    postgresql_server.administer(empty, printed.output)
    for _ in range(2):
        done = run(config, "upgrade")
        assert (done.exit_code, done.output.count("up to date")) == (0, 3)
    with opened_engine(postgresql_server.url("ballots_service", empty), Realm.BALLOTS) as engine:
        require_current(engine, Realm.BALLOTS)


def test_the_sql_of_one_realm_names_no_other(config: Path) -> None:
    printed = run(config, "roles", "--realm", "ballots").output
    assert "ballots_owner" in printed
    assert "login_" not in printed
    assert '"login"' not in printed


def test_files_need_no_roles(tmp_path: Path) -> None:
    path = tmp_path / "tamga.toml"
    path.write_text(DEVELOPMENT_SETTINGS)
    done = run(path, "roles")
    assert (done.exit_code, done.output) == (0, "")
