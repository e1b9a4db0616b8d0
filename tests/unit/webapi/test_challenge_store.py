"""Challenges are drawn once and taken once, whoever asks at the same moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from sqlalchemy import Engine

from signer.login.challenge import IssuedChallenge, StockedNonce
from tests.support.databases import Database
from webapi.storage import challenges as module
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.realm import Realm

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
ORIGIN = "https://tamga.example"
Answer = TypeVar("Answer")


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine(Realm.LOGIN)


@pytest.fixture
def store(engine: Engine) -> SqlChallengeStore:
    return SqlChallengeStore(engine)


def nonce(number: int, *, minutes: int = 60, origin: str = ORIGIN) -> StockedNonce:
    return StockedNonce(origin, f"{number:0128d}", NOW + timedelta(minutes=minutes))


def issued(identifier: str = "a" * 32, number: int = 1, minutes: int = 5) -> IssuedChallenge:
    return IssuedChallenge(
        challenge_id=identifier,
        nonce=f"{number:0128d}",
        origin=ORIGIN,
        browser_binding=b"b" * 32,
        expires_at=NOW + timedelta(minutes=minutes),
    )


def at_once(count: int, call: Callable[[], Answer]) -> list[Answer]:
    barrier = threading.Barrier(count)

    def run(_: int) -> Answer:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_an_empty_stock_gives_none(store: SqlChallengeStore) -> None:
    store.add_stock([])
    assert store.draw(ORIGIN, usable_until=NOW) is None


def test_a_nonce_that_ends_too_soon_or_is_of_another_origin_is_not_drawn(
    store: SqlChallengeStore,
) -> None:
    store.add_stock([nonce(1, minutes=4), nonce(2, origin="https://other.example")])
    until = NOW + timedelta(minutes=5)
    assert store.count_stock(ORIGIN, usable_until=until) == 0
    assert store.draw(ORIGIN, usable_until=until) is None


def test_naive_times_are_refused(store: SqlChallengeStore) -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        store.count_stock(ORIGIN, usable_until=naive)


def test_the_soonest_to_end_is_drawn_first_and_once(store: SqlChallengeStore) -> None:
    store.add_stock([nonce(1, minutes=60), nonce(2, minutes=30)])
    assert store.count_stock(ORIGIN, usable_until=NOW) == 2
    assert store.draw(ORIGIN, usable_until=NOW) == nonce(2, minutes=30)
    assert store.draw(ORIGIN, usable_until=NOW) == nonce(1, minutes=60)
    assert store.draw(ORIGIN, usable_until=NOW) is None


def test_fifty_threads_draw_ten_nonces_each_once(store: SqlChallengeStore) -> None:
    store.add_stock([nonce(number) for number in range(10)])
    drawn = at_once(50, lambda: store.draw(ORIGIN, usable_until=NOW))
    won = [item.nonce for item in drawn if item is not None]
    assert len(won) == len(set(won)) == 10


def test_an_unknown_challenge_is_none(store: SqlChallengeStore) -> None:
    assert store.take("0" * 32) is None


def test_a_challenge_is_taken_whole_and_once(store: SqlChallengeStore) -> None:
    store.issue(issued())
    assert store.take("a" * 32) == issued()
    assert store.take("a" * 32) is None


def test_of_fifty_threads_exactly_one_takes_the_challenge(store: SqlChallengeStore) -> None:
    store.issue(issued())
    taken = at_once(50, lambda: store.take("a" * 32))
    assert [item for item in taken if item is not None] == [issued()]


def test_purge_removes_what_ended_in_bounded_steps(
    store: SqlChallengeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PURGE_STEP", 2)
    store.add_stock([nonce(number, minutes=-1) for number in range(3)] + [nonce(9)])
    store.issue(issued("c" * 32, 7, minutes=-1))
    store.issue(issued("d" * 32, 8))
    assert store.purge(expired_before=NOW) == 3
    assert store.purge(expired_before=NOW) == 1
    assert store.purge(expired_before=NOW) == 0
    assert store.count_stock(ORIGIN, usable_until=NOW) == 1
    assert store.take("d" * 32) is not None
