"""Copies of a realm's schema on PostgreSQL, by pg_dump and pg_restore.

The copy is an archive that pg_restore reads on its own too. What it holds is loaded here into
tables that the program itself made, so that owners and rights are those of this installation.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Engine, text

from signer.audit.sealing import FIRST_GENERATION, audit_log_id
from signer.receipts.log_store import SignedCheckpoint
from webapi.storage.realm import Realm
from webapi.storage.realm_copies import (
    VERSION_TABLE,
    CopiedAuditLog,
    CopiedLog,
    CopyDamaged,
    Prepare,
    ToolUnusable,
    loaded_tables,
    require_empty,
)

_PASSWORD = "password"  # noqa: S105 - the name that a URL may give it by
LOCK_WAIT = "30s"

_MAJOR = re.compile(r"\) (\d+)")
_ITEM = re.compile(r"\d+; \d+ \d+ (TABLE DATA|SEQUENCE SET) (\S+) (\S+) \S+")
_ROWS, _SEQUENCE = "TABLE DATA", "SEQUENCE SET"
_COPY = re.compile(r"COPY (\S+) \((.+)\) FROM stdin;")
_END = "\\."
_NULL = "\\N"
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

Row = Mapping[str, str]


class PostgresqlCopies:
    """`webapi.storage.realm_copies.RealmCopies` on PostgreSQL."""

    suffix = ".pgdump"

    def make(self, engine: Engine, realm: Realm, target: Path) -> None:
        """Dump the schema from one snapshot; writers go on.

        Raises:
            ToolUnusable: pg_dump is missing, older than the server, or failed.
        """
        tool = _tool("pg_dump")
        with engine.begin() as connection:
            server = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
        if _major(tool) < server:
            raise ToolUnusable(
                f"{tool} is of version {_major(tool)}, the server of {server}: "
                f"install the client programs of PostgreSQL {server}"
            )
        # Made here, for whatever a program's mask allows, others may not read it.
        target.touch(mode=0o600, exist_ok=False)
        arguments = ["--format=custom", f"--schema={realm}", f"--lock-wait-timeout={LOCK_WAIT}"]
        _run([tool, *arguments, f"--file={target}", *_where(engine)], engine)

    def check(self, source: Path) -> None:
        """Have its table of contents read, and every row decompressed."""
        self._items(source)
        with _reading(source, ["--data-only"]) as lines:
            for _ in lines:
                pass

    def version(self, source: Path, realm: Realm) -> str | None:
        """The version of its tables."""
        versions = [row["version_num"] for _, row in _rows(source, [VERSION_TABLE], realm)]
        return versions[0] if len(versions) == 1 else None

    def logs(self, source: Path) -> Sequence[CopiedLog]:
        """The ballot logs."""
        elections: dict[str, Row] = {}
        newest: dict[str, SignedCheckpoint] = {}
        tables = ["elections", "log_checkpoints"]
        try:
            for table, row in _rows(source, tables, Realm.BALLOTS):
                if table == "elections":
                    elections[row["election_id"]] = row
                    continue
                _keep_newest(newest, row["election_id"], _checkpoint(row))
            return [
                CopiedLog(
                    election_id,
                    _bytes(row["manifest"]),
                    newest.get(election_id),
                    _is_finished(row),
                )
                for election_id, row in sorted(elections.items())
            ]
        except (KeyError, ValueError) as error:
            raise CopyDamaged(f"{source.name} holds rows of another form") from error

    def audit_log(self, source: Path, realm: Realm) -> CopiedAuditLog:
        """The active generation of the realm's audit log."""
        generation = FIRST_GENERATION
        newest: dict[str, SignedCheckpoint] = {}
        try:
            for table, row in _rows(source, ["audit_checkpoints", "audit_generations"], realm):
                if table == "audit_generations":
                    generation = max(generation, int(row["number"]))
                else:
                    _keep_newest(newest, row["log_id"], _checkpoint(row))
        except (KeyError, ValueError) as error:
            raise CopyDamaged(f"{source.name} holds rows of another form") from error
        return CopiedAuditLog(generation, newest.get(audit_log_id(str(realm), generation)))

    def load(self, engine: Engine, realm: Realm, source: Path, prepare: Prepare) -> None:
        """Load the rows in one transaction, behind one that has put down the holds.

        A crash between the two leaves holds and no rows, never rows without holds.
        """
        tool = _tool("pg_restore")
        items = self._items(source)
        wanted = [table.name for table in loaded_tables(realm)]
        missing = [name for name in wanted if (_ROWS, str(realm), name) not in items]
        if missing:
            raise CopyDamaged(f"{source.name} lacks the table {missing[0]}")
        with engine.begin() as connection:
            require_empty(connection, realm)
            prepare(connection)
        with tempfile.NamedTemporaryFile("w", suffix=".list") as chosen:
            # In this order: what others refer to comes first.
            chosen.writelines(items[_ROWS, str(realm), name] + "\n" for name in wanted)
            chosen.writelines(line + "\n" for key, line in items.items() if key[0] == _SEQUENCE)
            chosen.flush()
            arguments = ["--data-only", "--single-transaction", "--exit-on-error"]
            arguments += [f"--use-list={chosen.name}", *_where(engine), str(source)]
            _run([tool, *arguments], engine)

    @staticmethod
    def _items(source: Path) -> Mapping[tuple[str, str, str], str]:
        """The lines of the table of contents for rows and sequences: by kind, schema and name."""
        done = subprocess.run(
            [_tool("pg_restore"), "--list", str(source)],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
        if done.returncode:
            raise CopyDamaged(f"pg_restore cannot read {source.name}")
        found = (_ITEM.match(line) for line in done.stdout.splitlines())
        return {(match[1], match[2], match[3]): match.string for match in found if match}


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ToolUnusable(f"{name} is not installed: install the client programs of PostgreSQL")
    return path


def _major(tool: str) -> int:
    """The major version that a program says it has."""
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout
    match = _MAJOR.search(said)
    if match is None:
        raise ToolUnusable(f"{tool} does not tell its version")
    return int(match[1])


def _where(engine: Engine) -> list[str]:
    """Where to connect to, without the password: arguments are seen by everybody on the host."""
    url = engine.url
    shown = URL.create(
        "postgresql",
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query=url.difference_update_query([_PASSWORD]).query,
    )
    return ["--no-password", f"--dbname={shown.render_as_string(hide_password=False)}"]


def _environment(engine: Engine | None = None) -> dict[str, str]:
    environment = {**os.environ, "LC_ALL": "C"}
    if engine is not None:
        password = engine.url.query.get(_PASSWORD, engine.url.password)
        if password is not None:
            environment["PGPASSWORD"] = str(password)
    return environment


def _run(command: Sequence[str], engine: Engine) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment(engine)
    )
    if done.returncode:
        # The first line alone: what follows may quote rows.
        said = done.stderr.strip().splitlines()[:1] or ["no reason given"]
        raise ToolUnusable(f"{Path(command[0]).name} failed: {said[0]}")


