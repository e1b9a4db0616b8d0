"""One home is made for the whole run; each test gets a copy with tokens of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults import Scene, copy_home, make_home, scene
from webapi.cli.home import Home


@pytest.fixture(scope="session")
def pattern_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("faults") / "home")


@pytest.fixture
def home(pattern_home: Home, tmp_path: Path, mischief_module: Path) -> Home:
    return copy_home(pattern_home, tmp_path / "home", mischief_module)


@pytest.fixture
def stage(home: Home) -> Iterator[Scene]:
    """A service with one election, whose genesis record is signed."""
    with scene(home) as made:
        made.start()
        made.create("log-a")
        made.settle()
        yield made
