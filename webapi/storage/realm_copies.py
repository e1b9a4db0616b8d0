"""Copies of a realm's database in files: made beside its writers, looked at, loaded again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, Table, exists, inspect, select
from sqlalchemy import table as table_named

from signer.receipts.log_store import SignedCheckpoint
from webapi.storage.errors import StorageError
from webapi.storage.realm import Realm
from webapi.storage.schema import metadata_of

VERSION_TABLE = "alembic_version"

SHORT_LIVED = {
    Realm.LOGIN: frozenset({"challenge_stock", "challenges", "sessions"}),
    Realm.PKI: frozenset({"presigned_answers", "crls", "crl_states"}),
}
"""Tables whose rows are not loaded again.

A challenge that was taken since, or a session that was ended since, would be there again; so would
an answer or a list from before a revocation.
"""

Prepare = Callable[[Connection], None]
"""Writes what must be there before, or together with, the first row that is loaded."""


class CopyDamaged(StorageError):
    """The file is not a whole copy of a realm's database."""


class DatabaseNotEmpty(StorageError):
    """There are rows where a copy is to be loaded."""


class ToolUnusable(StorageError):
    """A program of PostgreSQL's is missing, too old for the server, or failed."""


@dataclass(frozen=True, slots=True)
class CopiedLog:
    """A ballot log as a copy has it.

    Attributes:
        election_id: names it.
        manifest: the election's bytes.
        signed: the newest committed checkpoint, None where there is none.
        is_finished: closed, and public to its end.
    """

    election_id: str
    manifest: bytes = field(repr=False)
    signed: SignedCheckpoint | None
    is_finished: bool


@dataclass(frozen=True, slots=True)
class CopiedAuditLog:
    """A realm's audit log as a copy has it.

    Attributes:
        generation: the active one.
        signed: its newest checkpoint, None where there is none.
    """

    generation: int
    signed: SignedCheckpoint | None


class RealmCopies(Protocol):
    """What one kind of database can do."""

    suffix: str
    """How the names of its files end."""

    def make(self, engine: Engine, realm: Realm, target: Path) -> None:
        """Copy a realm as it is at one moment; its writers go on.

        Args:
            engine: of the running service.
            realm: which one.
            target: a new file, for its owner alone.
        """

    def check(self, source: Path) -> None:
        """Find the file to be whole in itself; raises CopyDamaged."""

    def version(self, source: Path, realm: Realm) -> str | None:
        """The version of its tables; raises CopyDamaged."""

    def logs(self, source: Path) -> Sequence[CopiedLog]:
        """The ballot logs in a copy of that realm, by id; raises CopyDamaged."""

    def audit_log(self, source: Path, realm: Realm) -> CopiedAuditLog:
        """The active generation of the realm's audit log; raises CopyDamaged."""

    def load(self, engine: Engine, realm: Realm, source: Path, prepare: Prepare) -> None:
        """Load a copy into the empty tables of its version, all of it or nothing.

        Raises:
            DatabaseNotEmpty: they are not empty.
        """


def loaded_tables(realm: Realm) -> list[Table]:
    """The tables whose rows are loaded, those that others refer to first."""
    skipped = SHORT_LIVED.get(realm, frozenset())
    return [table for table in metadata_of(realm).sorted_tables if table.name not in skipped]


def require_unused(connection: Connection, realm: Realm) -> None:
    """Find no row in whatever tables there are, of any version; raises DatabaseNotEmpty.

    Nothing is made or altered: what is refused stays as it is.
    """
    for name in sorted(inspect(connection).get_table_names()):
        if name == VERSION_TABLE:
            continue
        if connection.execute(
            select(exists(select(1).select_from(table_named(name))))
        ).scalar_one():
            raise _not_empty(realm, name)


def require_empty(connection: Connection, realm: Realm) -> None:
    """Find no row in any table of a realm; raises DatabaseNotEmpty."""
    for table in metadata_of(realm).sorted_tables:
        if connection.execute(select(exists(select(1).select_from(table)))).scalar_one():
            raise _not_empty(realm, table.name)


def _not_empty(realm: Realm, name: str) -> DatabaseNotEmpty:
    return DatabaseNotEmpty(
        f"the {realm} database holds rows ({name}); "
        "a backup is restored into an empty one only: move the old one out of the way"
    )
