"""What comes in at the same moment is carried out together; nobody waits for company."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapi.elections.combining import Combiner
from webapi.storage.errors import DatabaseBusy

SECONDS = 60.0


class Gathered:
    """Carries out groups, the first of which stands still until it is let go."""

    def __init__(self, *, most: int, patience: float = SECONDS, longest: float = SECONDS) -> None:
        self.groups: list[list[int]] = []
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.unstick = threading.Event()
        self.combiner = Combiner(self.carry_out, most=most, patience=patience, longest=longest)

    def carry_out(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        if len(self.groups) == 1:
            self.entered.set()
            assert self.leave.wait(SECONDS)
        if -1 in items:
            raise LookupError("a bad item")
        if -3 in items:
            assert self.unstick.wait(SECONDS)
        if -2 in items:
            raise DatabaseBusy("a stuck item")
        return [item * item for item in items]

    def await_waiting(self, count: int) -> None:
        deadline = threading.Event()
        for _ in range(6000):
            if len(self.combiner._waiting) == count:
                return
            deadline.wait(0.01)
        raise AssertionError(self.combiner._waiting)


def test_alone_and_at_once() -> None:
    combiner: Combiner[int, str] = Combiner(lambda items: [str(item) for item in items], most=10)
    assert [combiner.submit(number) for number in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize(("most", "sizes"), [(100, [1, 8]), (3, [1, 3, 3, 2]), (1, [1] * 9)])
def test_who_comes_meanwhile_is_the_next_group(most: int, sizes: list[int]) -> None:
    gathered = Gathered(most=most)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(gathered.combiner.submit, 100)
        assert gathered.entered.wait(SECONDS)
        others = [pool.submit(gathered.combiner.submit, number) for number in range(8)]
        gathered.await_waiting(8)
        gathered.leave.set()
        assert first.result(SECONDS) == 10_000
        assert [other.result(SECONDS) for other in others] == [n * n for n in range(8)]
    assert [len(group) for group in gathered.groups] == sizes


def test_a_failure_is_told_to_its_group_alone() -> None:
    gathered = Gathered(most=2)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(gathered.combiner.submit, 100)
        assert gathered.entered.wait(SECONDS)
        others = []
        for number in (-1, 2, 3, 4):
            others.append(pool.submit(gathered.combiner.submit, number))
            gathered.await_waiting(len(others))
        gathered.leave.set()
        assert first.result(SECONDS) == 10_000
        for failed in others[:2]:
            with pytest.raises(LookupError):
                failed.result(SECONDS)
        assert [other.result(SECONDS) for other in others[2:]] == [9, 16]
    assert gathered.combiner.submit(5) == 25


def test_a_stuck_item_fails_alone() -> None:
    gathered = Gathered(most=5)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(gathered.combiner.submit, 100)
        assert gathered.entered.wait(SECONDS)
        others = [pool.submit(gathered.combiner.submit, number) for number in (3, -2, 4, 5)]
        gathered.await_waiting(4)
        gathered.leave.set()
        assert first.result(SECONDS) == 10_000
        with pytest.raises(DatabaseBusy, match="stuck"):
            others[1].result(SECONDS)
        assert [others[n].result(SECONDS) for n in (0, 2, 3)] == [9, 16, 25]
    assert [len(group) for group in gathered.groups] == [1, 4, 1, 1, 1, 1]


def test_a_stuck_item_that_was_alone_is_not_tried_again() -> None:
    gathered = Gathered(most=5)
    gathered.leave.set()
    with pytest.raises(DatabaseBusy, match="stuck"):
        gathered.combiner.submit(-2)
    assert gathered.groups == [[-2]]


def test_nobody_waits_for_a_group_that_hangs() -> None:
    gathered = Gathered(most=5, patience=0.1)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(gathered.combiner.submit, 100)
        assert gathered.entered.wait(SECONDS)
        others = [pool.submit(gathered.combiner.submit, number) for number in range(4)]
        assert [other.result(SECONDS) for other in others] == [0, 1, 4, 9]
        # The lead is free again; the overtaken leader neither passes it on nor takes it.
        assert gathered.combiner.submit(6) == 36
        assert not first.done()
        gathered.leave.set()
        assert first.result(SECONDS) == 10_000
    assert gathered.combiner.submit(7) == 49
    carried_out = [item for group in gathered.groups for item in group]
    assert sorted(carried_out) == [0, 1, 2, 3, 6, 7, 100]


def test_who_is_in_a_group_that_hangs_is_told_so() -> None:
    # All three have to be there before the patience of one of them is over.
    gathered = Gathered(most=5, patience=5.0, longest=0.1)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(gathered.combiner.submit, 100)
        assert gathered.entered.wait(SECONDS)
        leader = pool.submit(gathered.combiner.submit, -3)
        gathered.await_waiting(1)
        follower = pool.submit(gathered.combiner.submit, 2)
        gathered.await_waiting(2)
        gathered.leave.set()
        assert first.result(SECONDS) == 10_000
        with pytest.raises(DatabaseBusy, match="does not end"):
            follower.result(SECONDS)
        gathered.unstick.set()
        assert leader.result(SECONDS) == 9
    assert gathered.groups == [[100], [-3, 2]]


def test_too_few_outcomes_are_nobody_s() -> None:
    combiner: Combiner[int, int] = Combiner(lambda _items: [], most=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="zip"):
            combiner.submit(1)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60), st.integers(1, 7))
def test_everybody_gets_their_own_outcome(items: list[int], most: int) -> None:
    combiner: Combiner[int, int] = Combiner(
        lambda group: [item * item for item in group], most=most
    )
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(combiner.submit, items)) == [item * item for item in items]
