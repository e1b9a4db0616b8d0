"""What every signed log keeps in the database the same way: intents, permits, checkpoints.

Every fence in it is a constraint, a lock of a row or one statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Engine, Row, Table, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from signer.permit import PermitRecord
from signer.receipts.errors import FenceLost, LogForked
from signer.receipts.log_store import SignedCheckpoint
from webapi.storage.permits import reserve_permits_in, spend_permits_in
from webapi.storage.sqlite import reading


@dataclass(frozen=True, slots=True)
class LogTables:
    """Where a kind of log has its intents and checkpoints.

    Attributes:
        intents: size, root and holder of each intent.
        checkpoints: what was signed.
        name: the column of both that names the log.
    """

    intents: Table
    checkpoints: Table
    name: str

    def intent_of(self, log_id: str) -> Any:
        """The condition that an intent is of this log; Any: as SQLAlchemy types `==`."""
        return self.intents.c[self.name] == log_id

    def checkpoint_of(self, log_id: str) -> Any:
        """The condition that a checkpoint is of this log; Any: as SQLAlchemy types `==`."""
        return self.checkpoints.c[self.name] == log_id


class SqlLogRecords:
    """The part of `signer.receipts.log_store.LogRecords` that all logs have in common."""

    def __init__(self, engine: Engine, tables: LogTables) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._tables = tables

    def checkpoint(self, log_id: str, size: int) -> SignedCheckpoint | None:
        """The committed checkpoint of exactly this size."""
        tables = self._tables
        query = select(tables.checkpoints).where(
            tables.checkpoint_of(log_id), tables.checkpoints.c.size == size
        )
        with self._reading.begin() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _checkpoint(row)

    def take_over(self, log_id: str, *, holder: str) -> None:
        """Put every intent that no signature followed into this holder's name."""
        tables = self._tables
        newest = (
            select(func.coalesce(func.max(tables.checkpoints.c.size), 0))
            .where(tables.checkpoint_of(log_id))
            .scalar_subquery()
        )
        with self._engine.begin() as connection:
            connection.execute(
                update(tables.intents)
                .where(tables.intent_of(log_id), tables.intents.c.size > newest)
                .values(holder=holder)
            )

    def intend(
        self,
        log_id: str,
        *,
        previous_size: int,
        size: int,
        root: bytes,
        holder: str,
        permits: Sequence[PermitRecord],
    ) -> None:
        """Record the intent to sign this root for this size, and the keys' permits with it.

        Raises:
            FenceLost: another holder has this intent, the newest checkpoint is not the one of
                `previous_size`, or another size was intended to follow it.
            LogForked: an intent of this size is for another root.
            AuditBehind: too much waits to be sealed in the audit log.
        """
        values = {
            self._tables.name: log_id,
            "size": size,
            "root": root,
            "previous_size": previous_size,
            "holder": holder,
        }
        try:
            with self._engine.begin() as connection:
                row = self._intent(connection, log_id, size)
                if row is None:
                    connection.execute(insert(self._tables.intents).values(values))
                elif row.root != root:
                    raise LogForked(f"an intent for size {size} has another root")
                elif row.holder != holder:
                    raise FenceLost(f"another sequencer is signing size {size}")
                # Behind the intent: no other successor of that checkpoint comes any more.
                newest = self._newest(connection, log_id)
                if (0 if newest is None else newest.size) != previous_size:
                    raise FenceLost(f"size {previous_size} is not the newest any more")
                reserve_permits_in(connection, permits)
        except IntegrityError as error:
            raise FenceLost(f"another sequencer came first with size {size}") from error

    def spend(
        self, log_id: str, *, size: int, holder: str, permit_ids: Sequence[str], at: datetime
    ) -> None:
        """In one transaction, find the intent still in this holder's name, and spend the permits.

        Raises:
            FenceLost: it is in another's; no permit was spent.
            PermitUnknown, PermitAlreadySpent: as `signer.permit.PermitLedger.spend`.
        """
        with self._engine.begin() as connection:
            row = self._intent(connection, log_id, size)
            if row is None or row.holder != holder:
                raise FenceLost(f"another sequencer took over at size {size}")
            spend_permits_in(connection, permit_ids, at)

    def commit_checkpoint(self, log_id: str, checkpoint: SignedCheckpoint) -> None:
        """Store signed bytes.

        Raises:
            FenceLost: a checkpoint of this size, or after the same one, was committed before.
        """
        values = {
            self._tables.name: log_id,
            "size": checkpoint.size,
            "root": checkpoint.root,
            "note": checkpoint.note,
            "previous_size": checkpoint.previous_size,
            "released": checkpoint.released,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(self._tables.checkpoints).values(values))
        except IntegrityError as error:
            raise FenceLost(
                f"size {checkpoint.size}, or another after {checkpoint.previous_size}, "
                "was signed before"
            ) from error

    def _newest(self, connection: Connection, log_id: str) -> SignedCheckpoint | None:
        tables = self._tables
        newest = (
            select(tables.checkpoints)
            .where(tables.checkpoint_of(log_id))
            .order_by(tables.checkpoints.c.size.desc())
            .limit(1)
        )
        row = connection.execute(newest).one_or_none()
        return None if row is None else _checkpoint(row)

    def _mark_released(self, connection: Connection, log_id: str, size: int) -> None:
        tables = self._tables
        connection.execute(
            update(tables.checkpoints)
            .where(tables.checkpoint_of(log_id), tables.checkpoints.c.size == size)
            .values(released=True)
        )

    def _intent(
        self, connection: Connection, log_id: str, size: int
    ) -> Row[*tuple[Any, ...]] | None:
        """An intent, locked until the transaction ends: a take-over waits for it."""
        tables = self._tables
        query = select(tables.intents).where(
            tables.intent_of(log_id), tables.intents.c.size == size
        )
        return connection.execute(query.with_for_update()).one_or_none()


def entry_count(connection: Connection, place: Column[int], condition: Any) -> int:
    """How many entries have a place; Any: as SQLAlchemy types conditions."""
    found = connection.execute(select(func.max(place)).where(condition)).scalar_one()
    return 0 if found is None else found + 1


def _checkpoint(row: Row[*tuple[Any, ...]]) -> SignedCheckpoint:
    return SignedCheckpoint(
        size=row.size,
        root=row.root,
        note=row.note,
        previous_size=row.previous_size,
        released=row.released,
    )
