"""A challenge is signed ahead, bound to one browser, and taken once."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pkcs11_bridge.agent import challenge_proof
from signer.backend import Signature
from signer.errors import (
    ChallengeExpired,
    ChallengeNotFound,
    ChallengeOfAnotherBrowser,
    ChallengeStockEmpty,
    OwnSignatureInvalid,
)
from signer.login.challenge import (
    REFILL_TURN,
    IssuedChallenge,
    SpentChallenge,
    StockPolicy,
    issue_challenge,
    refill_stock,
    take_challenge,
)
from signer.payload import Payload
from tests.support.login import BROWSER, ORIGIN, POLICY, MemoryChallenges, SoftwareSigner

NOW = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)


def filled() -> MemoryChallenges:
    store = MemoryChallenges()
    refill_stock(store, SoftwareSigner(), origin=ORIGIN, policy=POLICY, at=NOW)
    return store


def issued(store: MemoryChallenges) -> IssuedChallenge:
    return issue_challenge(store, origin=ORIGIN, browser_binding=BROWSER, policy=POLICY, at=NOW)


def take(
    store: MemoryChallenges,
    challenge_id: str,
    *,
    origin: str = ORIGIN,
    browser: bytes = BROWSER,
    at: datetime = NOW,
) -> SpentChallenge:
    return take_challenge(store, challenge_id, origin=origin, browser_binding=browser, at=at)


def test_an_empty_stock_issues_nothing() -> None:
    with pytest.raises(ChallengeStockEmpty):
        issued(MemoryChallenges())


def test_stock_of_another_origin_is_not_drawn() -> None:
    store = filled()
    with pytest.raises(ChallengeStockEmpty):
        issue_challenge(
            store, origin="https://other.example", browser_binding=BROWSER, policy=POLICY, at=NOW
        )


def test_stock_that_would_end_before_the_challenge_is_not_drawn() -> None:
    store = filled()
    later = NOW + POLICY.shelf_life + timedelta(seconds=1)
    with pytest.raises(ChallengeStockEmpty):
        issue_challenge(store, origin=ORIGIN, browser_binding=BROWSER, policy=POLICY, at=later)


def test_an_unknown_challenge_is_refused() -> None:
    with pytest.raises(ChallengeNotFound):
        take(filled(), "0" * 32)


def test_a_challenge_is_taken_once() -> None:
    store = filled()
    challenge = issued(store)
    take(store, challenge.challenge_id)
    with pytest.raises(ChallengeNotFound):
        take(store, challenge.challenge_id)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"browser": b"\x22" * 32}, ChallengeOfAnotherBrowser),
        ({"origin": "https://other.example"}, ChallengeNotFound),
        ({"at": NOW + POLICY.challenge_life}, ChallengeExpired),
    ],
)
def test_a_refused_challenge_is_gone_too(
    changes: dict[str, object], refusal: type[Exception]
) -> None:
    store = filled()
    challenge = issued(store)
    with pytest.raises(refusal):
        take(store, challenge.challenge_id, **changes)  # type: ignore[arg-type]  # one parameter each, of its own type
    with pytest.raises(ChallengeNotFound):
        take(store, challenge.challenge_id)


def test_of_fifty_threads_one_takes_it() -> None:
    store = filled()
    challenge = issued(store)

    def attempt(_: int) -> bool:
        try:
            take(store, challenge.challenge_id)
        except ChallengeNotFound:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(attempt, range(50))) == 1


class SlowDevice(SoftwareSigner):
    """Takes so many seconds for a signature; its stopwatch shows them."""

    def __init__(self, seconds: float, *, fails_at: int = 0) -> None:
        super().__init__()
        self.seconds = seconds
        self.fails_at = fails_at
        self.elapsed = 0.0

    def stopwatch(self) -> float:
        return self.elapsed

    def sign(self, payload: Payload, *, owner: str, at: datetime) -> Signature:
        self.elapsed += self.seconds
        signature = super().sign(payload, owner=owner, at=at)
        if len(self.owners) == self.fails_at:
            raise OwnSignatureInvalid
        return signature


def refill(store: MemoryChallenges, device: SlowDevice, target: int) -> int:
    policy = replace(POLICY, target=target)
    return refill_stock(
        store, device, origin=ORIGIN, policy=policy, at=NOW, stopwatch=device.stopwatch
    )


def test_the_stock_is_filled_to_its_target_and_no_further() -> None:
    store, device = MemoryChallenges(), SlowDevice(0.0)
    assert refill(store, device, target=200) == 200
    assert refill(store, device, target=200) == 0
    issued(store)
    assert refill(store, device, target=200) == 1
    assert device.owners == ["login"] * 201


@pytest.mark.parametrize(
    ("seconds", "in_one_turn"), [(0.001, 100), (0.03, 4), (1 / 14, 2), (0.1, 1), (5.0, 1)]
)
def test_a_turn_ends_in_time_however_slow_the_device(seconds: float, in_one_turn: int) -> None:
    store, device = MemoryChallenges(), SlowDevice(seconds)
    assert refill(store, device, target=200) == in_one_turn
    assert len(store.stock) == in_one_turn
    assert device.elapsed <= REFILL_TURN.total_seconds() + seconds


def test_turn_by_turn_the_stock_becomes_full() -> None:
    store, device = MemoryChallenges(), SlowDevice(1 / 14)
    turns = []
    while added := refill(store, device, target=9):
        turns.append(added)
    assert turns == [2, 2, 2, 2, 1]
    assert len(store.stock) == 9


def test_what_was_signed_before_the_device_failed_is_in_stock() -> None:
    store, device = MemoryChallenges(), SlowDevice(0.01, fails_at=3)
    with pytest.raises(OwnSignatureInvalid):
        refill(store, device, target=200)
    assert len(store.stock) == 2
    with pytest.raises(OwnSignatureInvalid):
        refill(store, SlowDevice(0.01, fails_at=1), target=200)
    assert len(store.stock) == 2


def test_the_agent_finds_the_proof_in_the_nonce() -> None:
    store = filled()
    challenge = issued(store)
    proven = challenge_proof.verify(
        challenge_proof.UnverifiedProof.parse(challenge.nonce),
        ORIGIN,
        (SoftwareSigner().key.public_key(),),
        NOW,
    )
    assert proven.nonce == challenge.nonce
    assert proven.expires_at >= challenge.expires_at


def test_nonces_differ() -> None:
    assert len({n.nonce for n in filled().stock}) == POLICY.target


def test_a_policy_without_target_or_life_is_refused() -> None:
    with pytest.raises(ValueError, match="target"):
        StockPolicy(target=0, challenge_life=timedelta(1), shelf_life=timedelta(1))
    with pytest.raises(ValueError, match="positive"):
        StockPolicy(target=1, challenge_life=timedelta(0), shelf_life=timedelta(1))


def test_a_spent_challenge_is_made_nowhere_else() -> None:
    store = filled()
    spent = take(store, issued(store).challenge_id)
    with pytest.raises(TypeError):
        SpentChallenge(spent.nonce, spent.origin)
    with pytest.raises(TypeError):
        pickle.dumps(spent)
