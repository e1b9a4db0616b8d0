"""Where a development home keeps its realms, and how a test turns them back to yesterday."""

import shutil
import sqlite3
from pathlib import Path
from typing import Protocol

from tests.support.postgres import PostgresServer, roles_in
from webapi.cli.home import Home
from webapi.storage.realm import Realm


class HomeDatabase(Protocol):
    """The databases of one home."""

    def attach(self, home: Home) -> None:
        """Write into the home's settings where they are."""

    def back_up(self, name: str) -> None:
        """Copy the ballots' realm."""

    def restore(self, name: str) -> None:
        """Put a copy in its place; nobody may be connected."""

    def remove(self) -> None:
        """Leave nothing behind."""


class SqliteHome:
    """The files that `tamga init` made."""

    def __init__(self, folder: Path) -> None:
        self._backups = folder
        folder.mkdir()

    def attach(self, home: Home) -> None:
        self._file = home.directory / "database" / "ballots.db"

    def back_up(self, name: str) -> None:
        target = sqlite3.connect(self._backups / name)
        source = sqlite3.connect(self._file)
        source.backup(target)
        source.close()
        target.close()

    def restore(self, name: str) -> None:
        for leftover in self._file.parent.glob("ballots.db-*"):
            leftover.unlink()
        shutil.copyfile(self._backups / name, self._file)

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
        shutil.rmtree(home.directory / "database")

    def administer(self, sql: str) -> list[tuple[object, ...]]:
        """Run SQL as the superuser."""
        return self.server.administer(self._name, sql)

    def back_up(self, name: str) -> None:
        self._cut()
        self._backups[name] = self.server.new_database(self._name)

    def restore(self, name: str) -> None:
        self.server.drop_database(self._name)
        copy = self._backups[name]
        self.server.administer("postgres", f"CREATE DATABASE {self._name} TEMPLATE {copy}")

    def remove(self) -> None:
        self.server.start()  # which the test may have stopped
        for name in (self._name, *self._backups.values()):
            self.server.drop_database(name)

    def _cut(self) -> None:
        """A database is copied only while nobody is connected; the service connects anew."""
        self.server.administer(
            "postgres",
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            f"WHERE datname = '{self._name}'",
        )
