"""A permit is recorded first, bound to key, bytes and time, and good for one signature."""

import os
import pickle
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pkcs11_bridge.agent import challenge_proof
from signer.errors import (
    PermitAlreadySpent,
    PermitExpired,
    PermitForked,
    PermitMismatch,
    PermitUnknown,
)
from signer.payload import Payload, Purpose, checkpoint_payload, login_challenge_payload
from signer.permit import PermitRecord, SigningPermit, reserve_permits, spend_permit
from tests.support.ledger import MemoryLedger

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIFE = timedelta(minutes=1)


def challenge_payload(random: bytes = bytes(24)) -> Payload:
    return login_challenge_payload(
        challenge_proof.signed_text("https://login.example", random, bytes(4), 1_800_000_000)
    )


def permit_for(payload: Payload, ledger: MemoryLedger) -> SigningPermit:
    (permit,) = reserve_permits([payload], owner="login", ledger=ledger, at=NOW, life=LIFE)
    return permit


def test_a_permit_is_recorded_before_it_exists() -> None:
    class Down(MemoryLedger):
        def reserve(self, records: Sequence[PermitRecord]) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        permit_for(challenge_payload(), Down())


@pytest.mark.parametrize(("owner", "life"), [("", LIFE), ("login", timedelta(0))])
def test_a_permit_without_owner_or_life_is_refused(owner: str, life: timedelta) -> None:
    with pytest.raises(ValueError, match="owner"):
        reserve_permits(
            [challenge_payload()], owner=owner, ledger=MemoryLedger(), at=NOW, life=life
        )


def test_other_bytes_are_refused_and_the_permit_stays_unspent() -> None:
    ledger = MemoryLedger()
    permit = permit_for(challenge_payload(), ledger)
    with pytest.raises(PermitMismatch, match="bytes"):
        spend_permit(permit, challenge_payload(b"\x01" * 24), at=NOW)
    assert not ledger.spent


def test_another_key_is_refused() -> None:
    ledger = MemoryLedger()
    text = b"receipts.example/e1\n1\nAAAA\n"
    one = checkpoint_payload(Purpose.RECEIPT_LOG, "receipts.example/e1", text)
    other = checkpoint_payload(Purpose.RECEIPT_LOG_ED25519, "receipts.example/e1", text)
    assert one.digest == other.digest
    with pytest.raises(PermitMismatch, match="key"):
        spend_permit(permit_for(one, ledger), other, at=NOW)


class Stopwatch:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(("seconds", "signs"), [(59.9, True), (60.0, False)])
def test_a_permit_ends_by_a_clock_that_nobody_sets(seconds: float, *, signs: bool) -> None:
    ledger, stopwatch = MemoryLedger(), Stopwatch()
    payload = challenge_payload()
    (permit,) = reserve_permits(
        [payload], owner="login", ledger=ledger, at=NOW, life=LIFE, stopwatch=stopwatch
    )
    stopwatch.seconds += seconds
    with nullcontext() if signs else pytest.raises(PermitExpired):
        spend_permit(permit, payload, at=NOW)  # as where times are told by their slot
    assert bool(ledger.spent) is signs


def test_a_ledger_that_takes_longer_than_the_permit_keeps_the_key_untouched() -> None:
    stopwatch = Stopwatch()

    class Slow(MemoryLedger):
        def spend(self, permit_ids: Sequence[str], at: datetime) -> None:
            super().spend(permit_ids, at)
            stopwatch.seconds += 60

    ledger = Slow()
    payload = challenge_payload()
    (permit,) = reserve_permits(
        [payload], owner="login", ledger=ledger, at=NOW, life=LIFE, stopwatch=stopwatch
    )
    with pytest.raises(PermitExpired):
        spend_permit(permit, payload, at=NOW)
    assert ledger.spent


