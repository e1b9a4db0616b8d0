"""What a kept answer must not do; then what it is kept for. The store may be tampered with."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ocsp.cache import CachedStatus, KeptAnswer, judge_kept, useless_at
from ocsp.chain import validate_path
from ocsp.config import CacheUse, NonceMode
from ocsp.errors import AnswerAboutAnother, AnswerRefused, AnswerSignatureInvalid
from ocsp.status import Good, OcspEvidence, Revoked, Unavailable
from tests.support.answers import MemoryAnswers
from tests.support.caching import DOWN, FIRST, KEY, OFF, OUTAGE, PKI, Cache, chain_with
from tests.support.certificates import NOW
from tests.support.ocsp_answers import SingleSpec, answer, standard_spec
from tests.support.trust import client, trust_store


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_an_issuer_without_a_cache_is_asked_each_time(cache: Cache) -> None:
    for _ in range(2):
        assert isinstance(cache.source.status_of(OFF, NOW), Good)
    assert (cache.asked, cache.store.answers) == (2, {})
    cache.responder.down = DOWN
    assert isinstance(cache.source.status_of(OFF, NOW), Unavailable)


def test_a_required_nonce_is_asked_for_whatever_is_kept(cache: Cache) -> None:
    strict = chain_with(CacheUse.OUTAGE, NonceMode.REQUIRE)
    for number in (1, 2):
        status = cache.source.status_of(strict, NOW)
        assert isinstance(status, Good)
        assert status.evidence.nonce_matched
        assert not status.evidence.from_cache
        assert cache.asked == number


def test_in_an_outage_the_kept_answer_stands_in_and_says_so(cache: Cache) -> None:
    strict = chain_with(CacheUse.OUTAGE, NonceMode.REQUIRE)
    cache.source.status_of(strict, NOW)
    cache.responder.down = DOWN
    status = cache.source.status_of(strict, NOW + timedelta(minutes=29))
    assert isinstance(status, Good)
    assert status.evidence.from_cache
    assert not status.evidence.nonce_matched


def test_a_kept_answer_serves_before_anybody_is_asked(cache: Cache) -> None:
    for _ in range(3):
        assert isinstance(cache.source.status_of(FIRST, NOW), Good)
    assert cache.asked == 1
    assert cache.store.claims == {}


@pytest.mark.parametrize(
    ("next_update", "cap", "end"),
    [
        (timedelta(minutes=30), timedelta(hours=1), timedelta(minutes=30)),
        (timedelta(minutes=30), timedelta(minutes=10), timedelta(minutes=10)),
    ],
)
def test_a_kept_answer_ends_with_next_update_or_the_cap(
    cache: Cache, next_update: timedelta, cap: timedelta, end: timedelta
) -> None:
    chain = chain_with(CacheUse.OUTAGE, cache_max_age=cap)
    cache.responder.single = SingleSpec(next_update=NOW + next_update)
    cache.source.status_of(chain, NOW)
    cache.responder.down = DOWN
    assert isinstance(cache.source.status_of(chain, NOW + end - timedelta(seconds=1)), Good)
    assert isinstance(cache.source.status_of(chain, NOW + end), Unavailable)
    assert cache.kept.useless_at == NOW + end
    assert cache.kept.refresh_at == NOW + end / 2


def test_without_next_update_the_cap_alone_counts(cache: Cache) -> None:
    chain = chain_with(CacheUse.FIRST, next_update_required=False)
    cache.responder.single = SingleSpec(next_update=None)
    status = cache.source.status_of(chain, NOW)
    assert isinstance(status, Good)
    assert isinstance(status.evidence, OcspEvidence)
    assert useless_at(status, status.evidence, chain.profile) == NOW + timedelta(hours=1)


# --- the store is not believed ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda der: der[:-1] + bytes([der[-1] ^ 1]), AnswerRefused),
        (lambda _: b"", AnswerRefused),
        (
            lambda der: answer(replace(standard_spec(PKI, _request(der)), spoil_signature=True)),
            AnswerSignatureInvalid,
        ),
    ],
)
def test_tampered_bytes_are_refused(
    cache: Cache, change: Callable[[bytes], bytes], error: type[AnswerRefused]
) -> None:
    cache.source.status_of(FIRST, NOW)
    cache.tamper(response_der=change(cache.kept.response_der))
    with pytest.raises(error):
        judge_kept(cache.kept, FIRST, NOW)
    assert isinstance(cache.source.status_of(FIRST, NOW), Good)
    assert cache.asked == 2


def _request(_response: bytes) -> bytes:
    from tests.support.ocsp_judging import QUERY

    return QUERY.der


def test_an_answer_about_another_certificate_is_refused(cache: Cache) -> None:
    other = PKI.leaf_with(serial=4711)
    chain = validate_path(
        other.der, trust_store(PKI, cache=CacheUse.FIRST, nonce=NonceMode.OFF), NOW
    )
    cache.source.status_of(FIRST, NOW)
    with pytest.raises(AnswerAboutAnother):
        judge_kept(cache.kept, chain, NOW)


def test_columns_that_lie_change_no_verdict(cache: Cache) -> None:
    cache.responder.single = replace(cache.responder.single, status="revoked")
    cache.source.status_of(OUTAGE, NOW)
    late = NOW + timedelta(days=30)
    cache.tamper(is_good=True, useless_at=late, refresh_at=late, this_update=late)
    cache.responder.down = DOWN
    assert isinstance(cache.source.status_of(OUTAGE, NOW), Revoked)
    assert isinstance(cache.source.status_of(OUTAGE, NOW + timedelta(minutes=31)), Unavailable)


# --- a stampede --------------------------------------------------------------------------------


def test_of_many_at_once_one_asks() -> None:
    cache = Cache()
    everybody = threading.Barrier(8)
    arrived = threading.Event()
    say = cache.responder.reply

    def slowly(request: bytes) -> object:
        arrived.wait(60)
        return say(request)

    cache.responder.reply = slowly  # type: ignore[assignment]  # what `say` gives
    looked = threading.Semaphore(0)

    def wait(_seconds: float) -> None:
        looked.release()
        threading.Event().wait(0.001)

    source = CachedStatus(client(cache.responder), cache.store, pause=wait)
    found: list[object] = []

    def login() -> None:
        everybody.wait(60)
        found.append(source.status_of(FIRST, NOW))

    threads = [threading.Thread(target=login) for _ in range(8)]
    for thread in threads:
        thread.start()
    # Seven were told to wait before the eighth has its answer.
    for _ in range(7):
        assert looked.acquire(timeout=60)
    arrived.set()
    for thread in threads:
        thread.join(60)
    assert [type(status) for status in found] == [Good] * 8
    assert cache.asked == 1


def test_nobody_waits_for_a_claimant_that_is_lost(cache: Cache) -> None:
    cache.store.claim(KEY, until=NOW + timedelta(hours=1), at=NOW)
    elapsed = [0.0]

    def pause(seconds: float) -> None:
        elapsed[0] += seconds

    source = CachedStatus(
        client(cache.responder), cache.store, pause=pause, stopwatch=lambda: elapsed[0]
    )
    assert isinstance(source.status_of(FIRST, NOW), Good)
    assert FIRST.profile.answer_timeout.total_seconds() <= elapsed[0] < 6
    assert cache.store.claims[KEY] == NOW + timedelta(hours=1)


def test_a_claim_is_given_back_when_asking_fails(cache: Cache) -> None:
    class Broken(MemoryAnswers):
        def keep(self, answer: KeptAnswer, *, at: datetime) -> None:
            raise OSError("disk full")

    store = Broken()
    with pytest.raises(OSError, match="disk full"):
        CachedStatus(client(cache.responder), store).status_of(FIRST, NOW)
    assert store.claims == {}
