"""A full disk and a read-only folder: asked to come back later, and nothing is lost."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from tests.support.faults import Answer, Scene, scene
from tests.support.log_audit import audit_all
from tests.support.namespaces import mount_namespace
from webapi.cli.home import Home

LOG = "log-a"
DISK_MEGABYTES = 4
MOST_REQUESTS = 4000
SQLITE_FIRST = pytest.mark.parametrize(
    "home_database",
    ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)],
    indirect=True,
)
JSON = {"Content-Type": "application/json"}


@contextmanager
def small_disk(home: Home, *parts: str) -> Iterator[Scene]:
    """A service that keeps some of its data on a small disk of its own."""
    (home.directory / "disk").mkdir(mode=0o700)
    text = home.config.read_text()
    for part in parts:
        text = text.replace(f'"{part}"', f'"disk/{part}"')
        text = text.replace(f'"sqlite:///{part}/', f'"sqlite:///disk/{part}/')
    home.config.write_text(text)
    with scene(home, prefix=mount_namespace(), small_disk=DISK_MEGABYTES) as made:
        made.start()
        made.create(LOG)
        made.settle()
        yield made


@pytest.fixture
def stage(home: Home) -> Iterator[Scene]:
    with small_disk(home, "database", "logs", "salt-keys") as made:
        yield made


def draw_challenge(stage: Scene) -> Answer:
    return stage.request("POST", "/auth/challenge", b"{}", JSON)


def answer_challenge(stage: Scene, challenge_id: str) -> Answer:
    token = {
        "format": "web-eid:1.0",
        "unverifiedCertificate": "AAAA",
        "algorithm": "ES256",
        "signature": "AAAA",
        "appVersion": "https://web-eid.eu/web-eid-app/releases/2.5.0",
    }
    body = json.dumps({"challenge_id": challenge_id, "auth_token": token}).encode()
    return stage.request("POST", "/auth/login", body, JSON)


def register_until_full(stage: Scene, first: int) -> int:
    """How many ballots were still accepted; the next one was answered 503."""
    for number in range(first, first + MOST_REQUESTS):
        answer = stage.register(LOG, number)
        if answer.status == 503:
            assert answer.json()["code"] == "database_unavailable"
            assert answer.headers["Retry-After"]
            return number - first
        assert answer.status == 202
    raise AssertionError("the disk never became full")


@pytest.mark.parametrize("home_database", ["sqlite"], indirect=True)
def test_on_a_full_disk_nothing_fails_and_nothing_is_lost(stage: Scene) -> None:
    stage.register_all(LOG, 3)
    stage.settle()
    for _ in range(3):  # as many as are drawn: a busy machine signs no more than one in a turn
        stage.order("fill_stock")
    challenge = draw_challenge(stage).json()["challenge_id"]
    stage.register_all(LOG, 2)  # accepted, and not yet in the log

    assert stage.order("fill_disk") == {"free": 0}
    accepted = register_until_full(stage, 100)
    for _ in range(3):
        assert stage.run()["halted"] == {}
    assert stage.register(LOG, 100 + accepted).status == 503
    assert draw_challenge(stage).status == 503
    assert answer_challenge(stage, challenge).status == 503
    # What needs no space goes on.
    assert stage.request("GET", "/health/live").status == 200
    assert stage.request("GET", f"/log/{LOG}/checkpoint").status == 200
    assert stage.fetch(LOG, 0) is not None
    assert stage.request("GET", "/me").status == 401

    stage.order("free_disk")
    assert stage.register(LOG, 100 + accepted).status == 202
    assert draw_challenge(stage).status == 200
    # The challenge was not used up by the login that could not be decided.
    assert answer_challenge(stage, challenge).status == 400
    stage.settle()
    audit_disk(stage)
    stage.order("restart")
    stage.register_all(LOG, 1)
    stage.settle()
    audit_disk(stage)


@SQLITE_FIRST
def test_a_full_disk_of_the_logs_holds_up_receipts_alone(home: Home) -> None:
    with small_disk(home, "logs") as stage:
        stage.register_all(LOG, 2)
        stage.settle()
        signed = stage.sign_calls()
        assert stage.order("fill_disk") == {"free": 0}
        stage.register_all(LOG, 3)
        for _ in range(3):
            assert stage.run()["halted"] == {}
            stage.at += timedelta(seconds=31)
            assert stage.fetch(LOG, 2) is None
        assert stage.sign_calls() == signed
        stage.order("free_disk")
        stage.settle()
        audit_all(stage)


@SQLITE_FIRST
def test_logs_that_cannot_be_written_hold_up_receipts_alone(stage: Scene) -> None:
    stage.register_all(LOG, 2)
    stage.settle()
    stage.order("protect_logs", writable=False)
    signed = stage.sign_calls()
    stage.register_all(LOG, 2)
    for _ in range(3):
        assert stage.run()["halted"] == {}
        assert stage.fetch(LOG, 2) is None
    assert stage.fetch(LOG, 0) is not None
    assert stage.sign_calls() == signed
    stage.order("restart")
    stage.register_all(LOG, 1)
    assert stage.run()["halted"] == {}
    stage.order("protect_logs", writable=True)
    stage.settle()
    audit_all(stage)


def audit_disk(stage: Scene) -> None:
    """Signatures that the full disk did not let the database keep are made again, and counted."""
    facts = stage.order("facts", election_id=LOG)
    unspent = sum(not used for *_, used in facts["permits"])
    audit_all(stage, lost=0, unspent=unspent)
