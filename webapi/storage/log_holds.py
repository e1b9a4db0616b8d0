"""Logs on hold: nothing is signed for them until a person has compared the database with others.

A hold is never removed, only released; a proof that the database lacks what was signed stays with
it and keeps it for ever. In this realm no time is finer than the ten-minute slot.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    String,
    Table,
    insert,
    select,
    update,
)

from webapi.storage.errors import StorageError
from webapi.storage.schema import BALLOTS, runtime_may
from webapi.storage.sqlite import reading

MAX_STATEMENT = 1_000
"""Characters of what a person states on releasing a hold."""


class HoldReason(StrEnum):
    """Why a log is on hold."""

    RESTORED = "restored"
    ORDERED = "ordered"
    CONTRADICTED = "contradicted"


class LogNotHeld(StorageError):
    """The log is not on hold."""


class HoldFinal(StorageError):
    """It was proven that the database lacks what was signed; the log goes on no more."""


log_holds = Table(
    "log_holds",
    BALLOTS,
    Column("hold_id", String(32), primary_key=True),
    Column("election_id", String(64), nullable=False, index=True),
    Column("reason", String(16), nullable=False),
    Column("since_slot", BigInteger, nullable=False),
    # What was shown: a checkpoint or receipt that the database contradicts.
    Column("contradiction", LargeBinary),
    Column("released_slot", BigInteger),
    Column("statement", String(MAX_STATEMENT)),
    info=runtime_may(update=("contradiction", "released_slot", "statement")),
)

_OPEN = log_holds.c.released_slot.is_(None)


@dataclass(frozen=True, slots=True)
class LogHold:
    """A hold that is not released.

    Attributes:
        election_id: of the log.
        reason: why.
        since_slot: unix time / 600.
        contradiction: the checkpoint or receipt that the database was shown to lack.
    """

    election_id: str
    reason: HoldReason
    since_slot: int
    contradiction: bytes | None = field(repr=False)


class SqlLogHolds:
    """The holds; each writing call is durable when it returns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)

    def held(self) -> frozenset[str]:
        """The elections whose logs are on hold."""
        query = select(log_holds.c.election_id).where(_OPEN)
        with self._reading.begin() as connection:
            return frozenset(connection.execute(query).scalars())

    def is_held(self, election_id: str) -> bool:
        """Whether a log is on hold."""
        query = select(log_holds.c.hold_id).where(_OPEN, log_holds.c.election_id == election_id)
        with self._engine.begin() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def find(self, election_id: str) -> tuple[LogHold, ...]:
        """The holds on a log, the oldest first."""
        query = (
            select(log_holds)
            .where(_OPEN, log_holds.c.election_id == election_id)
            .order_by(log_holds.c.since_slot, log_holds.c.hold_id)
        )
        with self._reading.begin() as connection:
            rows = connection.execute(query).all()
        return tuple(
            LogHold(row.election_id, HoldReason(row.reason), row.since_slot, row.contradiction)
            for row in rows
        )

    def place(self, election_id: str, *, reason: HoldReason, slot: int) -> None:
        """Put a log on hold, also one that is."""
        with self._engine.begin() as connection:
            place_log_holds(connection, [election_id], reason=reason, slot=slot)

    def contradict(self, election_id: str, evidence: bytes, *, slot: int) -> None:
        """Keep what proves that the database lacks what was signed; the hold is final then.

        A log that is not on hold is put on hold by it.
        """
        statement = (
            update(log_holds)
            .where(_OPEN, log_holds.c.election_id == election_id)
            .where(log_holds.c.contradiction.is_(None))
            .values(contradiction=evidence)
        )
        with self._engine.begin() as connection:
            if not _find_held(connection, election_id):
                reason = HoldReason.CONTRADICTED
                place_log_holds(connection, [election_id], reason=reason, slot=slot)
            connection.execute(statement)

    def release(self, election_id: str, *, statement: str, slot: int) -> None:
        """End all holds on a log.

        Args:
            election_id: of the log.
            statement: on what a person's word it is released; at most MAX_STATEMENT characters.
            slot: the present ten-minute slot.

        Raises:
            LogNotHeld: it is not on hold.
            HoldFinal: there is a proof against the database.
        """
        chosen = update(log_holds).where(_OPEN, log_holds.c.election_id == election_id)
        with self._engine.begin() as connection:
            if _require_held(connection, election_id):
                raise HoldFinal(
                    "the database was proven to lack what was signed; this log goes on no more"
                )
            connection.execute(
                chosen.values(released_slot=slot, statement=statement[:MAX_STATEMENT])
            )


def place_log_holds(
    connection: Connection, election_ids: Iterable[str], *, reason: HoldReason, slot: int
) -> None:
    """Put logs on hold within a transaction of the caller's."""
    rows = [
        {
            "hold_id": secrets.token_hex(16),
            "election_id": election_id,
            "reason": reason.value,
            "since_slot": slot,
        }
        for election_id in election_ids
    ]
    if rows:
        connection.execute(insert(log_holds), rows)


def _require_held(connection: Connection, election_id: str) -> bool:
    """Whether one of the log's holds is final; raises LogNotHeld where there is none."""
    found = _find_held(connection, election_id)
    if not found:
        raise LogNotHeld(f"the log of {election_id} is not on hold")
    return any(contradiction is not None for contradiction in found)


def _find_held(connection: Connection, election_id: str) -> Sequence[bytes | None]:
    """The proofs that a log's holds have, locked until the transaction ends."""
    query = (
        select(log_holds.c.contradiction)
        .where(_OPEN, log_holds.c.election_id == election_id)
        .with_for_update()
    )
    return connection.execute(query).scalars().all()
