"""Several web processes on one database: what may happen once happens once."""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import urllib3
from sqlalchemy import select

from signer.receipts.registration import sign_registration
from tests.support.databases import Database
from tests.support.faults import await_fact
from tests.support.installation import (
    Installation,
    create_election,
    election_system_key,
    make_installation,
    serving,
    use_databases,
)
from tests.support.processes import children
from webapi.storage.realm import Realm
from webapi.storage.registrations import registrations

WEB_PROCESSES = 3
CALLERS = 24
ATTEMPTS = 200
LOG = "log-a"
SETTINGS = {
    "TAMGA_SERVICE__WORKERS": str(WEB_PROCESSES),
    # A challenge is asked for until there is one.
    "TAMGA_LOGIN__CHALLENGES_PER_SOURCE_BURST": "10000",
}
JOSE = {"Content-Type": "application/jose"}

Ask = Callable[[], tuple[int, str]]


@pytest.fixture
def home(tmp_path: Path, database: Database) -> Iterator[Installation]:
    """A service of several web processes on the databases of this test, with one election.

    The home is new, too: beside the audit folder of another test these databases would be taken
    for ones that were put back, and all open logins be removed.
    """
    installed = make_installation(tmp_path / "home")
    use_databases(installed.directory / "tamga.toml", database)
    create_election(installed, LOG)
    with serving(installed, ready=True, **SETTINGS) as service:
        assert len(children(installed.leader("web") or 0)) == WEB_PROCESSES
        yield installed
        assert service.named("log_halted") == []


class Callers:
    """Many connections at once; each is served by whichever process took it."""

    def __init__(self, home: Installation) -> None:
        self.home = home
        self._own = threading.local()

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        if not hasattr(self._own, "pool"):
            self._own.pool = urllib3.PoolManager(
                ssl_context=self.home.tls, retries=False, timeout=30
            )
        pool: urllib3.PoolManager = self._own.pool
        return pool.request("POST", self.home.address + path, body=body, headers=headers)

    def all_at_once(self, asks: Sequence[Ask]) -> list[tuple[int, str]]:
        with ThreadPoolExecutor(CALLERS) as threads:
            return list(threads.map(lambda ask: ask(), asks))


def test_what_may_happen_once_happens_once(home: Installation, database: Database) -> None:
    of_many_who_answer_a_challenge_one_gets_beyond_the_take(home)
    the_same_submission_is_registered_once_and_another_is_a_conflict(home, database)


def await_challenge(callers: Callers, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
    """A challenge; until the worker has signed one there is none in stock."""
    given: list[urllib3.BaseHTTPResponse] = []

    def is_given() -> bool:
        answer = callers.post("/auth/challenge", b"{}", headers)
        assert answer.status in (200, 503), answer.data
        given.append(answer)
        return answer.status == 200

    await_fact(is_given)
    return given[-1]


def of_many_who_answer_a_challenge_one_gets_beyond_the_take(home: Installation) -> None:
    callers = Callers(home)
    json_of = {"Content-Type": "application/json", "Origin": home.address}

    def answered(challenge_id: str, cookie: str) -> tuple[int, str]:
        body = f'{{"challenge_id": "{challenge_id}", "auth_token": {{}}}}'.encode()
        answer = callers.post("/auth/login", body, {**json_of, "Cookie": cookie})
        return answer.status, answer.json()["code"]

    for _ in range(5):
        begun = await_challenge(callers, json_of)
        challenge = begun.json()["challenge_id"]
        cookie = begun.headers["Set-Cookie"].split(";")[0]
        told = Counter(callers.all_at_once([partial(answered, challenge, cookie)] * 40))
        beyond = {answer: count for answer, count in told.items() if "not_found" not in answer[1]}
        assert sum(beyond.values()) == 1, told
        assert len(told) == 2, told


def the_same_submission_is_registered_once_and_another_is_a_conflict(
    home: Installation, database: Database
) -> None:
    callers = Callers(home)
    key = election_system_key(home)

    def registration(submission: str, content: bytes) -> bytes:
        return sign_registration(
            private_key=key,
            audience=home.address,
            election_id=LOG,
            submission_id=submission,
            ballot_sha256=hashlib.sha256(content).digest(),
            at=datetime.now(tz=UTC),
        ).encode()

    def ask(name: str, body: bytes) -> Ask:
        def told() -> tuple[int, str]:
            return callers.post(f"/elections/{LOG}/ballots", body, JOSE).status, name

        return told

    same, contested = "submission-that-is-repeated", "submission-that-is-contested"
    body = registration(same, b"one ballot")
    asks = [
        made
        for number in range(ATTEMPTS)
        for made in (
            ask(same, body),
            ask(contested, registration(contested, b"ballot %d" % number)),
        )
    ]
    told = Counter(callers.all_at_once(asks))
    of_same = {status: count for (status, name), count in told.items() if name == same}
    of_contested = {status: count for (status, name), count in told.items() if name == contested}
    assert set(of_same) <= {200, 202}, told
    assert sum(of_same.values()) == ATTEMPTS
    assert set(of_contested) <= {200, 202, 409}, told
    assert of_contested[409] == ATTEMPTS - 1
    with database.engine(Realm.BALLOTS).begin() as connection:
        rows = connection.execute(select(registrations.c.submission_id)).scalars().all()
    assert sorted(rows) == sorted([same, contested])
