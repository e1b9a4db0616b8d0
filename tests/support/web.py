"""A whole site in the test: real database and decision, an OCSP responder by function call."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from ocsp.config import (
    IssuerProfile,
    TrustStore,
)
from ocsp.persons import PersonAttribute
from ocsp.trust import StatusSource
from signer.login.authenticate import LoginRules, authenticate
from signer.login.challenge import refill_stock
from tests.support.certificates import (
    CITIZEN_POLICY,
    NOW,
    Issued,
    Pki,
    development_like_pki,
)
from tests.support.databases import Database
from tests.support.login import (
    ORIGIN,
    POLICY,
    SoftwareSigner,
    card_signature,
    web_eid_token,
)
from tests.support.ocsp_answers import AnswerSpec, answer, standard_spec
from tests.support.trust import NO_LISTS_ABOVE, CannedPoster, client
from webapi.app import Area, Services, create_app
from webapi.decision_record import rules_of
from webapi.limits import RateLimit, SourceLimiter
from webapi.login.service import LoginService
from webapi.login.sessions import SessionPolicy
from webapi.operations.metrics import Metrics
from webapi.operations.readiness import Check, Readiness
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.engine import make_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.storage.sessions import SqlSessionStore
from webapi.watched import WatchedDecision

RESPONDER = "http://ocsp.example/citizen"


class Responder(CannedPoster):
    """Answers OCSP requests as the citizen CA's delegate; `change` bends what it says."""

    def __init__(self, pki: Pki) -> None:
        super().__init__(self._say)
        self.pki = pki
        self.change: Callable[[AnswerSpec], AnswerSpec] = lambda spec: spec

    @property
    def asked(self) -> int:
        """How often."""
        return len(self.posted)

    def _say(self, request: bytes) -> bytes:
        return answer(self.change(standard_spec(self.pki, request)))


@dataclass
class Site:
    """The application with everything that a test may turn."""

    app: Flask
    engine: Engine
    challenges: SqlChallengeStore
    responder: Responder
    pki: Pki
    metrics: Metrics
    now: list[datetime] = field(default_factory=lambda: [NOW])

    def client(self) -> FlaskClient:
        """A browser of its own, with its own cookies."""
        return self.app.test_client()

    def pass_time(self, by: timedelta) -> None:
        self.now[0] += by


def trust_store(pki: Pki) -> TrustStore:
    profile = IssuerProfile(
        name="citizen-ca",
        certificates=(pki.citizen_ca.der,),
        responders=(RESPONDER,),
        required_policies=frozenset({CITIZEN_POLICY}),
        person=PersonAttribute(oid="2.5.4.5", pattern="PNOMN-[0-9]{12}"),
        authority_status=NO_LISTS_ABOVE,
    )
    return TrustStore(
        roots=(pki.root.der,), intermediates=(pki.national_ca.der,), issuers=(profile,)
    )


def make_site(
    directory: Path,
    *,
    burst: int = 1_000,
    stock: int = 4,
    checks: dict[str, Check] | None = None,
    strict_transport: bool = True,
    areas: tuple[Area, ...] = (),
    database: Database | None = None,
    by_lists: Callable[[Engine], tuple[TrustStore, StatusSource]] | None = None,
) -> Site:
    """A site with `stock` challenges ready; without a database an SQLite file in `directory`."""
    if database is not None:
        engine = database.engine(Realm.LOGIN)
    else:
        engine = make_engine(f"sqlite:///{directory}/login.db", Realm.LOGIN)
        upgrade(engine, Realm.LOGIN)
    pki = development_like_pki()
    challenges = SqlChallengeStore(engine)
    responder = Responder(pki)
    now = [NOW]
    metrics = Metrics(CollectorRegistry())
    if stock:
        policy = type(POLICY)(stock, POLICY.challenge_life, POLICY.shelf_life)
        refill_stock(
            challenges,
            SoftwareSigner(),
            origin=ORIGIN,
            policy=policy,
            at=NOW,
            stopwatch=lambda: 0.0,
        )
    trust, statuses = by_lists(engine) if by_lists else (trust_store(pki), client(responder))
    rules = LoginRules(ORIGIN, challenges, trust, statuses)
    login = LoginService(
        origin=ORIGIN,
        challenges=challenges,
        stock_policy=POLICY,
        decide=WatchedDecision(partial(authenticate, rules), metrics),
        rules_of=lambda citizen: rules_of(citizen.profile),
        sessions=SqlSessionStore(engine),
        session_policy=SessionPolicy(idle=timedelta(minutes=15), absolute=timedelta(hours=8)),
        challenge_limiter=SourceLimiter(RateLimit(burst, 60)),
        report_limiter=SourceLimiter(RateLimit(burst, 60)),
    )
    services = Services(
        origin=ORIGIN,
        version="0.0.0",
        strict_transport=strict_transport,
        clock=lambda: now[0],
        login=login,
        readiness=Readiness(checks or {"database": lambda: None}),
        areas=areas,
        observer=metrics,
    )
    return Site(create_app(services), engine, challenges, responder, pki, metrics, now)


def send(client: FlaskClient, path: str, body: object = None) -> TestResponse:
    """Post JSON as our own page would."""
    headers = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
    return client.post(path, json={} if body is None else body, headers=headers, base_url=ORIGIN)


def draw(client: FlaskClient) -> dict[str, str]:
    """A challenge, or an assertion with the problem."""
    response = send(client, "/auth/challenge")
    assert response.status_code == 200, response.text
    challenge: dict[str, str] = response.get_json()
    return challenge


def login_body(
    challenge: dict[str, str],
    card: Issued,
    *,
    origin: str = ORIGIN,
    nonce: str | None = None,
    changes: dict[str, object] | None = None,
) -> dict[str, object]:
    """The challenge answered by a P-256 card; `changes` bend members of the token."""
    signature = card_signature(card.key, "ES256", origin, nonce or challenge["nonce"])
    token = web_eid_token(card.der, "ES256", signature, **(changes or {}))
    return {"challenge_id": challenge["challenge_id"], "auth_token": token}


def code_of(response: TestResponse) -> str:
    """The problem's code."""
    assert response.content_type == "application/problem+json", response.text
    problem = response.get_json()
    members = {"type", "title", "status", "code", "detail", "next_step", "incident"}
    assert members <= problem.keys()
    assert problem["status"] == response.status_code
    code: str = problem["code"]
    return code
