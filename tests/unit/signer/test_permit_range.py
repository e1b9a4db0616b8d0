"""A range gives each number once, to one process, in time, and tells what became of it."""

import pickle
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkcs11_bridge.agent import challenge_proof
from signer.errors import (
    PermitAlreadySpent,
    PermitExpired,
    PermitForked,
    PermitMismatch,
    RangeUsedUp,
)
from signer.payload import Payload, Purpose, checkpoint_payload, login_challenge_payload
from signer.permit import spend_permit
from signer.permit_range import PermitRange, RangeRecord, reserve_range
from signer.receipts.merkle import leaf_hash, root_of
from tests.support.ledger import MemoryLedger
from tests.unit.signer.test_permit import Stopwatch, in_child

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIFE = timedelta(minutes=10)


def payload(number: int) -> Payload:
    random = number.to_bytes(24, "big")
    return login_challenge_payload(
        challenge_proof.signed_text("https://login.example", random, bytes(4), 1_800_000_000)
    )


def new_range(ledger: MemoryLedger | None = None, *, count: int = 3) -> PermitRange:
    return reserve_range(
        Purpose.LOGIN_CHALLENGE,
        owner="login",
        count=count,
        ledger=ledger or MemoryLedger(),
        at=NOW,
        life=LIFE,
    )


def test_a_range_is_recorded_before_it_exists() -> None:
    class Down(MemoryLedger):
        def reserve_range(self, record: RangeRecord) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        new_range(Down())


@pytest.mark.parametrize(
    ("owner", "count", "life"), [("", 1, LIFE), ("x", 0, LIFE), ("x", 1, timedelta(0))]
)
def test_a_range_without_owner_size_or_life_is_refused(
    owner: str, count: int, life: timedelta
) -> None:
    ledger = MemoryLedger()
    with pytest.raises(ValueError, match="range"):
        reserve_range(Purpose.AUDIT, owner=owner, count=count, ledger=ledger, at=NOW, life=life)
    assert not ledger.ranges


def test_a_clock_that_is_set_back_prolongs_no_range() -> None:
    stopwatch = Stopwatch()
    numbers = reserve_range(
        Purpose.LOGIN_CHALLENGE,
        owner="login",
        count=3,
        ledger=MemoryLedger(),
        at=NOW,
        life=LIFE,
        stopwatch=stopwatch,
    )
    stopwatch.seconds += LIFE.total_seconds() - 1
    earlier = NOW - timedelta(hours=1)
    permit = numbers.take(payload(0), owner="login", at=earlier)
    stopwatch.seconds += 1
    with pytest.raises(PermitExpired):
        numbers.take(payload(1), owner="login", at=earlier)
    with pytest.raises(PermitExpired):
        spend_permit(permit, payload(0), at=earlier)
    assert numbers.left == 2


def test_another_key_or_owner_is_refused_and_takes_no_number() -> None:
    numbers = new_range()
    text = b"receipts.example/e1\n1\nAAAA\n"
    other = checkpoint_payload(Purpose.RECEIPT_LOG, "receipts.example/e1", text)
    with pytest.raises(PermitMismatch):
        numbers.take(other, owner="login", at=NOW)
    with pytest.raises(PermitMismatch):
        numbers.take(payload(0), owner="somebody", at=NOW)
    assert numbers.left == 3


def test_after_its_time_a_range_gives_nothing_and_its_permits_are_over() -> None:
    numbers = new_range()
    permit = numbers.take(payload(0), owner="login", at=NOW + LIFE - timedelta(microseconds=1))
    with pytest.raises(PermitExpired):
        numbers.take(payload(1), owner="login", at=NOW + LIFE)
    with pytest.raises(PermitExpired):
        spend_permit(permit, payload(0), at=NOW + LIFE)


def test_a_number_is_for_its_bytes_and_for_once() -> None:
    permit = new_range().take(payload(0), owner="login", at=NOW)
    with pytest.raises(PermitMismatch):
        spend_permit(permit, payload(1), at=NOW)
    spend_permit(permit, payload(0), at=NOW)
    with pytest.raises(PermitAlreadySpent):
        spend_permit(permit, payload(0), at=NOW)


def test_a_range_that_is_used_up_or_closed_gives_nothing() -> None:
    used_up = new_range(count=1)
    used_up.take(payload(0), owner="login", at=NOW)
    with pytest.raises(RangeUsedUp):
        used_up.take(payload(1), owner="login", at=NOW)
    closed = new_range()
    end = closed.close()
    with pytest.raises(RangeUsedUp):
        closed.take(payload(0), owner="login", at=NOW)
    assert closed.close() == end
    assert (end.range_id, end.used) == (closed.record.range_id, 0)


@given(st.integers(0, 12))
def test_the_end_states_the_digests_in_their_order(used: int) -> None:
    numbers = new_range(count=12)
    for number in range(used):
        numbers.take(payload(number), owner="login", at=NOW)
    end = numbers.close()
    assert end.used == used
    assert end.root == root_of(leaf_hash(payload(number).digest) for number in range(used))


def test_many_threads_get_each_number_once_and_no_more() -> None:
    numbers = new_range(count=1000)
    taken: list[Payload] = []

    def take(thread: int) -> None:
        for number in range(400):
            wanted = payload(thread * 1000 + number)
            try:
                permit = numbers.take(wanted, owner="login", at=NOW)
            except RangeUsedUp:
                return
            spend_permit(permit, wanted, at=NOW)
            taken.append(wanted)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1000
    assert numbers.close().used == 1000


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_gets_neither_number_nor_end_nor_permit() -> None:
    numbers = new_range()
    permit = numbers.take(payload(0), owner="login", at=NOW)
    forked = PermitForked.__name__
    assert in_child(lambda: numbers.take(payload(1), owner="login", at=NOW)) == forked
    assert in_child(lambda: spend_permit(permit, payload(0), at=NOW)) == forked
    assert in_child(numbers.close) == forked
    spend_permit(permit, payload(0), at=NOW)


def test_a_range_is_made_nowhere_else_and_goes_nowhere() -> None:
    numbers = new_range()
    with pytest.raises(TypeError):
        PermitRange(numbers.record)
    with pytest.raises(TypeError):
        pickle.dumps(numbers)
