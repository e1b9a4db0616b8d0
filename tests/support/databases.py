"""Empty databases of this version: the fixture `database`, on every engine that we support.

A test that needs any store uses it, and so runs on each.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import Engine

from tests.support.postgres import PostgresServer, roles_in
from webapi.storage.engine import make_engine, opened_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm


class Database(Protocol):
    """The realms of one test."""

    def engine(self, realm: Realm) -> Engine:
        """A new engine on the test's database of a realm; its connections end with the test."""


class SqliteDatabase:
    """Three files that were upgraded once for the whole run, copied."""

    def __init__(self, pattern: Path, folder: Path) -> None:
        self.folder = folder
        self._engines: list[Engine] = []
        shutil.copytree(pattern, folder)

    def engine(self, realm: Realm) -> Engine:
        self._engines.append(make_engine(url_in(self.folder, realm), realm))
        return self._engines[-1]

    def close(self) -> None:
        for engine in self._engines:
            engine.dispose()


class PostgresDatabase:
    """Three schemas in one database, copied from an upgraded one."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.name = server.clean_database()
        self._engines: list[Engine] = []

    def engine(self, realm: Realm) -> Engine:
        """As the service signs in."""
        return self._engine(realm, roles_in(self.name, realm).runtime)

    def owner_engine(self, realm: Realm) -> Engine:
        """As `tamga db upgrade` signs in."""
        return self._engine(realm, roles_in(self.name, realm).owner)

    def _engine(self, realm: Realm, role: str) -> Engine:
        self._engines.append(make_engine(self.server.url(role, self.name), realm))
        return self._engines[-1]

    def close(self) -> None:
        for engine in self._engines:
            engine.dispose()
        self.server.take_back(self.name)


def url_in(folder: Path, realm: Realm) -> str:
    return f"sqlite:///{folder}/{realm}.db"


@pytest.fixture(scope="session")
def sqlite_pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty file of each realm."""
    folder = tmp_path_factory.mktemp("sqlite") / "pattern"
    for realm in Realm:
        with opened_engine(url_in(folder, realm), realm) as engine:
            upgrade(engine, realm)
    return folder


@pytest.fixture
def sqlite_database(sqlite_pattern: Path, tmp_path: Path) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(sqlite_pattern, tmp_path / "database")
    yield made
    made.close()


@pytest.fixture
def postgresql_database(postgresql_server: PostgresServer) -> Iterator[PostgresDatabase]:
    made = PostgresDatabase(postgresql_server)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    made: Database = request.getfixturevalue(f"{request.param}_database")
    return made
