"""The pool's places, threads and deadlines, without a token."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from pkcs11_bridge.errors import SessionsClosed, TokenBusy, TokenHung
from pkcs11_bridge.pool import Place, Pool
from tests.support.faults import await_fact
from tests.support.pool_ear import PoolEar

LONG = 30.0
"""Seconds that nobody waits for."""


class Stage:
    """A pool, and calls that hang in it until they are let go."""

    def __init__(self, size: int, max_waiting: int = 8) -> None:
        self.heard = PoolEar()
        self.hung = list[int]()
        self.pool = Pool(
            "test",
            size=size,
            max_waiting=max_waiting,
            observer=self.heard,
            hung_changed=self.hung.append,
        )

    def perform(self, task: Callable[[], object], seconds: float = LONG) -> object:
        return self.pool.perform(self.pool.take(0.05), task, seconds)

    @contextmanager
    def hanging(self, count: int) -> Iterator[None]:
        """So many calls do not return before the block's end, and were given up."""
        over = threading.Event()
        try:
            for _ in range(count):
                with pytest.raises(TokenHung):
                    self.perform(over.wait, 0.01)
            yield
        finally:
            over.set()


@pytest.fixture
def stage() -> Stage:
    return Stage(2)


def test_results_and_errors_come_back_to_whoever_asked(stage: Stage) -> None:
    assert stage.perform(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        stage.perform(lambda: 1 // 0)
    assert stage.perform(lambda: 8) == 8
    assert stage.heard.count == {"waiting": 3, "taken": 3, "returned": 3}


def test_one_place_is_one_thread_and_one_call_at_a_time() -> None:
    stage = Stage(3, max_waiting=8)
    inside, most, threads = Counter[str](), [0], set[str]()
    lock = threading.Lock()

    def work() -> None:
        name = str(threading.get_ident())
        with lock:
            inside[name] += 1
            threads.add(name)
            most.append(max(inside.values()))
        with lock:
            inside[name] -= 1

    def ask() -> None:
        for _ in range(200):
            stage.pool.perform(stage.pool.take(LONG), work, LONG)

    with ThreadPoolExecutor(8) as callers:
        for future in [callers.submit(ask) for _ in range(8)]:
            future.result()
    assert max(most) == 1
    assert 1 <= len(threads) <= 3


def test_a_wait_in_vain_is_busy(stage: Stage) -> None:
    places = [stage.pool.take(0.05) for _ in range(2)]
    with pytest.raises(TokenBusy):
        stage.pool.take(0.01)
    stage.pool.put_back(places[0])
    assert stage.pool.take(0.01) is places[0]
    assert stage.heard.refusals == ["TokenBusy"]


def test_the_queue_has_an_end() -> None:
    stage = Stage(1, max_waiting=2)
    place = stage.pool.take(0.05)

    def take_and_put_back() -> None:
        stage.pool.put_back(stage.pool.take(LONG))

    with ThreadPoolExecutor(2) as callers:
        waiting = [callers.submit(take_and_put_back) for _ in range(2)]
        await_fact(lambda: stage.pool._waiting == 2)
        with pytest.raises(TokenBusy, match="2 threads wait"):
            stage.pool.take(LONG)
        stage.pool.put_back(place)
        for future in waiting:
            future.result(LONG)


def test_a_call_that_hangs_costs_its_place_and_nobody_elses(stage: Stage) -> None:
    with stage.hanging(1):
        assert stage.pool.given_up == 1
        assert stage.hung == [1]
        assert [stage.perform(lambda: "well") for _ in range(3)] == ["well"] * 3
        assert stage.heard.left == [1]
    stage.heard.await_count("came_back", 1)
    assert stage.pool.given_up == 0
    assert stage.hung == [1, 0]
    places = {stage.pool.take(0.05) for _ in range(2)}
    assert len(places) == 2


def test_where_all_hang_nobody_waits(stage: Stage) -> None:
    with stage.hanging(2):
        assert stage.heard.left == [1, 0]
        with pytest.raises(TokenHung):
            stage.pool.take(LONG)
    stage.heard.await_count("came_back", 2)
    assert stage.perform(lambda: "well") == "well"


def test_those_who_wait_are_told_when_the_last_place_is_given_up() -> None:
    stage, over = Stage(1), threading.Event()
    try:
        with ThreadPoolExecutor(2) as callers:
            place = stage.pool.take(0.05)
            waiting = callers.submit(stage.pool.take, LONG)
            with pytest.raises(TokenHung):
                stage.pool.perform(place, over.wait, 0.05)
            assert isinstance(waiting.exception(LONG), TokenHung)
    finally:
        over.set()


def test_what_a_call_brings_late_goes_to_nobody(stage: Stage) -> None:
    over, brought = threading.Event(), list[str]()

    def late() -> str:
        over.wait()
        brought.append("late")
        return "late"

    with pytest.raises(TokenHung):
        stage.perform(late, 0.01)
    over.set()
    stage.heard.await_count("came_back", 1)
    assert brought == ["late"]
    assert [stage.perform(lambda: "new") for _ in range(4)] == ["new"] * 4


def test_a_closed_pool_gives_nothing_and_its_threads_end(stage: Stage) -> None:
    stage.perform(lambda: None)
    place = stage.pool.take(0.05)
    assert place._thread is not None
    stage.pool.close()
    with pytest.raises(SessionsClosed):
        stage.pool.take(LONG)
    stage.pool.put_back(place)
    place._thread.join(LONG)
    assert not place._thread.is_alive()


def test_without_a_new_thread_it_is_busy_and_no_place_is_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(TokenBusy, match="no thread"):
                stage.perform(lambda: None)
    assert [stage.perform(lambda: "well") for _ in range(3)] == ["well"] * 3
    assert len({stage.pool.take(0.05) for _ in range(2)}) == 2


class Snatched(deque[Place]):
    """Free places, of which the first that somebody waited for is taken by another just before."""

    snatched: Place | None = None

    def pop(self, *_index: int) -> Place:
        if self and self.snatched is None:
            self.snatched = super().pop()
            raise IndexError
        return super().pop()


def test_whoever_waits_goes_on_waiting_when_another_was_quicker() -> None:
    stage = Stage(1)
    place = stage.pool.take(0.05)
    free = stage.pool._free = Snatched()
    with ThreadPoolExecutor(1) as callers:
        waiting = callers.submit(stage.pool.take, LONG)
        await_fact(lambda: stage.pool._waiting == 1)
        stage.pool.put_back(place)
        await_fact(lambda: free.snatched is place)
        stage.pool.put_back(place)
        assert waiting.result(LONG) is place
