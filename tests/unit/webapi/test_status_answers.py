"""Kept answers on both databases: the newest wins, one claims, what is over goes."""

import threading
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest

from ocsp.cache import CachedStatus, KeptAnswer
from ocsp.config import CacheUse, TrustStore
from ocsp.errors import ConnectionFailed, TransportError
from tests.support.certificates import NOW, Issued, development_like_pki
from tests.support.databases import Database
from tests.support.ocsp_answers import SingleSpec, answer, standard_spec
from tests.support.trust import CannedPoster, client, trust_store
from webapi.statuses import AFTER_FAILURE, BATCH, HOT, StatusRefresh
from webapi.storage.open_logins import remove_open_logins
from webapi.storage.realm import Realm
from webapi.storage.status_answers import NOTED_EVERY, SqlAnswerStore

PKI = development_like_pki()
SECOND = timedelta(seconds=1)


def kept(card: Issued = PKI.leaf, /, **changes: object) -> KeptAnswer:
    found = KeptAnswer(
        certificate_sha256=sha256(card.der).digest(),
        certificate_der=card.der,
        response_der=b"response",
        responder_url="http://ocsp.example/",
        this_update=NOW,
        produced_at=NOW,
        is_good=True,
        refresh_at=NOW + timedelta(minutes=10),
        useless_at=NOW + timedelta(minutes=20),
    )
    return replace(found, **changes)  # type: ignore[arg-type]  # names and types are KeptAnswer's


KEY = kept().certificate_sha256


@pytest.fixture
def store(database: Database) -> SqlAnswerStore:
    return SqlAnswerStore(database.engine(Realm.LOGIN))


def test_nothing_is_found_where_nothing_was_kept(store: SqlAnswerStore) -> None:
    assert store.find(KEY, at=NOW) is None


@pytest.mark.parametrize(
    ("second", "wins"),
    [
        ({"this_update": NOW - SECOND}, False),
        ({"this_update": NOW + SECOND}, True),
        ({"produced_at": NOW - SECOND}, False),
        ({"produced_at": NOW + SECOND}, True),
        ({"this_update": NOW - SECOND, "produced_at": NOW + SECOND}, False),
        ({"is_good": False}, True),
        ({"is_good": False, "this_update": NOW - SECOND}, True),
        ({}, True),
    ],
)
def test_the_newest_answer_is_kept(
    store: SqlAnswerStore, second: dict[str, object], *, wins: bool
) -> None:
    first, later = kept(), kept(response_der=b"later", **second)
    store.keep(first, at=NOW)
    assert store.find(KEY, at=NOW) == first
    store.keep(later, at=NOW)
    assert store.find(KEY, at=NOW) == (later if wins else first)


def test_of_two_as_new_the_refusal_stays(store: SqlAnswerStore) -> None:
    refusal = kept(is_good=False, response_der=b"revoked")
    store.keep(refusal, at=NOW)
    store.keep(kept(), at=NOW)
    assert store.find(KEY, at=NOW) == refusal


def test_of_many_claims_at_once_one_holds_until_it_ends(store: SqlAnswerStore) -> None:
    begin, won = threading.Barrier(6), []

    def claim() -> None:
        begin.wait(60)
        if store.claim(KEY, until=NOW + SECOND, at=NOW):
            won.append(1)

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert won == [1]
    assert store.claim(KEY, until=NOW + 2 * SECOND, at=NOW + SECOND)
    assert not store.claim(KEY, until=NOW + 2 * SECOND, at=NOW + SECOND)
    store.release(KEY)
    assert store.claim(KEY, until=NOW + 2 * SECOND, at=NOW + SECOND)


def test_what_is_over_is_removed(store: SqlAnswerStore) -> None:
    store.keep(kept(), at=NOW)
    store.claim(KEY, until=NOW + timedelta(minutes=20), at=NOW)
    assert store.purge(useless_before=NOW + timedelta(minutes=20)) == 0
    assert store.purge(useless_before=NOW + timedelta(minutes=20, seconds=1)) == 2
    assert store.find(KEY, at=NOW) is None


def test_a_database_that_is_put_back_brings_no_answers(database: Database) -> None:
    engine = database.engine(Realm.LOGIN)
    store = SqlAnswerStore(engine)
    store.keep(kept(), at=NOW)
    assert remove_open_logins(engine) == 1
    assert store.find(KEY, at=NOW) is None


