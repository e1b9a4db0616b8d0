"""The pool's places, threads and deadlines, without a token."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from pkcs11_bridge import pool as pool_module
from pkcs11_bridge.errors import SessionsClosed, TokenBusy, TokenHung
from pkcs11_bridge.pool import Place, Pool
from tests.support.faults import await_fact
from tests.support.pool_ear import PoolEar

LONG = 120.0
"""Seconds that nobody waits for."""
SHORT = 0.05


class Stage:
    """A pool, and calls that stay in it until they are let go."""

    def __init__(self, size: int, max_waiting: int = 8) -> None:
        self.heard = PoolEar()
        self.hung = list[int]()
        self.places = list[Place]()
        self.threads = set[threading.Thread]()
        self.pool = Pool(
            "test",
            size=size,
            max_waiting=max_waiting,
            observer=self.heard,
            hung_changed=self.hung.append,
        )

    def perform(
        self, task: Callable[[], object], wait_seconds: float = LONG, call_seconds: float = LONG
    ) -> object:
        def noting(place: Place) -> object:
            self.places.append(place)
            self.threads.add(threading.current_thread())
            return task()

        return self.pool.perform(noting, wait_seconds, call_seconds)

    @contextmanager
    def hanging(self, count: int) -> Iterator[None]:
        """So many calls do not return before the block's end, and were given up."""
        over = threading.Event()
        try:
            for _ in range(count):
                with pytest.raises(TokenHung):
                    self.perform(over.wait, call_seconds=0.01)
            yield
        finally:
            over.set()

    @contextmanager
    def using(self, count: int) -> Iterator[None]:
        """So many places have a call that lasts until the block's end."""
        over, inside = threading.Event(), threading.Semaphore(0)

        def stay() -> None:
            inside.release()
            assert over.wait(LONG)

        with ThreadPoolExecutor(count) as callers, ExitStack() as stack:
            stack.callback(over.set)
            calls = [callers.submit(self.perform, stay) for _ in range(count)]
            for _ in calls:
                assert inside.acquire(timeout=LONG)
            yield
            over.set()
            for call in calls:
                call.result(LONG)

    @contextmanager
    def waiting(self, count: int) -> Iterator[list[Future[object]]]:
        """So many calls wait in the queue; each is to bring its number."""
        with ThreadPoolExecutor(count) as callers:
            calls = []
            for number in range(count):
                calls.append(callers.submit(self.perform, partial(int, number)))
                await_fact(lambda: len(self.pool._waiting) == len(calls))
            yield calls


@pytest.fixture
def stage() -> Stage:
    return Stage(2)


