"""What each login's decision rested on beside the evidence; the rules once for many logins."""

from hashlib import sha256

from sqlalchemy import Boolean, Column, Connection, ForeignKey, LargeBinary, String, Table, Text
from sqlalchemy import insert as sql_insert
from sqlalchemy.dialects import postgresql, sqlite

from webapi.login.sessions import LoginEvidence
from webapi.storage.schema import LOGIN, runtime_may

decision_rules = Table(
    "decision_rules",
    LOGIN,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("rules", LargeBinary, nullable=False),
    info=runtime_may(),
)

login_decisions = Table(
    "login_decisions",
    LOGIN,
    Column(
        "evidence_id",
        String(32),
        ForeignKey("login_evidence.evidence_id"),
        primary_key=True,
    ),
    Column("rules_sha256", LargeBinary(32), ForeignKey("decision_rules.sha256"), nullable=False),
    Column("ocsp_request", LargeBinary, nullable=True),  # None: answered from the cache
    Column("responder_url", Text, nullable=False),
    Column("from_cache", Boolean, nullable=False),
    info=runtime_may(),
)


def insert_decision(connection: Connection, evidence: LoginEvidence) -> None:
    """Write it within the caller's transaction, after the evidence."""
    digest = sha256(evidence.rules).digest()
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(
        insert(decision_rules).values(sha256=digest, rules=evidence.rules).on_conflict_do_nothing()
    )
    connection.execute(
        sql_insert(login_decisions).values(
            evidence_id=evidence.evidence_id,
            rules_sha256=digest,
            ocsp_request=evidence.ocsp_request,
            responder_url=evidence.responder_url,
            from_cache=evidence.from_cache,
        )
    )
