"""One home is made for the whole run; each test gets a copy with tokens of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults import Scene, copy_home, make_home, scene
from tests.support.home_database import HomeDatabase, PostgresHome, SqliteHome
from webapi.cli.home import Home


@pytest.fixture(scope="session")
def pattern_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("faults") / "home")


@pytest.fixture(params=["sqlite", "postgresql"])
def home_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HomeDatabase]:
    made: HomeDatabase
    if request.param == "sqlite":
        made = SqliteHome(tmp_path / "backups")
    else:
        made = PostgresHome(request.getfixturevalue("durable_postgresql_server"))
    yield made
    made.remove()


@pytest.fixture
def home(
    pattern_home: Home, tmp_path: Path, mischief_module: Path, home_database: HomeDatabase
) -> Home:
    made = copy_home(pattern_home, tmp_path / "home", mischief_module)
    home_database.attach(made)
    return made


@pytest.fixture
def stage(home: Home) -> Iterator[Scene]:
    """A service with one election, whose genesis record is signed."""
    with scene(home) as made:
        made.start()
        made.create("log-a")
        made.settle()
        yield made
