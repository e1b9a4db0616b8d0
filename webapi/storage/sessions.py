"""Server-side sessions, found by the SHA-256 of a cookie that is itself never stored."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    ForeignKey,
    LargeBinary,
    Row,
    String,
    Table,
    delete,
    insert,
    or_,
    select,
    update,
)

from webapi.login.sessions import LoginEvidence, Session, SessionPolicy
from webapi.storage.decisions import insert_decision
from webapi.storage.evidence import insert_evidence
from webapi.storage.schema import LOGIN, runtime_may
from webapi.storage.times import from_unix, to_unix

PURGE_STEP = 1_000
"""Sessions that one purge removes at most."""

sessions = Table(
    "sessions",
    LOGIN,
    Column("token_sha256", LargeBinary(32), primary_key=True),
    Column("subject", String(255), nullable=False),
    Column("display_name", String(255), nullable=False),
    Column("acr", String(255), nullable=False),
    Column("amr", String(255), nullable=False),
    Column("certificate_sha256", LargeBinary(32), nullable=False, index=True),
    Column("evidence_id", String(32), ForeignKey("login_evidence.evidence_id"), nullable=False),
    Column("authenticated_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False, index=True),
    Column("used_at", BigInteger, nullable=False, index=True),
    info=runtime_may(update=("used_at",), delete=True),
)


class SqlSessionStore:
    """`webapi.login.sessions.SessionStore` on the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open(self, session: Session, evidence: LoginEvidence) -> None:
        """Keep the evidence and the session, both or neither."""
        statement = insert(sessions).values(
            token_sha256=session.token_sha256,
            subject=session.subject,
            display_name=session.display_name,
            acr=session.acr,
            amr=" ".join(session.amr),
            certificate_sha256=session.certificate_sha256,
            evidence_id=session.evidence_id,
            authenticated_at=to_unix(session.authenticated_at),
            ends_at=to_unix(session.ends_at),
            used_at=to_unix(session.used_at),
        )
        with self._engine.begin() as connection:
            insert_evidence(connection, evidence)
            insert_decision(connection, evidence)
            connection.execute(statement)

    def resume(self, token_sha256: bytes, *, policy: SessionPolicy, at: datetime) -> Session | None:
        """The session in force under this digest; one that is over is removed."""
        chosen = sessions.c.token_sha256 == token_sha256
        with self._engine.begin() as connection:
            row = connection.execute(select(sessions).where(chosen)).one_or_none()
            if row is None:
                return None
            session = _session(row)
            if session.is_over(at, policy):
                connection.execute(delete(sessions).where(chosen))
                return None
            if session.wants_touch(at, policy):
                connection.execute(update(sessions).where(chosen).values(used_at=to_unix(at)))
        return session

    def end(self, token_sha256: bytes) -> None:
        """Remove the session, if there is one."""
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.token_sha256 == token_sha256))

    def purge(self, *, policy: SessionPolicy, at: datetime) -> int:
        """Remove at most PURGE_STEP sessions that are over; the number removed."""
        over = or_(
            sessions.c.ends_at <= to_unix(at), sessions.c.used_at <= to_unix(at - policy.idle)
        )
        ended = select(sessions.c.token_sha256).where(over).limit(PURGE_STEP)
        statement = delete(sessions).where(sessions.c.token_sha256.in_(ended))
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount


def _session(row: Row[tuple[object, ...]]) -> Session:
    return Session(
        token_sha256=bytes(row.token_sha256),
        subject=row.subject,
        display_name=row.display_name,
        acr=row.acr,
        amr=tuple(row.amr.split(" ")),
        certificate_sha256=bytes(row.certificate_sha256),
        evidence_id=row.evidence_id,
        authenticated_at=from_unix(row.authenticated_at),
        ends_at=from_unix(row.ends_at),
        used_at=from_unix(row.used_at),
    )
