"""The record of a login's decision, and its verdict by an auditor with the site's root."""

from flask.testing import FlaskClient
from sqlalchemy import select

from ocsp.replay import Outcome
from tests.support.web import Site, draw, login_body, send
from webapi.decision_record import read_record
from webapi.decision_replay import Verdict, judge_record
from webapi.login.sessions import LoginEvidence
from webapi.storage.evidence import SqlEvidenceStore, login_evidence


def evidence_of(site: Site, browser: FlaskClient) -> LoginEvidence:
    response = send(browser, "/auth/login", login_body(draw(browser), site.pki.leaf))
    assert response.status_code == 200, response.text
    with site.engine.begin() as connection:
        found = connection.execute(select(login_evidence.c.evidence_id)).scalar_one()
    evidence = SqlEvidenceStore(site.engine).find(found)
    assert evidence is not None
    return evidence


def judge(site: Site, record: bytes, root: bytes | None = None) -> Verdict:
    return judge_record(read_record(record), (root or site.pki.root.der,))


def failed_checks(verdict: Verdict) -> list[str]:
    return [name for name, outcome in verdict.outcomes if outcome is Outcome.FAILED]
