"""The stock of signed challenges and the issued ones; taking is removing, in one statement.

`DELETE … RETURNING` settles who gets a row: of any number of simultaneous takers, in threads,
processes or machines, the database lets one delete it. There is no statement that reads a
challenge and leaves it.
"""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Index,
    LargeBinary,
    String,
    Table,
    delete,
    func,
    insert,
    select,
)

from signer.login.challenge import IssuedChallenge, StockedNonce
from webapi.storage.schema import LOGIN, runtime_may
from webapi.storage.times import from_unix, to_unix

PURGE_STEP = 1_000
"""Rows that one purge removes at most from each table, so that it never holds the lock long."""

challenge_stock = Table(
    "challenge_stock",
    LOGIN,
    Column("nonce", String(128), primary_key=True),
    Column("origin", String(255), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_challenge_stock_origin_expires_at", "origin", "expires_at"),
    info=runtime_may(update=("nonce",), delete=True),  # a draw locks rows: that asks for UPDATE
)

challenges = Table(
    "challenges",
    LOGIN,
    Column("challenge_id", String(32), primary_key=True),
    Column("nonce", String(128), nullable=False, unique=True),
    Column("origin", String(255), nullable=False),
    Column("browser_binding", LargeBinary(32), nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    info=runtime_may(delete=True),
)


class SqlChallengeStore:
    """`signer.login.challenge.ChallengeStore` on the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add_stock(self, nonces: list[StockedNonce]) -> None:
        """Put signed nonces into the stock, all or none."""
        if not nonces:
            return
        rows = [
            {"nonce": item.nonce, "origin": item.origin, "expires_at": to_unix(item.expires_at)}
            for item in nonces
        ]
        with self._engine.begin() as connection:
            connection.execute(insert(challenge_stock), rows)

    def count_stock(self, origin: str, *, usable_until: datetime) -> int:
        """How many nonces of an origin have a proof that lasts until then."""
        query = (
            select(func.count())
            .select_from(challenge_stock)
            .where(challenge_stock.c.origin == origin)
            .where(challenge_stock.c.expires_at >= to_unix(usable_until))
        )
        with self._engine.begin() as connection:
            return connection.execute(query).scalar_one()

    def draw(self, origin: str, *, usable_until: datetime) -> StockedNonce | None:
        """Take one nonce whose proof lasts until then, the soonest to end first."""
        first = (
            select(challenge_stock.c.nonce)
            .where(challenge_stock.c.origin == origin)
            .where(challenge_stock.c.expires_at >= to_unix(usable_until))
            .order_by(challenge_stock.c.expires_at)
            .limit(1)
            # Whoever draws beside us has another nonce: we pass over it instead of waiting for it.
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        statement = (
            delete(challenge_stock)
            .where(challenge_stock.c.nonce == first)
            .returning(challenge_stock.c.nonce, challenge_stock.c.expires_at)
        )
        with self._engine.begin() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else StockedNonce(origin, row.nonce, from_unix(row.expires_at))

    def issue(self, challenge: IssuedChallenge) -> None:
        """Keep an issued challenge until it is taken or purged."""
        statement = insert(challenges).values(
            challenge_id=challenge.challenge_id,
            nonce=challenge.nonce,
            origin=challenge.origin,
            browser_binding=challenge.browser_binding,
            expires_at=to_unix(challenge.expires_at),
        )
        with self._engine.begin() as connection:
            connection.execute(statement)

    def take(self, challenge_id: str) -> IssuedChallenge | None:
        """Remove a challenge and return it; of simultaneous calls one gets it."""
        statement = (
            delete(challenges)
            .where(challenges.c.challenge_id == challenge_id)
            .returning(
                challenges.c.nonce,
                challenges.c.origin,
                challenges.c.browser_binding,
                challenges.c.expires_at,
            )
        )
        with self._engine.begin() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            return None
        return IssuedChallenge(
            challenge_id=challenge_id,
            nonce=row.nonce,
            origin=row.origin,
            browser_binding=bytes(row.browser_binding),
            expires_at=from_unix(row.expires_at),
        )

    def purge(self, *, expired_before: datetime) -> int:
        """Remove at most PURGE_STEP rows of each table that ended before; the number removed."""
        removed = 0
        for table, key in (
            (challenge_stock, challenge_stock.c.nonce),
            (challenges, challenges.c.challenge_id),
        ):
            ended = (
                select(key).where(table.c.expires_at < to_unix(expired_before)).limit(PURGE_STEP)
            )
            with self._engine.begin() as connection:
                removed += connection.execute(delete(table).where(key.in_(ended))).rowcount
        return removed
