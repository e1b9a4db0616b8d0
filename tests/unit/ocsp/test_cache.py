"""What a kept answer must not do; then what it is kept for. The store may be tampered with."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

import pytest

from ocsp.cache import CachedStatus, KeptAnswer, judge_kept, useless_at
from ocsp.chain import ValidatedChain, validate_path
from ocsp.config import CacheUse, NonceMode
from ocsp.crl.rules import CrlRules, StatusOrder
from ocsp.errors import (
    AnswerAboutAnother,
    AnswerRefused,
    AnswerSignatureInvalid,
    ConnectionFailed,
    TransportError,
)
from ocsp.status import CrlEvidence, Good, OcspEvidence, Revoked, Suspended, Unavailable
from ocsp.status_order import StatusByOrder
from tests.support.answers import MemoryAnswers
from tests.support.certificates import NOW, development_like_pki
from tests.support.ocsp_answers import AnswerSpec, SingleSpec, answer, standard_spec
from tests.support.trust import CannedPoster, client, trust_store

PKI = development_like_pki()
KEY = sha256(PKI.leaf.der).digest()
DOWN = ConnectionFailed("refused")
SINGLE = SingleSpec(next_update=NOW + timedelta(minutes=30))


def _chain(
    cache: CacheUse, nonce: NonceMode = NonceMode.PREFER, **changes: object
) -> ValidatedChain:
    store = trust_store(PKI, cache=cache, nonce=nonce, attempts=1, **changes)
    return validate_path(PKI.leaf.der, store, NOW)


FIRST, OUTAGE, OFF = (_chain(use) for use in (CacheUse.FIRST, CacheUse.OUTAGE, CacheUse.OFF))


class Responder(CannedPoster):
    """Answers until `down`; `single` bends what it says, `now` dates it."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.down: TransportError | None = None
        self.single = SINGLE
        self.now = NOW

    def _say(self, request: bytes) -> bytes | TransportError:
        if self.down is not None:
            return self.down
        spec: AnswerSpec = standard_spec(PKI, request)
        single = replace(self.single, this_update=self.now)
        return answer(replace(spec, singles=(single,), produced_at=self.now))


@dataclass
class Listed:
    """Lists that say what they are told to."""

    said: Good
    asked: int = 0

    def status_of(self, chain: ValidatedChain, at: datetime) -> Good:
        self.asked += 1
        return self.said


class Cache:
    """A cached source over such a responder."""

    def __init__(self) -> None:
        self.responder = Responder()
        self.store = MemoryAnswers()
        self.source = CachedStatus(client(self.responder), self.store, pause=lambda _: None)

    @property
    def asked(self) -> int:
        return len(self.responder.posted)

    @property
    def kept(self) -> KeptAnswer:
        return self.store.answers[KEY]

    def tamper(self, **changes: object) -> None:
        self.store.answers[KEY] = replace(self.kept, **changes)  # type: ignore[arg-type]  # KeptAnswer's fields


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
    strict = _chain(CacheUse.OUTAGE, NonceMode.REQUIRE)
    for number in (1, 2):
        status = cache.source.status_of(strict, NOW)
        assert isinstance(status, Good)
        assert status.evidence.nonce_matched
        assert not status.evidence.from_cache
        assert cache.asked == number


def test_in_an_outage_the_kept_answer_stands_in_and_says_so(cache: Cache) -> None:
    strict = _chain(CacheUse.OUTAGE, NonceMode.REQUIRE)
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
    chain = _chain(CacheUse.OUTAGE, cache_max_age=cap)
    cache.responder.single = SingleSpec(next_update=NOW + next_update)
    cache.source.status_of(chain, NOW)
    cache.responder.down = DOWN
    assert isinstance(cache.source.status_of(chain, NOW + end - timedelta(seconds=1)), Good)
    assert isinstance(cache.source.status_of(chain, NOW + end), Unavailable)
    assert cache.kept.useless_at == NOW + end
    assert cache.kept.refresh_at == NOW + end / 2


def test_without_next_update_the_cap_alone_counts(cache: Cache) -> None:
    chain = _chain(CacheUse.FIRST, next_update_required=False)
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


# --- refusals ----------------------------------------------------------------------------------


def test_a_revocation_that_was_heard_once_holds_in_an_outage(cache: Cache) -> None:
    for chain in (OUTAGE, OFF):
        cache.responder.down, cache.responder.single = None, replace(SINGLE, status="good")
        cache.store.answers.clear()
        cache.source.status_of(chain, NOW)
        cache.responder.single = replace(SINGLE, status="revoked")
        assert isinstance(cache.source.status_of(chain, NOW), Revoked)
        cache.responder.down = DOWN
        assert isinstance(cache.source.status_of(chain, NOW), Revoked)


