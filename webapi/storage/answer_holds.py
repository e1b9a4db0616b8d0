"""Holds on our responder's answers: of a database put back, revocations since are unknown.

While there is one, nothing is said of any certificate. A hold is never removed, only released.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    String,
    Table,
    exists,
    insert,
    select,
    update,
)

from webapi.storage.errors import StorageError
from webapi.storage.schema import PKI, runtime_may
from webapi.storage.sqlite import reading
from webapi.storage.times import from_unix, to_unix

MAX_STATEMENT = 1_000
"""Characters of what a person states on releasing the answers."""


class AnswerHoldReason(StrEnum):
    """Why answers are on hold."""

    RESTORED = "restored"
    BEHIND = "behind"
    """The database was found to be older than the audit log's folder."""


class AnswersOnHold(StorageError):
    """The records of certificates were put back, and nobody has compared them yet."""


class AnswersNotHeld(StorageError):
    """There is no hold to release."""


answer_holds = Table(
    "answer_holds",
    PKI,
    Column("hold_id", String(32), primary_key=True),
    Column("reason", String(16), nullable=False),
    # The records are as they were then; nothing where nobody knows.
    Column("restored_to", BigInteger, nullable=True),
    Column("since", BigInteger, nullable=False),
    Column("released_at", BigInteger),
    Column("statement", String(MAX_STATEMENT)),
    info=runtime_may(update=("released_at", "statement")),
)

_OPEN = answer_holds.c.released_at.is_(None)

IS_ON_HOLD = exists().where(_OPEN).label("is_on_hold")
"""A column of whoever asks for more in the same statement."""


@dataclass(frozen=True, slots=True)
class AnswerHold:
    """A hold that is not released.

    Attributes:
        reason: why.
        restored_to: when the backup was made: what was suspended or revoked later is lost. None
            where nobody knows.
        since: when it was restored, or found to be.
    """

    reason: AnswerHoldReason
    restored_to: datetime | None
    since: datetime


class SqlAnswerHolds:
    """The holds on answers; each writing call is durable when it returns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)

    def find(self) -> tuple[AnswerHold, ...]:
        """The holds, the oldest first."""
        query = select(answer_holds).where(_OPEN).order_by(answer_holds.c.since)
        with self._reading.begin() as connection:
            rows = connection.execute(query).all()
        return tuple(
            AnswerHold(
                AnswerHoldReason(row.reason),
                None if row.restored_to is None else from_unix(row.restored_to),
                from_unix(row.since),
            )
            for row in rows
        )

    def place(self, *, reason: AnswerHoldReason, at: datetime) -> bool:
        """Hold all answers, unless they are for this reason; whether they were not yet."""
        present = select(answer_holds.c.hold_id).where(_OPEN, answer_holds.c.reason == reason.value)
        with self._engine.begin() as connection:
            if connection.execute(present.limit(1)).first():
                return False
            place_answer_hold(connection, reason=reason, restored_to=None, at=at)
            return True

    def release(self, *, statement: str, at: datetime) -> None:
        """End all holds.

        Args:
            statement: a person's word on what was compared; at most MAX_STATEMENT characters.
            at: now.

        Raises:
            AnswersNotHeld: there is none.
        """
        releasing = (
            update(answer_holds)
            .where(_OPEN)
            .values(released_at=to_unix(at), statement=statement[:MAX_STATEMENT])
        )
        with self._engine.begin() as connection:
            if not connection.execute(releasing).rowcount:
                raise AnswersNotHeld("the answers about certificates are not on hold")


def place_answer_hold(
    connection: Connection,
    *,
    reason: AnswerHoldReason,
    restored_to: datetime | None,
    at: datetime,
) -> None:
    """Hold all answers, within a transaction of the caller's."""
    connection.execute(
        insert(answer_holds).values(
            hold_id=secrets.token_hex(16),
            reason=reason.value,
            restored_to=None if restored_to is None else to_unix(restored_to),
            since=to_unix(at),
        )
    )


def require_no_hold(connection: Connection) -> None:
    """Within a transaction of the caller's.

    Raises:
        AnswersOnHold: there is a hold.
    """
    if connection.execute(select(answer_holds.c.hold_id).where(_OPEN).limit(1)).first():
        raise AnswersOnHold("the records of certificates were put back and not yet compared")