def test_only_what_is_used_good_and_half_spent_is_due(store: SqlAnswerStore) -> None:
    due, other = NOW + timedelta(minutes=10), PKI.leaf_with(serial=4711)
    store.keep(kept(), at=NOW)
    store.keep(kept(other, is_good=False), at=NOW)
    assert store.due(at=due - SECOND, used_since=NOW, limit=9) == []
    assert store.due(at=due, used_since=NOW + SECOND, limit=9) == []
    assert store.due(at=due, used_since=NOW, limit=9) == [kept()]
    store.find(KEY, at=NOW + NOTED_EVERY)
    assert store.due(at=due, used_since=NOW + SECOND, limit=9) == [kept()]
    store.postpone(KEY, until=due + SECOND)
    assert store.due(at=due, used_since=NOW, limit=9) == []


# --- the job ----------------------------------------------------------------------------------


class Refreshing:
    """The job over a responder that dates its answers by `now`."""

    def __init__(self, store: SqlAnswerStore, trust: TrustStore) -> None:
        self.now, self.down = NOW, False
        self.poster = CannedPoster(self._say)
        self.source = CachedStatus(client(self.poster), store)
        self.job = StatusRefresh(self.source, store, trust)

    def _say(self, request: bytes) -> bytes | TransportError:
        if self.down:
            return ConnectionFailed("refused")
        single = SingleSpec(this_update=self.now, next_update=self.now + timedelta(minutes=20))
        spec = replace(standard_spec(PKI, request), singles=(single,), produced_at=self.now)
        return answer(spec)


def _refreshing(store: SqlAnswerStore, **changes: object) -> Refreshing:
    return Refreshing(store, trust_store(PKI, cache=CacheUse.OUTAGE, attempts=1, **changes))


def test_a_hot_answer_is_refreshed_before_it_ends(store: SqlAnswerStore) -> None:
    store.keep(kept(), at=NOW)
    refreshing = _refreshing(store)
    refreshing.now = NOW + timedelta(minutes=10)
    assert not refreshing.job.run_once(at=refreshing.now)
    found = store.find(KEY, at=refreshing.now)
    assert found is not None
    assert found.this_update == refreshing.now
    assert found.useless_at == refreshing.now + timedelta(minutes=20)
    assert len(refreshing.poster.posted) == 1
    refreshing.job.run_once(at=refreshing.now)
    assert len(refreshing.poster.posted) == 1


def test_a_responder_that_is_down_is_asked_once_a_minute(store: SqlAnswerStore) -> None:
    store.keep(kept(), at=NOW)
    refreshing = _refreshing(store)
    refreshing.down = True
    at = NOW + timedelta(minutes=10)
    for moment in (at, at + SECOND, at + AFTER_FAILURE):
        refreshing.job.run_once(at=moment)
    assert len(refreshing.poster.posted) == 2
    assert store.find(KEY, at=at) == kept(refresh_at=at + 2 * AFTER_FAILURE)


def test_nobody_is_asked_about_a_card_out_of_use_or_of_a_stranger(store: SqlAnswerStore) -> None:
    refreshing = _refreshing(store)
    store.keep(kept(useless_at=NOW + timedelta(days=1)), at=NOW)
    refreshing.job.run_once(at=NOW + HOT + SECOND)
    stranger = PKI.leaf_with(issuer=PKI.national_ca)
    store.keep(kept(stranger, refresh_at=NOW), at=NOW)
    refreshing.job.run_once(at=NOW)
    assert refreshing.poster.posted == []


def test_an_issuer_whose_cache_was_switched_off_is_not_asked(store: SqlAnswerStore) -> None:
    refreshing = Refreshing(store, trust_store(PKI))
    store.keep(kept(refresh_at=NOW), at=NOW)
    refreshing.job.run_once(at=NOW)
    assert refreshing.poster.posted == []


def test_a_full_batch_says_that_more_may_be_left(store: SqlAnswerStore) -> None:
    refreshing = _refreshing(store)
    refreshing.down = True
    for number in range(BATCH):
        card = sha256(bytes([number])).digest()
        store.keep(kept(certificate_sha256=card, refresh_at=NOW), at=NOW)
    assert refreshing.job.run_once(at=NOW)
    assert not refreshing.job.run_once(at=NOW)
