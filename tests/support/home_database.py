"""Where a development home keeps its realms, and how a test turns them back to yesterday."""

import shutil
import sqlite3
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.postgres import PATTERN, PostgresServer, roles_in
from webapi.cli.home import Home
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.engine import opened_engine
from webapi.storage.realm import Realm

often_on_sqlite = pytest.mark.parametrize(
    "home_database",
    ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)],
    indirect=True,
)
"""For tests of what is not the database's: their repeats on PostgreSQL are of `make test-long`."""

_OF_LEASES = (
    "FROM pg_locks JOIN pg_database ON oid = database"
    " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
)


class HomeDatabase(Protocol):
    """The databases of one home."""

    def attach(self, home: Home) -> None:
        """Write into the home's settings where they are."""

    def back_up(self, name: str, realm: Realm = Realm.BALLOTS) -> None:
        """Copy a realm; where one database has them all, the others as well."""

    def restore(self, name: str) -> None:
        """Put a copy in its place; nobody may be connected."""

    def lose(self) -> None:
        """Put empty ones into the place of all realms; nobody may be connected."""

    def cut_lease(self) -> None:
        """Whoever holds the worker's lease loses it, and is not told."""

    def lease_sessions(self) -> set[object]:
        """The database's own sessions that hold the worker's lease; a file's lock has none.

        A lock on a file ends with the process that holds it, a session when the server sees that
        the process has.
        """

    def remove(self) -> None:
        """Leave nothing behind."""


class SqliteHome:
    """The files that `tamga init` made."""

    def __init__(self, folder: Path) -> None:
        self._backups = folder
        self._originals: dict[str, Path] = {}
        folder.mkdir()

    def attach(self, home: Home) -> None:
        self._folder = home.directory / "database"

    def back_up(self, name: str, realm: Realm = Realm.BALLOTS) -> None:
        self._originals[name] = self._folder / f"{realm}.db"
        target = sqlite3.connect(self._backups / name)
        source = sqlite3.connect(self._originals[name])
        source.backup(target)
        source.close()
        target.close()

    def restore(self, name: str) -> None:
        original = self._originals[name]
        for leftover in original.parent.glob(f"{original.name}-*"):
            leftover.unlink()
        shutil.copyfile(self._backups / name, original)

    def lose(self) -> None:
        shutil.rmtree(self._folder)

    def cut_lease(self) -> None:
        (self._folder / f"{Realm.BALLOTS}.db.worker-lock").unlink()

    def lease_sessions(self) -> set[object]:
        return set()

    def remove(self) -> None: ...


class PostgresHome:
    """A database on a server that the test may stop and start."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._name = server.new_database()
        self._backups: dict[str, str] = {}

    def attach(self, home: Home) -> None:
        text = home.config.read_text()
        for realm in Realm:
            roles = roles_in(self._name, realm)
            url = self.server.url(roles.runtime, self._name)
            upgrade_url = self.server.url(roles.owner, self._name)
            before = f'url = "sqlite:///database/{realm}.db"'
            assert before in text
            text = text.replace(before, f'url = "{url}"\nupgrade_url = "{upgrade_url}"')
        home.config.write_text(text)
        self._bring_certificates(home)
        shutil.rmtree(home.directory / "database")

    def administer(self, sql: str) -> list[tuple[object, ...]]:
        """Run SQL as the superuser."""
        return self.server.administer(self._name, sql)

    def back_up(self, name: str, realm: Realm = Realm.BALLOTS) -> None:
        del realm  # a copy has them all
        self._cut()
        self._backups[name] = self.server.new_database(self._name)

    def restore(self, name: str) -> None:
        self.server.drop_database(self._name)
        copy = self._backups[name]
        self.server.administer("postgres", f"CREATE DATABASE {self._name} TEMPLATE {copy}")

    def lose(self) -> None:
        self.server.drop_database(self._name)
        self.server.administer("postgres", f"CREATE DATABASE {self._name} TEMPLATE {PATTERN}")

    def cut_lease(self) -> None:
        self.administer(f"SELECT pg_terminate_backend(pid, 5000) {_OF_LEASES}")

    def lease_sessions(self) -> set[object]:
        return {session for (session,) in self.administer(f"SELECT pid {_OF_LEASES}")}

    def remove(self) -> None:
        self.server.start()  # which the test may have stopped
        for name in (self._name, *self._backups.values()):
            self.server.drop_database(name)

    def _bring_certificates(self, home: Home) -> None:
        """What the home's CAs issued: its responder would not know its own cards."""
        there = f"sqlite:///{home.directory}/database/{Realm.PKI}.db"
        here = self.server.url(roles_in(self._name, Realm.PKI).runtime, self._name)
        with opened_engine(there, Realm.PKI) as source, opened_engine(here, Realm.PKI) as target:
            for record in SqlCertificateStore(source).records():
                SqlCertificateStore(target).register(
                    ca=record.ca,
                    serial=record.serial,
                    subject=record.subject,
                    not_after=record.not_after,
                )

    def _cut(self) -> None:
        """A database is copied only while nobody is connected; the service connects anew."""
        self.server.administer(
            "postgres",
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            f"WHERE datname = '{self._name}'",
        )