@contextmanager
def _reading(source: Path, arguments: Sequence[str]) -> Iterator[Iterator[str]]:
    """The lines of SQL that pg_restore makes of a copy; raises CopyDamaged where it fails."""
    command = [_tool("pg_restore"), "--file=-", *arguments, str(source)]
    # newline: a carriage return inside a row is escaped, and a bare one ends no line.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="surrogateescape",
        env=_environment(),
    ) as process:
        if process.stdout is None:
            raise TypeError("there is a pipe")
        yield iter(process.stdout.readline, "")
    if process.returncode:
        raise CopyDamaged(f"pg_restore cannot read {source.name}")


def _rows(source: Path, tables: Sequence[str], realm: Realm) -> Iterator[tuple[str, Row]]:
    """The rows of some tables, value by column; SQL's null is left out."""
    arguments = ["--data-only", f"--schema={realm}", *(f"--table={table}" for table in tables)]
    names: list[str] | None = None
    table = ""
    with _reading(source, arguments) as lines:
        for line in lines:
            if names is None:
                match = _COPY.match(line)
                if match is not None:
                    table = match[1].rpartition(".")[2]
                    names = [name.strip().strip('"') for name in match[2].split(",")]
            elif line.rstrip("\n") == _END:
                names = None
            else:
                values = line.rstrip("\n").split("\t")
                pairs = zip(names, values, strict=True)
                yield table, {name: _unescape(v) for name, v in pairs if v != _NULL}


def _unescape(value: str) -> str:
    """A value of COPY's text format as it was."""
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), value)


def _bytes(value: str) -> bytes:
    prefix, digits = value[:2], value[2:]
    if prefix != "\\x":
        raise ValueError("not binary data")
    return bytes.fromhex(digits)


def _checkpoint(row: Row) -> SignedCheckpoint:
    return SignedCheckpoint(
        size=int(row["size"]),
        root=_bytes(row["root"]),
        note=_bytes(row["note"]),
        previous_size=int(row["previous_size"]),
        released=row["released"] == "t",
    )


def _keep_newest(
    newest: dict[str, SignedCheckpoint], log_id: str, signed: SignedCheckpoint
) -> None:
    before = newest.get(log_id)
    if before is None or before.size < signed.size:
        newest[log_id] = signed


def _is_finished(election: Row) -> bool:
    close_seq = election.get("close_seq")
    return close_seq is not None and int(election["published_size"]) == int(close_seq) + 1