@pytest.mark.parametrize("use", [CacheUse.OFF, CacheUse.OUTAGE])
def test_a_refusal_holds_until_its_next_update_whatever_the_cap(
    cache: Cache, use: CacheUse
) -> None:
    chain = _chain(use, cache_max_age=timedelta(minutes=5))
    cache.responder.single = replace(SINGLE, status="revoked")
    cache.source.status_of(chain, NOW)
    cache.responder.down = DOWN
    assert isinstance(cache.source.status_of(chain, NOW + timedelta(minutes=29)), Revoked)
    assert isinstance(cache.source.status_of(chain, NOW + timedelta(minutes=30)), Unavailable)


def test_without_a_cache_a_restoration_ends_the_refusal_and_lets_nobody_in_later(
    cache: Cache,
) -> None:
    cache.responder.single = replace(SINGLE, status="revoked", reason="certificate_hold")
    assert isinstance(cache.source.status_of(OFF, NOW), Suspended)
    cache.responder.single, cache.responder.now = SINGLE, NOW + timedelta(seconds=1)
    assert isinstance(cache.source.status_of(OFF, NOW + timedelta(seconds=1)), Good)
    cache.responder.down = DOWN
    assert isinstance(cache.source.status_of(OFF, NOW + timedelta(seconds=2)), Unavailable)


def test_a_refusal_that_is_dated_earlier_replaces_a_good_answer(cache: Cache) -> None:
    cache.source.status_of(OUTAGE, NOW)
    cache.responder.single = replace(cache.responder.single, status="revoked")
    cache.responder.now = NOW - timedelta(minutes=1)
    assert isinstance(cache.source.status_of(OUTAGE, NOW), Revoked)
    cache.responder.down = DOWN
    assert isinstance(cache.source.status_of(OUTAGE, NOW), Revoked)


@pytest.mark.parametrize("use", [CacheUse.OFF, CacheUse.OUTAGE])
@pytest.mark.parametrize(
    ("list_age", "expected"),
    [(timedelta(hours=1), Revoked), (timedelta(0), Revoked), (timedelta(seconds=-1), Good)],
)
def test_a_revocation_that_was_heard_holds_against_an_older_list(
    cache: Cache, list_age: timedelta, expected: type, use: CacheUse
) -> None:
    chain = _chain(
        use,
        order=StatusOrder.OCSP_THEN_CRL,
        crl=CrlRules(("http://ca.example/citizen.crl",)),
    )
    evidence = CrlEvidence((b"list",), "CN=x", ("http://x",), NOW - list_age, NOW)
    lists = Listed(Good(evidence))
    source = CachedStatus(StatusByOrder(client(cache.responder), lists), cache.store)
    cache.responder.single = replace(cache.responder.single, status="revoked")
    assert isinstance(source.status_of(chain, NOW), Revoked)
    cache.responder.down = DOWN
    assert isinstance(source.status_of(chain, NOW), expected)
    assert lists.asked == 1


def test_a_kept_refusal_does_not_outlive_the_restoration(cache: Cache) -> None:
    held = replace(cache.responder.single, status="revoked", reason="certificate_hold")
    released = cache.responder.single
    cache.responder.single = held
    assert isinstance(cache.source.status_of(FIRST, NOW), Suspended)
    cache.responder.single = released
    cache.responder.now = NOW + timedelta(seconds=1)
    assert isinstance(cache.source.status_of(FIRST, NOW + timedelta(seconds=1)), Good)
    assert cache.asked == 2


def test_an_older_answer_replaces_no_newer_one(cache: Cache) -> None:
    cache.responder.single = replace(cache.responder.single, status="revoked")
    cache.source.status_of(OUTAGE, NOW)
    cache.responder.single = replace(cache.responder.single, status="good")
    cache.responder.now = NOW - timedelta(seconds=1)
    cache.source.status_of(OUTAGE, NOW)
    cache.responder.down = DOWN
    assert isinstance(cache.source.status_of(OUTAGE, NOW), Revoked)


# --- a stampede --------------------------------------------------------------------------------


def test_of_many_at_once_one_asks() -> None:
    cache = Cache()
    everybody = threading.Barrier(8)
    arrived = threading.Event()
    say = cache.responder.reply

    def slowly(request: bytes) -> object:
        arrived.wait(5)
        return say(request)

    cache.responder.reply = slowly  # type: ignore[assignment]  # what `say` gives
    looked = threading.Semaphore(0)

    def wait(_seconds: float) -> None:
        looked.release()
        threading.Event().wait(0.001)

    source = CachedStatus(client(cache.responder), cache.store, pause=wait)
    found: list[object] = []

    def login() -> None:
        everybody.wait(5)
        found.append(source.status_of(FIRST, NOW))

    threads = [threading.Thread(target=login) for _ in range(8)]
    for thread in threads:
        thread.start()
    # Seven were told to wait before the eighth has its answer.
    for _ in range(7):
        assert looked.acquire(timeout=5)
    arrived.set()
    for thread in threads:
        thread.join(5)
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