def test_results_and_errors_come_back_to_whoever_asked(stage: Stage) -> None:
    assert stage.perform(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        stage.perform(lambda: 1 // 0)
    assert stage.perform(lambda: 8) == 8
    assert stage.heard.count == {"waiting": 3, "taken": 3, "returned": 3}


def test_the_place_that_was_used_last_is_used_next(stage: Stage) -> None:
    with stage.using(2):
        pass
    last = stage.pool._idle[-1]
    for _ in range(3):
        stage.perform(lambda: None)
    assert set(stage.places[2:]) == {last}


def test_one_place_is_one_thread_and_one_call_at_a_time() -> None:
    stage = Stage(3)
    inside, most, threads = Counter[Place](), [0], dict[Place, set[int]]()
    lock = threading.Lock()

    def work(place: Place) -> None:
        with lock:
            inside[place] += 1
            threads.setdefault(place, set()).add(threading.get_ident())
            most.append(max(inside.values()))
        with lock:
            inside[place] -= 1

    def ask() -> None:
        for _ in range(200):
            stage.pool.perform(work, LONG, LONG)

    with ThreadPoolExecutor(8) as callers:
        for future in [callers.submit(ask) for _ in range(8)]:
            future.result()
    assert max(most) == 1
    assert 1 <= len(threads) <= 3
    assert all(len(of_place) == 1 for of_place in threads.values())


def test_those_who_wait_are_served_as_they_came() -> None:
    stage, order = Stage(1), list[object]()
    with ExitStack() as stack, stage.using(1):
        calls = stack.enter_context(stage.waiting(3))
        for call in calls:
            call.add_done_callback(lambda done: order.append(done.result()))
    assert sorted(order, key=str) == [0, 1, 2]
    assert [call.result(LONG) for call in calls] == [0, 1, 2]
    assert len(set(stage.places)) == 1


def test_a_wait_in_vain_is_busy_and_the_call_is_never_made(stage: Stage) -> None:
    made = list[str]()
    with stage.using(2), pytest.raises(TokenBusy):
        stage.perform(lambda: made.append("late"), wait_seconds=0.01)
    assert stage.perform(lambda: "next") == "next"
    assert made == []
    assert stage.heard.refusals == ["TokenBusy"]
    assert stage.heard.count["taken"] == stage.heard.count["returned"] == 3


def test_the_queue_has_an_end() -> None:
    stage = Stage(1, max_waiting=2)
    with ExitStack() as stack:
        with stage.using(1):
            waiting = stack.enter_context(stage.waiting(2))
            with pytest.raises(TokenBusy, match="2 calls wait"):
                stage.perform(lambda: None)
        assert [call.result(LONG) for call in waiting] == [0, 1]


def test_a_call_that_hangs_costs_its_place_and_nobody_elses(stage: Stage) -> None:
    with stage.hanging(1):
        assert stage.pool.given_up == 1
        assert stage.hung == [1]
        assert [stage.perform(lambda: "well") for _ in range(3)] == ["well"] * 3
        assert stage.heard.left == [1]
    stage.heard.await_count("came_back", 1)
    assert stage.pool.given_up == 0
    assert stage.hung == [1, 0]
    stage.places.clear()
    with stage.using(2):
        pass
    assert len(set(stage.places)) == 2


def test_a_call_that_waited_and_then_hangs_is_given_up_in_its_own_time() -> None:
    stage, over = Stage(1), threading.Event()
    try:
        with ThreadPoolExecutor(1) as callers:
            with stage.using(1):
                call = callers.submit(stage.perform, over.wait, LONG, SHORT)
                await_fact(lambda: len(stage.pool._waiting) == 1)
            # Well before the two minutes that it would have waited for its beginning.
            assert isinstance(call.exception(LONG / 2), TokenHung)
    finally:
        over.set()


def test_where_all_hang_nobody_waits(stage: Stage) -> None:
    with stage.hanging(2):
        assert stage.heard.left == [1, 0]
        with pytest.raises(TokenHung, match="every session"):
            stage.perform(lambda: None)
    stage.heard.await_count("came_back", 2)
    assert stage.perform(lambda: "well") == "well"


def test_those_who_wait_are_told_when_the_last_place_is_given_up() -> None:
    stage, behind_it, over = Stage(1), threading.Event(), threading.Event()

    def hang(place: Place) -> None:
        # Not given up before somebody waits behind it.
        assert behind_it.wait(LONG)
        place.allow(SHORT)
        assert over.wait(LONG)

    try:
        with ThreadPoolExecutor(1) as callers:
            hanging = callers.submit(stage.pool.perform, hang, LONG, LONG)
            stage.heard.await_count("taken", 1)
            with stage.waiting(1) as waiting:
                behind_it.set()
                assert isinstance(waiting[0].exception(LONG), TokenHung)
            assert isinstance(hanging.exception(LONG), TokenHung)
    finally:
        over.set()
    assert stage.heard.refusals == ["TokenHung"]


def test_a_place_that_comes_back_goes_on_with_those_who_wait() -> None:
    stage = Stage(2)
    with ExitStack() as stack:
        stack.enter_context(stage.using(1))
        with stage.hanging(1):
            waiting = stack.enter_context(stage.waiting(1))
        assert waiting[0].result(LONG) == 0


def test_what_a_call_brings_late_goes_to_nobody(stage: Stage) -> None:
    over, brought = threading.Event(), list[str]()

    def late() -> str:
        over.wait()
        brought.append("late")
        return "late"

    with pytest.raises(TokenHung):
        stage.perform(late, call_seconds=0.01)
    over.set()
    stage.heard.await_count("came_back", 1)
    assert brought == ["late"]
    assert [stage.perform(lambda: "new") for _ in range(4)] == ["new"] * 4


def test_a_call_that_ends_while_it_is_looked_after_is_answered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, ended = threading.Event(), threading.Event()
    look_after = stage.pool._look_after

    def look_late(*arguments: object) -> None:
        # The lock is held here: the call's end is let in between.
        stage.pool._lock.release()
        over.set()
        assert ended.wait(LONG)
        await_fact(lambda: len(stage.pool._idle) == 1)
        stage.pool._lock.acquire()
        look_after(*arguments)  # type: ignore[arg-type]  # what the pool gave

    monkeypatch.setattr(stage.pool, "_look_after", look_late)

    def end() -> str:
        assert over.wait(LONG)
        ended.set()
        return "just in time"

    assert stage.perform(end, call_seconds=0.01) == "just in time"
    assert stage.pool.given_up == 0


def test_a_closed_pool_begins_nothing_and_its_threads_end(stage: Stage) -> None:
    stage.perform(lambda: None)
    with stage.using(2):
        with ExitStack() as stack:
            waiting = stack.enter_context(stage.waiting(1))
            stage.pool.close()
            assert isinstance(waiting[0].exception(LONG), SessionsClosed)
        with pytest.raises(SessionsClosed):
            stage.perform(lambda: None)
    assert len(stage.threads) == 2
    for thread in stage.threads:
        thread.join(LONG)
        assert not thread.is_alive()


def test_the_threads_of_idle_places_end_too(stage: Stage) -> None:
    stage.perform(lambda: None)
    stage.pool.close()
    for thread in stage.threads:
        thread.join(LONG)
        assert not thread.is_alive()


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
    assert stage.heard.refusals == ["TokenBusy"] * 3
    stage.places.clear()
    with stage.using(2):
        pass
    assert len(set(stage.places)) == 2


def test_a_call_may_get_less_time_than_it_was_given(stage: Stage) -> None:
    over = threading.Event()

    def hang(place: Place) -> None:
        place.allow(SHORT)
        assert over.wait(LONG)

    try:
        with ThreadPoolExecutor(1) as callers:
            call = callers.submit(stage.pool.perform, hang, LONG, LONG)
            assert isinstance(call.exception(LONG / 2), TokenHung)
    finally:
        over.set()


def test_a_call_may_get_more_time_than_it_was_given(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looks = [100.0], list[None]()
    look_after = stage.pool._look_after

    def noting(*arguments: Any) -> None:
        look_after(*arguments)
        looks.append(None)

    # The time that it was given is over when the test says so, and then it is looked after.
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(pool_module, "_LOOK_SECONDS", SHORT)
    monkeypatch.setattr(stage.pool, "_look_after", noting)

    def stay(place: Place) -> str:
        place.allow(LONG)
        now[0] += 2 * SHORT
        before = len(looks)
        await_fact(lambda: len(looks) > before + 1)  # one of them may have begun before
        return "well"

    assert stage.pool.perform(stay, LONG, SHORT) == "well"
    assert stage.pool.given_up == 0


def test_a_call_that_was_given_up_goes_no_further(stage: Stage) -> None:
    over, ended = threading.Event(), list[BaseException]()

    def wait_and_go_on(place: Place) -> None:
        assert over.wait(LONG)
        with pytest.raises(TokenHung) as caught:
            place.allow(LONG)
        ended.append(caught.value)

    with pytest.raises(TokenHung):
        stage.pool.perform(wait_and_go_on, LONG, 0.01)
    over.set()
    stage.heard.await_count("came_back", 1)
    assert len(ended) == 1


def test_a_call_whose_caller_was_interrupted_is_not_begun(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience, caller = pool_module._patience, threading.current_thread()

    def interrupt(call: Any, wait_seconds: float) -> float:
        # Those who use the places may only now begin to wait.
        if threading.current_thread() is caller:
            raise KeyboardInterrupt
        return patience(call, wait_seconds)

    made = list[str]()
    with stage.using(2):
        with monkeypatch.context() as context:
            context.setattr(pool_module, "_patience", interrupt)
            with pytest.raises(KeyboardInterrupt):
                stage.perform(lambda: made.append("late"))
        assert not stage.pool._waiting
    assert stage.perform(lambda: "next") == "next"
    assert made == []
