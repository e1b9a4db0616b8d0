"""A realm's database as backups see it, whatever kind it is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine

from webapi.storage.answer_holds import AnswerHoldReason, place_answer_hold
from webapi.storage.audit_generations import SqlAuditGenerations
from webapi.storage.log_holds import HoldReason, place_log_holds
from webapi.storage.migration import upgrade
from webapi.storage.postgresql_copies import PostgresqlCopies
from webapi.storage.realm import Realm
from webapi.storage.realm_copies import RealmCopies, require_empty, require_unused
from webapi.storage.sqlite import path_of
from webapi.storage.sqlite_copies import SqliteCopies
from webapi.storage.version import newest_version

SQLITE = "sqlite"

COPIES: Mapping[str, RealmCopies] = {
    "postgresql": PostgresqlCopies(),
    SQLITE: SqliteCopies(),
}
"""By the name of the kind of database."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What must be on hold from the first moment on that a restored database is there.

    Attributes:
        log_ids: logs that somebody may hold newer checkpoints of.
        to: when the backup was made, aware UTC.
        at: now, aware UTC.
        slot: the present ten-minute slot.
    """

    log_ids: Iterable[str]
    to: datetime
    at: datetime
    slot: int


class RealmDatabase:
    """One realm's database.

    Args:
        engine: of the running service for a copy, of the tables' owner for a restore.
        realm: which one.
        runtime_role: the role of the running service on PostgreSQL, None on SQLite.
    """

    def __init__(self, engine: Engine, realm: Realm, runtime_role: str | None) -> None:
        self.realm = realm
        self.kind = engine.dialect.name
        self.copies = COPIES[self.kind]
        self._engine = engine
        self._runtime_role = runtime_role

    @property
    def version(self) -> str:
        """Of the tables that this program has."""
        return newest_version(self.realm)

    def audit_generation(self) -> int:
        """The active generation of the realm's audit log."""
        return SqlAuditGenerations(self._engine, self.realm).active().number

    def copy_to(self, target: Path) -> None:
        """Copy it as it is at one moment; its writers go on."""
        self.copies.make(self._engine, self.realm, target)

    def make_place(self) -> None:
        """Make the folder of a file that is not there yet."""
        if self.kind == SQLITE:
            path_of(self._engine).parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def require_unused(self) -> None:
        """Find no row, whatever the version of the tables; raises DatabaseNotEmpty."""
        if self.kind == SQLITE and not path_of(self._engine).exists():
            return
        with self._engine.begin() as connection:
            require_unused(connection, self.realm)

    def make_ready(self) -> None:
        """Make the tables where they are missing; raises DatabaseNotEmpty where there are rows."""
        upgrade(self._engine, self.realm, runtime_role=self._runtime_role)
        with self._engine.begin() as connection:
            require_empty(connection, self.realm)

    def load(self, source: Path, restored: Restored) -> None:
        """Load a copy, with holds on whatever must not go on by itself."""

        def prepare(connection: Connection) -> None:
            match self.realm:
                case Realm.BALLOTS:
                    place_log_holds(
                        connection,
                        restored.log_ids,
                        reason=HoldReason.RESTORED,
                        slot=restored.slot,
                    )
                case Realm.PKI:
                    place_answer_hold(
                        connection,
                        reason=AnswerHoldReason.RESTORED,
                        restored_to=restored.to,
                        at=restored.at,
                    )
                case Realm.LOGIN:
                    pass  # its short-lived rows are not loaded

        self.copies.load(self._engine, self.realm, source, prepare)
