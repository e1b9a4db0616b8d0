"""Sessions: over by either limit, removed in bounded steps, never without their evidence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from tests.support.databases import Database
from webapi.login.service import SignedIn
from webapi.login.sessions import (
    LoginEvidence,
    Session,
    SessionPolicy,
    digest_of_secret,
    new_secret,
)
from webapi.storage import sessions as module
from webapi.storage.evidence import login_evidence
from webapi.storage.realm import Realm
from webapi.storage.sessions import SqlSessionStore

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
POLICY = SessionPolicy(idle=timedelta(minutes=15), absolute=timedelta(hours=1))
EVIDENCE = LoginEvidence(
    evidence_id="e" * 32,
    subject="PNOMN-123456789012",
    token_sha256=b"t" * 32,
    algorithm="ES256",
    signature=b"s" * 64,
    origin="https://login.example",
    nonce="n" * 128,
    certificates=(b"\x30\x00",),
    ocsp_request=b"\x30\x00",
    ocsp_response=b"\x30\x00",
    ocsp_nonce_matched=True,
    responder="CN=delegate",
    responder_url="http://ocsp.example/",
    from_cache=False,
    this_update=NOW,
    decided_at=NOW,
    rules=b"{}",
)


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine(Realm.LOGIN)


@pytest.fixture
def store(engine: Engine) -> SqlSessionStore:
    return SqlSessionStore(engine)


def session(number: int = 1) -> Session:
    return Session(
        token_sha256=bytes([number]) * 32,
        subject="PNOMN-123456789012",
        display_name="Bat Bold",
        acr="urn:tamga:acr:id-card",
        amr=("hwk", "pin"),
        certificate_sha256=b"c" * 32,
        evidence_id=f"{number:032d}",
        authenticated_at=NOW,
        ends_at=NOW + POLICY.absolute,
        used_at=NOW,
    )


def open_session(store: SqlSessionStore, number: int = 1) -> Session:
    opened = session(number)
    store.open(opened, replace(EVIDENCE, evidence_id=opened.evidence_id))
    return opened


@pytest.mark.parametrize(
    ("idle", "absolute"),
    [
        (timedelta(0), timedelta(hours=1)),
        (timedelta(hours=2), timedelta(hours=1)),
        (timedelta(hours=-2), timedelta(hours=-1)),
    ],
)
def test_a_policy_without_end_is_refused(idle: timedelta, absolute: timedelta) -> None:
    with pytest.raises(ValueError, match="idle limit"):
        SessionPolicy(idle=idle, absolute=absolute)


def test_a_session_needs_its_own_evidence(store: SqlSessionStore, engine: Engine) -> None:
    with pytest.raises(IntegrityError):
        store.open(session(), EVIDENCE)
    with engine.begin() as connection:
        assert connection.execute(select(login_evidence)).all() == []


def test_an_unknown_session_is_none(store: SqlSessionStore) -> None:
    assert store.resume(b"x" * 32, policy=POLICY, at=NOW) is None
    store.end(b"x" * 32)


def test_a_session_comes_back_whole_until_it_ends(store: SqlSessionStore) -> None:
    opened = open_session(store)
    assert store.resume(opened.token_sha256, policy=POLICY, at=NOW) == opened
    store.end(opened.token_sha256)
    assert store.resume(opened.token_sha256, policy=POLICY, at=NOW) is None


def test_an_idle_session_is_over_and_stays_so(store: SqlSessionStore) -> None:
    opened = open_session(store)
    assert store.resume(opened.token_sha256, policy=POLICY, at=NOW + POLICY.idle) is None
    assert store.resume(opened.token_sha256, policy=POLICY, at=NOW) is None


def test_use_is_recorded_but_not_each_time(store: SqlSessionStore) -> None:
    digest = open_session(store).token_sha256
    early, later = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    store.resume(digest, policy=POLICY, at=early)
    kept = store.resume(digest, policy=POLICY, at=later)
    assert kept is not None
    assert kept.used_at == NOW
    again = store.resume(digest, policy=POLICY, at=later)
    assert again is not None
    assert again.used_at == later


def test_purge_removes_what_is_over_in_bounded_steps(
    store: SqlSessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PURGE_STEP", 2)
    for number in range(3):
        open_session(store, number)
    assert store.purge(policy=POLICY, at=NOW + timedelta(minutes=14)) == 0
    assert store.purge(policy=POLICY, at=NOW + timedelta(minutes=15)) == 2
    assert store.purge(policy=POLICY, at=NOW + timedelta(hours=1)) == 1


@pytest.mark.parametrize("secret", [None, "", "short", "A" * 44, "A" * 42 + "=", "A" * 43 + "\n"])
def test_what_is_no_cookie_of_ours_finds_nothing(secret: str | None) -> None:
    assert digest_of_secret(secret) == digest_of_secret(None)
    assert digest_of_secret(new_secret()) != digest_of_secret(None)


def test_neither_secret_nor_person_is_printed() -> None:
    secret = new_secret()
    text = repr(SignedIn(secret, session(), EVIDENCE)) + repr(session()) + repr(EVIDENCE)
    assert secret not in text
    assert "PNOMN" not in text
    assert "Bat" not in text
