"""PostgreSQL of the tests' own: a cluster in a temporary folder, reached by a Unix socket alone."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.versions import versions
from webapi.storage.engine import opened_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.storage.roles import RealmRoles, roles_sql

ADMINISTRATOR = "administrator"
PATTERN = "pattern"
START_SECONDS = 30.0
_QUICK = ("fsync=off", "full_page_writes=off")
_LONGEST_SOCKET_PATH = 100


class PostgresServer:
    """One server process and its data.

    Args:
        durable: whether a commit is really on the disk. Tests that kill nothing do without it:
            it makes them faster and proves nothing about them.
    """

    def __init__(self, *, durable: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tamga-pg-"))
        # The service under test may run as another user than the server.
        self.folder.chmod(0o755)
        self._programs = _programs()
        self._options = () if durable else _QUICK
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        data = str(self.folder / "data")
        initdb = ["-D", data, "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "-U", ADMINISTRATOR]
        subprocess.run(
            [*_as_server(), str(self._programs / "initdb"), *initdb],
            check=True,
            capture_output=True,
            timeout=60,
            cwd=self.folder,
        )

    def start(self) -> None:
        """Start it, if it does not run, and wait until it answers."""
        if self._process is not None:
            return
        settings = ["max_connections=300", "shared_buffers=32MB", "listen_addresses="]
        arguments = ["-D", str(self.folder / "data"), "-k", str(self.folder)]
        for setting in (*settings, *self._options):
            arguments += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_server(), str(self._programs / "postgres"), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.administer("postgres", "SELECT 1")
            except psycopg.OperationalError:
                said = (self.folder / "log").read_text()
                assert self._process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT cuts every connection; SIGQUIT leaves recovery to the next start."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def remove(self) -> None:
        """End it and remove its data."""
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, role: str, database: str) -> str:
        return f"postgresql://{role}@/{database}?host={self.folder}"

    def administer(self, database: str, sql: str) -> list[tuple[object, ...]]:
        """Run SQL as the superuser; the rows of its last statement."""
        where = f"host={self.folder} user={ADMINISTRATOR} dbname={database}"
        with psycopg.connect(where, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return [] if cursor.description is None else cursor.fetchall()

    @property
    def version(self) -> str:
        return str(self.administer("postgres", "SHOW server_version")[0][0])

    def make_pattern(self) -> None:
        """An upgraded, empty database, made by the very SQL and program that an operator runs."""
        self.administer("postgres", f"CREATE DATABASE {PATTERN}")
        for realm in Realm:
            roles = roles_in(PATTERN, realm)
            self.administer(PATTERN, roles_sql(roles))
            with opened_engine(self.url(roles.owner, PATTERN), realm) as engine:
                upgrade(engine, realm, runtime_role=roles.runtime)

    def new_database(self, pattern: str = PATTERN) -> str:
        """The name of a new copy of the pattern, or of another database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.administer("postgres", f"CREATE DATABASE {name} TEMPLATE {pattern}")
        return name

    def drop_database(self, name: str) -> None:
        self.administer("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def roles_in(database: str, realm: Realm) -> RealmRoles:
    return RealmRoles(realm, database, owner=f"{realm}_owner", runtime=f"{realm}_service")


def _programs() -> Path:
    """The folder of initdb and postgres; Debian keeps them out of the search path."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: int(path.parents[1].name),
    )
    if found:
        return found[-1].parent
    program = shutil.which("postgres")
    if program is None:
        pytest.fail("PostgreSQL is not installed: run `make setup`, or apt-get install postgresql")
    return Path(program).parent


def _as_server() -> list[str]:
    """The command prefix: the server ends with its tests, and does not run as root."""
    prefix = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() == 0:
        prefix += ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    return prefix


@contextmanager
def running_server(*, durable: bool) -> Iterator[PostgresServer]:
    """A server with its pattern, for as long as the block lasts."""
    server = PostgresServer(durable=durable)
    try:
        assert len(str(server.folder)) < _LONGEST_SOCKET_PATH
        server.start()
        server.make_pattern()
        versions.setdefault("PostgreSQL", server.version)
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresServer]:
    """Quick, for tests that kill nothing."""
    with running_server(durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def durable_postgresql_server() -> Iterator[PostgresServer]:
    """With commits on the disk, for tests that kill."""
    with running_server(durable=True) as server:
        yield server
