"""The sealer's side of an audit log; every fence in it is a constraint or a lock of rows."""

from sqlalchemy import ColumnElement, Connection, Engine, and_, bindparam, func, select, update
from sqlalchemy.exc import IntegrityError

from signer.audit.sealing import audit_log_id
from signer.receipts.errors import FenceLost
from signer.receipts.log_store import LogState
from webapi.storage.audit import UNSIGNED, WAITING, audit_checkpoints, audit_entries, audit_intents
from webapi.storage.audit_generations import FIRST, AuditGeneration, require_active
from webapi.storage.log_records import LogTables, SqlLogRecords, entry_count
from webapi.storage.realm import Realm

_TABLES = LogTables(audit_intents, audit_checkpoints, "log_id")


class SqlAuditLog(SqlLogRecords):
    """`signer.audit.sealing.AuditRecords` of one generation of a realm's log, by default the first.

    Attributes:
        realm: which one.
        generation: which one.
        log_id: names the generation.
    """

    def __init__(self, engine: Engine, realm: Realm, generation: AuditGeneration = FIRST) -> None:
        super().__init__(engine, _TABLES)
        self.realm = realm
        self.generation = generation
        self.log_id = audit_log_id(str(realm), generation.number)

    def log_state(self, log_id: str) -> LogState:
        """The log as it stands; empty where nothing was sealed."""
        with self._reading.begin() as connection:
            # In this order, because each statement may see a later moment than the one before:
            # what was signed has entries.
            signed = self._newest(connection, log_id)
            return LogState(self._following(connection) - self.generation.first_seq, signed)

    def entries(self, log_id: str, first: int, end: int) -> list[bytes]:
        """The entries from index `first` up to, not including, `end`."""
        del log_id  # it is this one
        place, offset = audit_entries.c.seq, self.generation.first_seq
        query = (
            select(audit_entries.c.entry)
            .where(place >= offset + first, place < offset + end, self._ours)
            .order_by(place)
        )
        with self._reading.begin() as connection:
            return list(connection.execute(query).scalars())

    def assign(self, *, after: int, limit: int) -> int:
        """Give places to what waits, the oldest first, in one transaction.

        Nothing gets a place where nothing waits but entries of seals.

        Args:
            after: how many entries of this generation have a place, as the caller knows it.
            limit: how many get one at most.

        Returns:
            How many entries got one.

        Raises:
            FenceLost: somebody else gave the same places, gave some since `after` was read, or
                began a later generation.
        """
        waiting = (
            select(audit_entries.c.entry_id, audit_entries.c.of_seal)
            .where(WAITING)
            .order_by(audit_entries.c.entry_id)
            .limit(limit)
            .with_for_update()
        )
        placed = (
            update(audit_entries)
            .where(audit_entries.c.entry_id == bindparam("the_id"), WAITING)
            .values(seq=bindparam("the_seq"))
        )
        try:
            with self._engine.begin() as connection:
                require_active(connection, self.generation)
                rows = connection.execute(waiting).all()
                if all(row.of_seal for row in rows):
                    return 0
                # Read behind the locks: another sealer's places are there by now.
                following = self._following(connection)
                if following - self.generation.first_seq != after:
                    raise FenceLost("another sealer gave places in the meantime")
                places = [
                    {"the_id": row.entry_id, "the_seq": seq}
                    for seq, row in enumerate(rows, following)
                ]
                connection.execute(placed, places)
                return len(places)
        except IntegrityError as error:
            raise FenceLost("another sealer gave the same places") from error

    def release(self, log_id: str, size: int) -> None:
        """Record that a checkpoint's file is written."""
        with self._engine.begin() as connection:
            self._mark_released(connection, log_id, size)

    def count_unsealed(self) -> int:
        """How many entries wait for a place or for its checkpoint, those of seals not counted."""
        waiting, unsigned = (
            select(func.count())
            .select_from(audit_entries)
            .where(which, audit_entries.c.of_seal.is_(False))
            .scalar_subquery()
            for which in (WAITING, UNSIGNED)
        )
        with self._reading.begin() as connection:
            count: int = connection.execute(select(waiting + unsigned)).scalar_one()
        return count

    @property
    def _ours(self) -> ColumnElement[bool]:
        """The condition that an entry has a place in this generation."""
        place, generation = audit_entries.c.seq, self.generation
        if generation.end_seq is None:
            return place >= generation.first_seq
        return and_(place >= generation.first_seq, place < generation.end_seq)

    def _following(self, connection: Connection) -> int:
        """The place behind the last entry of this generation."""
        found = entry_count(connection, audit_entries.c.seq, self._ours)
        return max(found, self.generation.first_seq)
