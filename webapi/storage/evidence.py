"""Why each login was accepted: kept apart from the session, which ends sooner."""

import ssl

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    LargeBinary,
    String,
    Table,
    Text,
    select,
)
from sqlalchemy import insert as sql_insert

from webapi.login.sessions import LoginEvidence
from webapi.storage.decisions import decision_rules, login_decisions
from webapi.storage.schema import LOGIN, runtime_may
from webapi.storage.status_lists import insert_login_lists, lists_of_login
from webapi.storage.times import from_unix, to_unix

login_evidence = Table(
    "login_evidence",
    LOGIN,
    Column("evidence_id", String(32), primary_key=True),
    Column("subject", String(255), nullable=False),
    Column("token_sha256", LargeBinary(32), nullable=False),
    Column("algorithm", String(16), nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("origin", String(255), nullable=False),
    Column("nonce", String(128), nullable=False),
    Column("certificates_pem", Text, nullable=False),
    Column("ocsp_response", LargeBinary, nullable=False),
    Column("ocsp_nonce_matched", Boolean, nullable=False),
    Column("responder", Text, nullable=False),
    Column("this_update", BigInteger, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    info=runtime_may(),
)

_END = "-----END CERTIFICATE-----\n"


def insert_evidence(connection: Connection, evidence: LoginEvidence) -> None:
    """Write the record within the caller's transaction."""
    connection.execute(
        sql_insert(login_evidence).values(
            evidence_id=evidence.evidence_id,
            subject=evidence.subject,
            token_sha256=evidence.token_sha256,
            algorithm=evidence.algorithm,
            signature=evidence.signature,
            origin=evidence.origin,
            nonce=evidence.nonce,
            certificates_pem="".join(
                ssl.DER_cert_to_PEM_cert(der) for der in evidence.certificates
            ),
            ocsp_response=evidence.ocsp_response,
            ocsp_nonce_matched=evidence.ocsp_nonce_matched,
            responder=evidence.responder,
            this_update=to_unix(evidence.this_update),
            decided_at=to_unix(evidence.decided_at),
        )
    )
    insert_login_lists(connection, evidence.evidence_id, evidence.lists, evidence.authority_lists)


class SqlEvidenceStore:
    """Reads the records back, for an auditor."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, evidence_id: str) -> LoginEvidence | None:
        """The record of this id; None for one that is older than the records of decisions, too."""
        decision, rules = login_decisions.c, decision_rules.c
        query = (
            select(
                login_evidence,
                decision.ocsp_request,
                decision.responder_url,
                decision.from_cache,
                rules.rules,
            )
            .join(login_decisions, decision.evidence_id == login_evidence.c.evidence_id)
            .join(decision_rules, rules.sha256 == decision.rules_sha256)
            .where(login_evidence.c.evidence_id == evidence_id)
        )
        with self._engine.begin() as connection:
            row = connection.execute(query).one_or_none()
            lists, authority_lists = lists_of_login(connection, evidence_id)
        if row is None:
            return None
        certificates = row.certificates_pem.split(_END)[:-1]
        return LoginEvidence(
            evidence_id=row.evidence_id,
            subject=row.subject,
            token_sha256=bytes(row.token_sha256),
            algorithm=row.algorithm,
            signature=bytes(row.signature),
            origin=row.origin,
            nonce=row.nonce,
            certificates=tuple(ssl.PEM_cert_to_DER_cert(pem + _END) for pem in certificates),
            ocsp_request=None if row.ocsp_request is None else bytes(row.ocsp_request),
            ocsp_response=bytes(row.ocsp_response),
            ocsp_nonce_matched=row.ocsp_nonce_matched,
            responder=row.responder,
            responder_url=row.responder_url,
            from_cache=row.from_cache,
            this_update=from_unix(row.this_update),
            decided_at=from_unix(row.decided_at),
            rules=bytes(row.rules),
            lists=lists,
            authority_lists=authority_lists,
        )
