"""What comes in at the same moment is carried out together; nobody waits for company."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapi.elections.combining import Combiner

SECONDS = 10.0


class Gathered:
    """Carries out groups, the first of which stands still until it is let go."""

    def __init__(self, *, most: int) -> None:
        self.groups: list[list[int]] = []
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.combiner = Combiner(self.carry_out, most=most)

    def carry_out(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        if len(self.groups) == 1:
            self.entered.set()
            assert self.leave.wait(SECONDS)
        if -1 in items:
            raise LookupError("a bad item")
        return [item * item for item in items]

    def await_waiting(self, count: int) -> None:
        deadline = threading.Event()
        for _ in range(1000):
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
