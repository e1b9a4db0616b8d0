"""The sealer's side of an audit log; every fence in it is a constraint or a lock of rows."""

from sqlalchemy import Engine, bindparam, func, select, update
from sqlalchemy.exc import IntegrityError

from signer.receipts.errors import FenceLost
from signer.receipts.log_store import LogState
from webapi.storage.audit import UNSIGNED, WAITING, audit_checkpoints, audit_entries, audit_intents
from webapi.storage.log_records import LogTables, SqlLogRecords, entry_count
from webapi.storage.realm import Realm

_TABLES = LogTables(audit_intents, audit_checkpoints, "log_id")
_PLACED = audit_entries.c.seq.is_not(None)


class SqlAuditLog(SqlLogRecords):
    """`signer.audit.sealing.AuditRecords` of one realm; the realm names the log."""

    def __init__(self, engine: Engine, realm: Realm) -> None:
        super().__init__(engine, _TABLES)
        self.log_id = str(realm)

    def log_state(self, log_id: str) -> LogState:
        """The log as it stands; empty where nothing was sealed."""
        with self._engine.begin() as connection:
            # In this order, because each statement may see a later moment than the one before:
            # what was signed has entries.
            signed = self._newest(connection, log_id)
            return LogState(entry_count(connection, audit_entries.c.seq, _PLACED), signed)

    def entries(self, log_id: str, first: int, end: int) -> list[bytes]:
        """The entries from index `first` up to, not including, `end`."""
        del log_id  # a realm has one audit log
        query = (
            select(audit_entries.c.entry)
            .where(audit_entries.c.seq >= first, audit_entries.c.seq < end)
            .order_by(audit_entries.c.seq)
        )
        with self._engine.begin() as connection:
            return list(connection.execute(query).scalars())

    def assign(self, *, after: int, limit: int) -> int:
        """Give places to what waits, the oldest first, in one transaction.

        Nothing gets a place where nothing waits but entries of seals.

        Args:
            after: how many entries have a place, as the caller knows it.
            limit: how many get one at most.

        Returns:
            How many entries got one.

        Raises:
            FenceLost: somebody else gave the same places, or gave some since `after` was read.
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
                rows = connection.execute(waiting).all()
                if all(row.of_seal for row in rows):
                    return 0
                # Read behind the locks: another sealer's places are there by now.
                following = entry_count(connection, audit_entries.c.seq, _PLACED)
                if following != after:
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
        with self._engine.begin() as connection:
            count: int = connection.execute(select(waiting + unsigned)).scalar_one()
        return count
