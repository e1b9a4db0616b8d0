"""Signing under ranges: no commit on the way, the next range in time, every end recorded."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from signer.backend import Signature
from signer.errors import NoKeyForPurpose, PermitMismatch, PermitUnknown, RangeEndsLost, RangeUsedUp
from signer.payload import Payload, Purpose
from signer.permit import SigningPermit
from signer.permit_range import RangeEnd, RangeRecord
from signer.range_signer import LOGIN_CHALLENGE_RANGE, OCSP_RANGE, RangeSigner, RangeTerms
from tests.support.faults import await_fact
from tests.support.ledger import MemoryLedger
from tests.support.software_signer import SoftwareBackend
from tests.unit.signer.test_permit import Stopwatch
from tests.unit.signer.test_permit_range import LIFE, NOW, payload

QUIET = RangeTerms(3, LIFE, ahead=0)
BUSY = RangeTerms(8, LIFE, ahead=3)


class Bench:
    def __init__(
        self,
        terms: RangeTerms,
        ledger: MemoryLedger | None = None,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ledger = ledger or MemoryLedger()
        self.failures: list[Exception] = []
        key = ec.generate_private_key(ec.SECP256R1())
        self.backend = SoftwareBackend({Purpose.LOGIN_CHALLENGE: key})
        self.signer = RangeSigner(
            self.backend,
            self.ledger,
            purpose=Purpose.LOGIN_CHALLENGE,
            owner="login",
            terms=terms,
            failed=self.failures.append,
            stopwatch=stopwatch,
        )

    def sign(self, *numbers: int, at: datetime = NOW) -> None:
        for number in numbers:
            self.signer.sign(payload(number), owner="login", at=at)

    def used(self) -> list[int | None]:
        """What became of each range, in the order of their reservation."""
        ended = self.ledger.ended
        return [ended[name].used if name in ended else None for name in self.ledger.ranges]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(QUIET)
    yield made
    made.signer.close()


def test_nothing_is_reserved_before_the_first_signature(bench: Bench) -> None:
    with pytest.raises(NoKeyForPurpose):
        bench.signer.public_key(Purpose.AUDIT)
    assert bench.signer.public_key(Purpose.LOGIN_CHALLENGE) is not None
    assert not bench.ledger.ranges


def test_another_owner_is_refused(bench: Bench) -> None:
    with pytest.raises(PermitMismatch):
        bench.signer.sign(payload(0), owner="somebody", at=NOW)
    assert not bench.backend.signed


def test_a_range_that_is_used_up_is_followed_and_told_of(bench: Bench) -> None:
    bench.sign(0, 1, 2)
    assert bench.used() == [None]
    bench.sign(3)
    assert bench.used() == [3, None]
    bench.signer.close()
    assert bench.used() == [3, 1]
    assert len(bench.backend.signed) == 4
    with pytest.raises(RangeUsedUp, match="closed"):
        bench.sign(4)


def test_a_range_that_is_over_is_followed(bench: Bench) -> None:
    bench.sign(0)
    bench.sign(1, at=NOW + LIFE)
    assert bench.used() == [1, None]


def test_a_range_that_is_over_by_the_stopwatch_is_followed_even_behind_the_permit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopwatch = Stopwatch()
    bench = Bench(QUIET, stopwatch=stopwatch)
    bench.sign(0)
    stopwatch.seconds += LIFE.total_seconds()
    bench.sign(1)
    assert bench.used() == [1, None]
    backend_sign = bench.backend.sign

    def sign_late(permit: SigningPermit, signed: Payload, *, at: datetime) -> Signature:
        monkeypatch.undo()  # the first one only
        stopwatch.seconds += LIFE.total_seconds()
        return backend_sign(permit, signed, at=at)

    monkeypatch.setattr(bench.backend, "sign", sign_late)
    bench.sign(2)
    assert bench.used() == [1, 2, None]
    assert len(bench.backend.signed) == 3
    bench.signer.close()


def test_a_busy_purpose_has_its_next_range_in_time() -> None:
    bench = Bench(BUSY)
    bench.sign(*range(5))
    # The ledger has it a moment before the signer does, who would reserve another one in between.
    await_fact(lambda: bench.signer._next is not None)
    bench.sign(*range(5, 10))
    await_fact(lambda: bench.used() == [8, None])
    bench.signer.close()
    assert bench.used() == [8, 2]
    assert bench.failures == []


def test_no_signature_waits_for_a_reservation_ahead() -> None:
    class Slow(MemoryLedger):
        def __init__(self) -> None:
            super().__init__()
            self.may_go_on = threading.Event()

        def reserve_range(self, record: RangeRecord) -> None:
            if self.ranges:
                self.may_go_on.wait(60)
            super().reserve_range(record)

    ledger = Slow()
    bench = Bench(BUSY, ledger)
    bench.sign(*range(8))
    assert len(bench.backend.signed) == 8
    ledger.may_go_on.set()
    bench.signer.close()
    assert bench.used() == [8, 0]


def test_a_ledger_that_is_away_stops_signing_only_when_the_range_is_used_up() -> None:
    class Down(MemoryLedger):
        is_down = False

        def reserve_range(self, record: RangeRecord) -> None:
            if self.is_down:
                raise OSError("down")
            super().reserve_range(record)

    ledger = Down()
    bench = Bench(BUSY, ledger)
    bench.sign(0)
    ledger.is_down = True
    bench.sign(*range(1, 5))
    await_fact(lambda: len(bench.failures) == 1)
    bench.sign(5, 6, 7)  # within a second it is not tried again
    with pytest.raises(OSError, match="down"):
        bench.sign(8)
    assert len(bench.failures) == 1
    ledger.is_down = False
    bench.sign(8, at=NOW + timedelta(seconds=1))
    bench.signer.close()
    assert bench.used() == [8, 1]


def test_an_end_that_cannot_be_recorded_is_recorded_later() -> None:
    class Down(MemoryLedger):
        is_down = True

        def end_range(self, end: RangeEnd) -> None:
            if self.is_down:
                raise OSError("down")
            super().end_range(end)

    ledger = Down()
    bench = Bench(QUIET, ledger)
    bench.sign(*range(4))
    assert bench.used() == [None, None]
    assert len(bench.failures) == 1
    ledger.is_down = False
    bench.signer.close()
    assert bench.used() == [3, 1]


def test_an_end_whose_answer_was_lost_stops_no_other() -> None:
    class Silent(MemoryLedger):
        is_lost = True

        def end_range(self, end: RangeEnd) -> None:
            super().end_range(end)
            if self.is_lost:
                raise OSError("no answer")

    ledger = Silent()
    bench = Bench(QUIET, ledger)
    bench.sign(*range(4))
    ledger.is_lost = False
    bench.sign(*range(4, 7))
    assert [str(error) for error in bench.failures] == ["no answer"]
    assert bench.used() == [3, 3, None]
    bench.signer.close()
    assert bench.used() == [3, 3, 1]


def test_an_end_that_the_ledger_does_not_know_is_told_of_once_and_given_up() -> None:
    class Forgetful(MemoryLedger):
        def end_range(self, end: RangeEnd) -> None:
            if end.range_id == next(iter(self.ranges)):
                raise PermitUnknown(end.range_id)
            super().end_range(end)

    bench = Bench(QUIET, Forgetful())
    bench.sign(*range(10))
    assert [type(error) for error in bench.failures] == [PermitUnknown]
    assert bench.used() == [None, 3, 3, None]
    bench.signer.close()
    assert bench.used() == [None, 3, 3, 1]
    assert len(bench.failures) == 1


def test_ends_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Down(MemoryLedger):
        is_down = True

        def end_range(self, end: RangeEnd) -> None:
            if self.is_down:
                raise OSError("down")
            super().end_range(end)

    monkeypatch.setattr("signer.range_signer.MAX_KEPT_ENDS", 2)
    ledger = Down()
    bench = Bench(QUIET, ledger)
    bench.sign(*range(10))
    told = [error for error in bench.failures if isinstance(error, RangeEndsLost)]
    assert [str(error) for error in told] == ["1 range(s) stay open, as if used to their ends"]
    ledger.is_down = False
    bench.signer.close()
    assert bench.used() == [None, 3, 3, 1]


def test_many_threads_sign_each_once_and_every_signature_is_accounted_for() -> None:
    bench = Bench(BUSY)
    threads = [
        threading.Thread(target=bench.sign, args=range(start, start + 50))
        for start in range(0, 400, 50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.signer.close()
    assert len(bench.backend.signed) == 400
    assert sum(used or 0 for used in bench.used()) == 400
    assert bench.failures == []


@pytest.mark.parametrize("terms", [LOGIN_CHALLENGE_RANGE, OCSP_RANGE])
def test_the_sizes_in_use_make_sense(terms: RangeTerms) -> None:
    assert 0 <= terms.ahead < terms.count
    assert terms.life <= timedelta(minutes=10)
