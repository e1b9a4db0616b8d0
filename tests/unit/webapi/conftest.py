"""A site with an empty database for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.support.databases import Database
from tests.support.processes import assert_none_left
from tests.support.supervised import Planned
from tests.support.web import Site, make_site
from webapi import supervisor
from webapi.supervisor import Supervisor


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    return make_site(tmp_path, database=database)


@pytest.fixture
def client(site: Site) -> FlaskClient:
    return site.client()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended is started again soon."""
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.05)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[Planned], Supervisor]]:
    """Starts supervisors that the test looks after; all are stopped at its end."""
    made: list[Supervisor] = []

    def start(plan: Planned) -> Supervisor:
        watched = Supervisor(plan)
        made.append(watched)
        watched.reload()
        return watched

    yield start
    for watched in made:
        watched.stop()
    assert_none_left(str(tmp_path))
