"""OCSP answers kept for all processes, and who is asking at the moment.

Nothing here is a verdict: `ocsp.cache` judges the bytes again at each reading. The other columns
order and remove rows.
"""

from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Engine,
    LargeBinary,
    Row,
    Table,
    Text,
    and_,
    delete,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from ocsp.cache import KeptAnswer
from webapi.storage.schema import LOGIN, runtime_may
from webapi.storage.sqlite import reading
from webapi.storage.times import from_unix, to_unix

PURGE_STEP = 1_000
"""Rows that one purge removes at most from each table."""

NOTED_EVERY = timedelta(minutes=1)
"""A reading is written down only when the last written one is so old."""

status_answers = Table(
    "status_answers",
    LOGIN,
    Column("certificate_sha256", LargeBinary(32), primary_key=True),
    Column("certificate_der", LargeBinary, nullable=False),
    Column("response_der", LargeBinary, nullable=False),
    Column("responder_url", Text, nullable=False),
    Column("this_update", BigInteger, nullable=False),
    Column("produced_at", BigInteger, nullable=False),
    Column("is_good", Boolean, nullable=False),
    Column("refresh_at", BigInteger, nullable=False, index=True),
    Column("useless_at", BigInteger, nullable=False, index=True),
    Column("used_at", BigInteger, nullable=False),
    info=runtime_may(
        update=(
            "response_der",
            "responder_url",
            "this_update",
            "produced_at",
            "is_good",
            "refresh_at",
            "useless_at",
            "used_at",
        ),
        delete=True,
    ),
)

status_claims = Table(
    "status_claims",
    LOGIN,
    Column("certificate_sha256", LargeBinary(32), primary_key=True),
    Column("ends_at", BigInteger, nullable=False, index=True),
    info=runtime_may(delete=True),
)

Insert = sqlite.Insert | postgresql.Insert


class SqlAnswerStore:
    """`ocsp.cache.AnswerStore` on the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, certificate_sha256: bytes, *, at: datetime) -> KeptAnswer | None:
        """The answer about a certificate; the reading is noted once a minute."""
        chosen = status_answers.c.certificate_sha256 == certificate_sha256
        with reading(self._engine).begin() as connection:
            row = connection.execute(select(status_answers).where(chosen)).one_or_none()
        if row is None:
            return None
        if row.used_at <= to_unix(at - NOTED_EVERY):
            with self._engine.begin() as connection:
                connection.execute(update(status_answers).where(chosen).values(used_at=to_unix(at)))
        return _kept(row)

    def keep(self, answer: KeptAnswer, *, at: datetime) -> None:
        """Keep a refusal where a good answer is there, and otherwise what is not older.

        Of two as new a refusal stays. Responders that date their answers differently, and a column
        that lies, let no good answer outlive a refusal that was heard later.
        """
        changing = {
            "response_der": answer.response_der,
            "responder_url": answer.responder_url,
            "this_update": to_unix(answer.this_update),
            "produced_at": to_unix(answer.produced_at),
            "is_good": answer.is_good,
            "refresh_at": to_unix(answer.refresh_at),
            "useless_at": to_unix(answer.useless_at),
        }
        statement = self._insert_into(status_answers).values(
            certificate_sha256=answer.certificate_sha256,
            certificate_der=answer.certificate_der,
            used_at=to_unix(at),
            **changing,
        )
        there, given = status_answers.c, statement.excluded
        newer = or_(
            and_(there.is_good, not_(given.is_good)),
            there.this_update < given.this_update,
            and_(
                there.this_update == given.this_update,
                or_(
                    there.produced_at < given.produced_at,
                    and_(
                        there.produced_at == given.produced_at,
                        or_(there.is_good, not_(given.is_good)),
                    ),
                ),
            ),
        )
        with self._engine.begin() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[status_answers.c.certificate_sha256],
                    set_={name: given[name] for name in changing},
                    where=newer,
                )
            )

    def claim(self, certificate_sha256: bytes, *, until: datetime, at: datetime) -> bool:
        """Whether the caller is the one that asks; a claim ends by itself at `until`."""
        ended = and_(
            status_claims.c.certificate_sha256 == certificate_sha256,
            status_claims.c.ends_at <= to_unix(at),
        )
        statement = (
            self._insert_into(status_claims)
            .values(certificate_sha256=certificate_sha256, ends_at=to_unix(until))
            .on_conflict_do_nothing()
            .returning(status_claims.c.certificate_sha256)
        )
        with self._engine.begin() as connection:
            connection.execute(delete(status_claims).where(ended))
            return connection.execute(statement).one_or_none() is not None

    def _insert_into(self, table: Table) -> Insert:
        sqlite_engine = self._engine.dialect.name == "sqlite"
        return sqlite.insert(table) if sqlite_engine else postgresql.insert(table)

    def release(self, certificate_sha256: bytes) -> None:
        """The claimant has asked."""
        chosen = status_claims.c.certificate_sha256 == certificate_sha256
        with self._engine.begin() as connection:
            connection.execute(delete(status_claims).where(chosen))

    def due(self, *, at: datetime, used_since: datetime, limit: int) -> list[KeptAnswer]:
        """Good answers in use that are worth another question, the most urgent first."""
        query = (
            select(status_answers)
            .where(status_answers.c.is_good)
            .where(status_answers.c.refresh_at <= to_unix(at))
            .where(status_answers.c.used_at >= to_unix(used_since))
            .order_by(status_answers.c.refresh_at)
            .limit(limit)
        )
        with reading(self._engine).begin() as connection:
            return [_kept(row) for row in connection.execute(query)]

    def postpone(self, certificate_sha256: bytes, *, until: datetime) -> None:
        """Nobody asks again for a while."""
        statement = (
            update(status_answers)
            .where(status_answers.c.certificate_sha256 == certificate_sha256)
            .values(refresh_at=to_unix(until))
        )
        with self._engine.begin() as connection:
            connection.execute(statement)

    def purge(self, *, useless_before: datetime) -> int:
        """Remove at most PURGE_STEP rows of each table that ended before; the number removed."""
        removed = 0
        for table, key, end in (
            (status_answers, status_answers.c.certificate_sha256, status_answers.c.useless_at),
            (status_claims, status_claims.c.certificate_sha256, status_claims.c.ends_at),
        ):
            ended = select(key).where(end < to_unix(useless_before)).limit(PURGE_STEP)
            with self._engine.begin() as connection:
                removed += connection.execute(delete(table).where(key.in_(ended))).rowcount
        return removed


def _kept(row: Row[tuple[object, ...]]) -> KeptAnswer:
    return KeptAnswer(
        certificate_sha256=bytes(row.certificate_sha256),
        certificate_der=bytes(row.certificate_der),
        response_der=bytes(row.response_der),
        responder_url=row.responder_url,
        this_update=from_unix(row.this_update),
        produced_at=from_unix(row.produced_at),
        is_good=row.is_good,
        refresh_at=from_unix(row.refresh_at),
        useless_at=from_unix(row.useless_at),
    )
