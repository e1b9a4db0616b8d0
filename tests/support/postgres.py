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

CUT = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = '{name}' AND pid <> pg_backend_pid()"
)
USED_TABLES = (
    "SELECT relname FROM pg_class WHERE oid >= 16384 AND relkind = 'r'"
    " AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0"
)
EMPTY = """
SET session_replication_role = replica; -- neither foreign keys nor triggers have a say
DO $$
DECLARE
    which text;
BEGIN
    FOR which IN
        SELECT oid::regclass FROM pg_class
        WHERE oid >= 16384 AND relkind IN ('r', 'p') AND relname <> 'alembic_version'
            AND pg_relation_size(oid) > 0
    LOOP
        EXECUTE 'DELETE FROM ' || which;
    END LOOP;
    PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE oid >= 16384 AND relkind = 'S';
END $$
"""
_CATALOGS = {
    "attribute": "attrelid >= 16384",
    "attrdef": "adrelid >= 16384",
    "constraint": "oid >= 16384",
    "default_acl": "true",
    "index": "indexrelid >= 16384",
    "namespace": "true",
    "policy": "true",
    "proc": "oid >= 16384",
    "trigger": "oid >= 16384",
    "type": "oid >= 16384",
}
_ROWS = [
    *(f"SELECT t::text AS row FROM pg_{name} t WHERE {which}" for name, which in _CATALOGS.items()),
    # Without what the server itself writes: sizes, and the age of the oldest row.
    (
        "SELECT ROW(oid, relname, relkind, relowner, relacl, relchecks, relhasrules,"
        " relhastriggers, relrowsecurity, reloptions)::text"
        " FROM pg_class WHERE oid >= 16384 AND relkind <> 't'"
    ),
    (
        "SELECT ROW(datdba, datacl, datallowconn, datconnlimit)::text FROM pg_database"
        " WHERE datname = current_database()"
    ),
    (
        "SELECT setconfig::text FROM pg_db_role_setting"
        " WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ),
    *(f"SELECT version_num FROM {realm}.alembic_version" for realm in Realm),
]
CATALOG = f"SELECT string_agg(row, E'\\n' ORDER BY row) FROM ({' UNION ALL '.join(_ROWS)}) AS rows"


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
        self._spare: list[str] = []
        self._catalog_of_copies = ""
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
        settings.append("max_wal_size=128MB")  # the tests' files may be in memory
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
        return self.administer_all(database, sql)[0]

    def administer_all(self, database: str, *statements: str) -> list[list[tuple[object, ...]]]:
        """Run SQL as the superuser, all on one connection; the rows of each."""
        where = f"host={self.folder} user={ADMINISTRATOR} dbname={database}"
        with psycopg.connect(where, autocommit=True) as connection:
            cursors = [connection.execute(sql.encode()) for sql in statements]
            return [[] if each.description is None else each.fetchall() for each in cursors]

    @property
    def process_id(self) -> int:
        """Of its first process, the parent of all others."""
        assert self._process is not None
        return self._process.pid

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
        # Else a database that was emptied would not be as this one is.
        assert self.administer(PATTERN, USED_TABLES) == []
        self._spare.append(self.new_database())
        self._catalog_of_copies = self._catalog(self._spare[0])

    def clean_database(self) -> str:
        """The name of a database that is as the pattern is: one that was cleaned, or a copy."""
        if not self._spare:
            return self.new_database()
        self._databases += 1
        name = f"test_{self._databases}"
        # Whoever was left over from an earlier test looks for the old name.
        self.administer("postgres", f"ALTER DATABASE {self._spare.pop()} RENAME TO {name}")
        return name

    def take_back(self, name: str) -> None:
        """Empty a database for another test, which is much faster than a copy.

        One whose catalog is not a fresh copy's any more is removed.
        """
        try:
            # A connection costs as much as the statements: one for all.
            *_, [(catalog,)] = self.administer_all(name, CUT.format(name=name), EMPTY, CATALOG)
            is_as_before = str(catalog) == self._catalog_of_copies
        except psycopg.Error:  # it may be read-only, or without the pattern's tables
            is_as_before = False
        if is_as_before:
            self._spare.append(name)
        else:
            self.drop_database(name)

    def _catalog(self, database: str) -> str:
        """Everything that a test could have changed in a database, but for the rows of tables."""
        return str(self.administer(database, CATALOG)[0][0])

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
