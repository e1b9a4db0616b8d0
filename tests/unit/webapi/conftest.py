"""A site with an empty database for each test."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.support.databases import Database
from tests.support.web import Site, make_site


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    return make_site(tmp_path, database=database)


@pytest.fixture
def client(site: Site) -> FlaskClient:
    return site.client()
