"""A site with an empty database for each test."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.support.web import Site, make_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@pytest.fixture
def client(site: Site) -> FlaskClient:
    return site.client()