def test_a_permit_is_over_at_its_last_instant() -> None:
    ledger = MemoryLedger()
    payload = challenge_payload()
    with pytest.raises(PermitExpired):
        spend_permit(permit_for(payload, ledger), payload, at=NOW + LIFE)
    just_in_time = NOW + LIFE - timedelta(microseconds=1)
    spend_permit(permit_for(payload, ledger), payload, at=just_in_time)


def test_an_unrecorded_permit_is_refused() -> None:
    ledger, payload = MemoryLedger(), challenge_payload()
    permit = permit_for(payload, ledger)
    ledger.recorded.clear()
    with pytest.raises(PermitUnknown):
        spend_permit(permit, payload, at=NOW)


def test_of_fifty_threads_one_spends_it() -> None:
    ledger = MemoryLedger()
    payload = challenge_payload()
    permit = permit_for(payload, ledger)

    def attempt(_: int) -> bool:
        try:
            spend_permit(permit, payload, at=NOW)
        except PermitAlreadySpent:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(attempt, range(50))) == 1


def test_a_permit_is_made_nowhere_else() -> None:
    permit = permit_for(challenge_payload(), MemoryLedger())
    with pytest.raises(TypeError):
        SigningPermit(permit.purpose, "login", permit.digest, permit.deadline, permit.use)
    with pytest.raises((TypeError, ValueError)):
        replace(permit)
    with pytest.raises(TypeError):
        pickle.dumps(permit)


def in_child(attempt: Callable[[], object]) -> str:
    """The class of the error that a forked child gets; empty where it gets none."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told
            os.write(writing, type(error).__name__.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


def test_permits_reserved_together_are_spent_together_and_good_once_each() -> None:
    ledger = MemoryLedger()
    payloads = [challenge_payload(bytes([number]) * 24) for number in range(3)]
    permits = reserve_permits(payloads, owner="login", ledger=ledger, at=NOW, life=LIFE)
    assert [permit.digest for permit in permits] == [payload.digest for payload in payloads]
    assert len(ledger.recorded) == 3
    spend_permit(permits[1], payloads[1], at=NOW)
    assert ledger.spent.keys() == ledger.recorded.keys()
    for permit, payload in zip(permits[::2], payloads[::2], strict=True):
        spend_permit(permit, payload, at=NOW)
    for permit, payload in zip(permits, payloads, strict=True):
        with pytest.raises(PermitAlreadySpent):
            spend_permit(permit, payload, at=NOW)


def test_a_ledger_that_fails_to_spend_leaves_all_unused() -> None:
    class Down(MemoryLedger):
        is_down = True

        def spend(self, permit_ids: Sequence[str], at: datetime) -> None:
            if self.is_down:
                raise OSError("disk full")
            super().spend(permit_ids, at)

    ledger, payload = Down(), challenge_payload()
    permit = permit_for(payload, ledger)
    with pytest.raises(OSError, match="disk full"):
        spend_permit(permit, payload, at=NOW)
    ledger.is_down = False
    spend_permit(permit, payload, at=NOW)
    with pytest.raises(PermitAlreadySpent):
        spend_permit(permit, payload, at=NOW)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_no_permit_of_its_parent() -> None:
    ledger = MemoryLedger()
    payloads = [challenge_payload(bytes([number]) * 24) for number in range(2)]
    permits = reserve_permits(payloads, owner="login", ledger=ledger, at=NOW, life=LIFE)
    spend_permit(permits[0], payloads[0], at=NOW)
    assert in_child(lambda: spend_permit(permits[1], payloads[1], at=NOW)) == PermitForked.__name__
    spend_permit(permits[1], payloads[1], at=NOW)


def test_sealed_permits_are_made_in_three_modules_alone() -> None:
    root = Path(__file__).parents[3]
    users = {
        path.name
        for package in ("signer", "webapi", "softhsm_config")
        for path in (root / package).rglob("*.py")
        if re.search(r"\bsealed_permit\b", path.read_text())
    }
    assert users == {"permit.py", "permit_range.py", "health.py"}
