"""Refusals that were heard: what ends them, and what does not."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import pytest

from ocsp.cache import CachedStatus, judge_kept
from ocsp.chain import ValidatedChain
from ocsp.config import CacheUse, NonceMode
from ocsp.crl.rules import CrlRules, StatusOrder
from ocsp.errors import AnswerStale, DelegateStatusUnknown, ResponderExpired
from ocsp.responder_authority import DelegateStatus, refuse_unchecked
from ocsp.status import CrlEvidence, Good, Revoked, Suspended, Unavailable
from ocsp.status_order import StatusByOrder
from tests.support.caching import DOWN, FIRST, OFF, OUTAGE, PKI, SINGLE, Cache, chain_with
from tests.support.certificates import NOW
from tests.support.ocsp_answers import answer, standard_spec
from tests.support.ocsp_judging import QUERY
from tests.support.trust import client


@dataclass
class Listed:
    """Lists that say what they are told to."""

    said: Good
    asked: int = 0

    def status_of(self, chain: ValidatedChain, at: datetime) -> Good:
        self.asked += 1
        return self.said


@pytest.fixture
def cache() -> Cache:
    return Cache()


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
@pytest.mark.parametrize("cap", ["cache_max_age", "max_age"])
def test_a_refusal_holds_until_its_next_update_whatever_the_cap(
    cache: Cache, use: CacheUse, cap: str
) -> None:
    chain = chain_with(use, NonceMode.PREFER, **{cap: timedelta(minutes=5)})
    cache.responder.single = replace(SINGLE, status="revoked")
    cache.source.status_of(chain, NOW)
    cache.responder.down = DOWN
    assert isinstance(cache.source.status_of(chain, NOW + timedelta(minutes=29)), Revoked)
    assert isinstance(cache.source.status_of(chain, NOW + timedelta(minutes=30)), Unavailable)


def test_a_good_answer_is_not_kept_beyond_the_age_that_the_profile_allows(cache: Cache) -> None:
    chain = chain_with(CacheUse.OUTAGE, max_age=timedelta(minutes=5))
    cache.source.status_of(chain, NOW)
    with pytest.raises(AnswerStale):
        judge_kept(cache.kept, chain, NOW + timedelta(minutes=5, seconds=1))


@pytest.mark.parametrize("nocheck", [True, False])
def test_a_refusal_outlives_its_signer_and_the_lists_about_it(cache: Cache, nocheck: bool) -> None:
    expiry = NOW + timedelta(minutes=10)
    cache.responder.signer = PKI.delegate_with(not_after=expiry, ocsp_no_check=nocheck)
    listed: list[DelegateStatus] = [lambda _: (b"list",)]
    inner = client(cache.responder, delegates=lambda _chain, _at: listed[0])
    source = replace(cache.source, inner=inner, delegates=lambda _chain, _at: listed[0])
    assert isinstance(source.status_of(OUTAGE, NOW), Good)
    good = cache.kept
    cache.responder.single = replace(SINGLE, status="revoked")
    assert isinstance(source.status_of(OUTAGE, NOW), Revoked)
    cache.responder.down, listed[0] = DOWN, refuse_unchecked
    assert isinstance(source.status_of(OUTAGE, expiry + timedelta(seconds=1)), Revoked)
    # A good answer does not: who was let in by it would be let in by nobody's word.
    with pytest.raises(ResponderExpired):
        judge_kept(good, OUTAGE, expiry + timedelta(seconds=1), lambda _: (b"list",))
    if not nocheck:
        assert isinstance(source.status_of(OUTAGE, NOW), Revoked)
        with pytest.raises(DelegateStatusUnknown):
            judge_kept(good, OUTAGE, NOW)


def test_a_refusal_of_a_signer_that_was_out_of_date_is_none(cache: Cache) -> None:
    cache.responder.single = replace(SINGLE, status="revoked")
    cache.source.status_of(OUTAGE, NOW)
    expired = PKI.delegate_with(not_after=NOW - timedelta(seconds=1))
    spec = replace(standard_spec(PKI, QUERY.der), signer=expired, certificates=(expired,))
    single = replace(SINGLE, status="revoked", this_update=NOW)
    forged = answer(replace(spec, singles=(single,), produced_at=NOW))
    cache.tamper(response_der=forged)
    with pytest.raises(ResponderExpired):
        judge_kept(cache.kept, OUTAGE, NOW)


@pytest.mark.parametrize("use", list(CacheUse))
@pytest.mark.parametrize(
    ("this_update", "signed_after", "nonce", "expected"),
    [
        (-300, 0, None, Suspended),
        (0, 0, None, Suspended),
        (0, 1, None, Good),
        (1, 0, None, Good),
        (-300, 0, "echo", Good),
    ],
)
def test_a_refusal_that_was_heard_holds_against_an_older_answer_without_our_nonce(
    cache: Cache,
    *,
    use: CacheUse,
    this_update: int,
    signed_after: int,
    nonce: Literal["echo"] | None,
    expected: type,
) -> None:
    chain, responder = chain_with(use), cache.responder
    responder.single = replace(SINGLE, status="revoked", reason="certificate_hold")
    assert isinstance(cache.source.status_of(chain, NOW), Suspended)
    responder.single, responder.nonce = SINGLE, nonce
    responder.now = NOW + timedelta(seconds=this_update)
    responder.signed_at = responder.now + timedelta(seconds=signed_after)
    status = cache.source.status_of(chain, NOW + timedelta(seconds=2))
    assert isinstance(status, expected)


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
    chain = chain_with(
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
