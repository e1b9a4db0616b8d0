"""Copies of SQLite databases, by the driver's online backup."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, MetaData, Table, create_engine, insert, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from webapi.storage.audit_generations import FIRST, SqlAuditGenerations, audit_generations
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.elections import SqlElectionStore
from webapi.storage.log_store import SqlLogStore
from webapi.storage.realm import Realm
from webapi.storage.realm_copies import (
    CopiedAuditLog,
    CopiedLog,
    CopyDamaged,
    Prepare,
    loaded_tables,
    require_empty,
)
from webapi.storage.sqlite import failure_of
from webapi.storage.version import version_of

_ATTACHED = "copy"
_FINE = "ok"


class SqliteCopies:
    """`webapi.storage.realm_copies.RealmCopies` on SQLite."""

    suffix = ".sqlite3"

    def make(self, engine: Engine, realm: Realm, target: Path) -> None:
        """Copy in one step, which sees one moment and keeps no writer waiting."""
        del realm  # the file holds nothing else
        target.touch(mode=0o600, exist_ok=False)
        try:
            with closing(engine.raw_connection()) as raw, closing(sqlite3.connect(target)) as copy:
                source = raw.driver_connection
                if not isinstance(source, sqlite3.Connection):
                    raise TypeError("not a connection to SQLite")
                source.backup(copy)
                # One file, readable on a medium that cannot be written.
                copy.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.Error as error:
            raise failure_of(error) or error from error

    def check(self, source: Path) -> None:
        """Run SQLite's own check of pages, indexes and constraints, and of references."""
        with _opened(source) as engine, engine.begin() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
            dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if found != _FINE or dangling is not None:
            raise CopyDamaged(f"{source.name} does not stand SQLite's integrity check")

    def version(self, source: Path, realm: Realm) -> str | None:
        """The version of its tables."""
        del realm
        with _opened(source) as engine, engine.begin() as connection:
            return version_of(connection)

    def logs(self, source: Path) -> Sequence[CopiedLog]:
        """The ballot logs."""
        with _opened(source) as engine:
            store = SqlLogStore(engine)
            return [
                CopiedLog(
                    stored.election_id,
                    stored.manifest,
                    store.log_state(stored.election_id).signed,
                    stored.is_closed_in_public,
                )
                for stored in SqlElectionStore(engine).list_all()
            ]

    def audit_log(self, source: Path, realm: Realm) -> CopiedAuditLog:
        """The active generation of the realm's audit log."""
        with _opened(source) as engine:
            generation = FIRST
            if inspect(engine).has_table(audit_generations.name):  # older versions have none
                generation = SqlAuditGenerations(engine, realm).active()
            log = SqlAuditLog(engine, realm, generation)
            return CopiedAuditLog(generation.number, log.log_state(log.log_id).signed)

    def load(self, engine: Engine, realm: Realm, source: Path, prepare: Prepare) -> None:
        """Load in one transaction, so that whoever looks sees nothing or everything."""
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            if not isinstance(driver, sqlite3.Connection):
                raise TypeError("not a connection to SQLite")
            driver.execute(f"ATTACH DATABASE ? AS {_ATTACHED}", (str(source),))
            try:
                with connection.begin():
                    require_empty(connection, realm)
                    prepare(connection)
                    for table in loaded_tables(realm):
                        _load_table(connection, table)
            finally:
                driver.execute(f"DETACH DATABASE {_ATTACHED}")


def _load_table(connection: Connection, table: Table) -> None:
    copied = table.to_metadata(MetaData(), schema=_ATTACHED, referred_schema_fn=_keep)
    columns = [column.name for column in table.columns]
    connection.execute(insert(table).from_select(columns, select(copied)))


def _keep(*_arguments: object) -> str:
    return _ATTACHED


@contextmanager
def _opened(source: Path) -> Iterator[Engine]:
    """The copy, read-only and without files beside it."""
    uri = f"file:{quote(str(source.absolute()))}?mode=ro&immutable=1"
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(uri, uri=True),
        poolclass=NullPool,
        hide_parameters=True,
    )
    try:
        yield engine
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise CopyDamaged(f"{source.name} is not a whole SQLite database") from error
    finally:
        engine.dispose()
