"""A bounded pool of places, each with one session and one thread that owns it.

A call into a PKCS#11 module can hang, and a thread that hangs in it cannot be ended. So a call is
made on the place's own thread, and whoever asked waits for it with a deadline: past that it gets
TokenHung, the place is given up and the pool is smaller by one, until the call returns after all.
What such a call brings then goes to nobody. (ADR 0016)
"""

import _thread
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar, cast

from pkcs11_bridge.errors import SessionsClosed, TokenBusy, TokenHung
from pkcs11_bridge.login import PooledSession
from pkcs11_bridge.pool_observer import PoolObserver

Result = TypeVar("Result")


class _Call:
    """One call on a place's thread; its answer belongs to whoever claims it first."""

    __slots__ = ("answered", "claim", "error", "result", "task")

    def __init__(self, task: Callable[[], object]) -> None:
        self.task: Final = task
        self.result: object = None
        self.error: BaseException | None = None
        self.claim: Final = _thread.allocate_lock()
        # A bare lock costs a third of an Event, and each signature waits for one.
        self.answered: Final = _thread.allocate_lock()
        self.answered.acquire()


class Place:
    """A place in the pool; whoever took it has its session alone.

    Attributes:
        pooled: the session that is open there, if any.
    """

    def __init__(self, pool: "Pool") -> None:
        self.pooled: PooledSession | None = None
        self._pool = pool
        self._thread: threading.Thread | None = None
        self._call: _Call | None = None
        self._wake = _thread.allocate_lock()
        self._wake.acquire()

    def begin(self, call: _Call) -> None:
        """Have a call made by this place's thread, which puts the place back.

        Raises:
            RuntimeError: the system gives no thread; the place is as before.
        """
        if self._thread is None:
            thread = threading.Thread(
                target=self._serve, name=f"token-{self._pool.name}", daemon=True
            )
            thread.start()
            self._thread = thread
        self._call = call
        self._wake.release()

    def end(self) -> None:
        """End the thread, if there is one; for a place that nobody has."""
        if self._thread is not None:
            self._call = None
            self._wake.release()

    def _serve(self) -> None:
        while True:
            self._wake.acquire()
            call = self._call
            if call is None:
                return
            try:
                call.result = call.task()
            except BaseException as error:  # noqa: BLE001 - it is whoever asked that it is for
                call.error = error
            self._call = None
            if call.claim.acquire(blocking=False):
                # Back before the answer: the next in line need not wait for who gets this one.
                self._pool.put_back(self)
                call.answered.release()
            else:
                self._pool.came_back(self)


class Pool:
    """Places for a number of calls at once, and a bounded number of threads that wait for one.

    Args:
        name: for the names of threads.
        size: number of places.
        max_waiting: so many threads may wait for a place, any further is refused at once.
        observer: is told what happens.
        hung_changed: is told how many places wait for a call that does not return, whenever that
            changes.
    """

    def __init__(
        self,
        name: str,
        *,
        size: int,
        max_waiting: int,
        observer: PoolObserver,
        hung_changed: Callable[[int], None],
    ) -> None:
        self.name = name
        self.size = size
        self._max_waiting = max_waiting
        self._observer = observer
        self._hung_changed = hung_changed
        # The place that was used last is used next: its session is the likeliest to be alive.
        self._free = deque(Place(self) for _ in range(size))
        self._changed = threading.Condition()
        self._waiting = 0
        self._given_up = 0
        self._is_closed = False

    @property
    def given_up(self) -> int:
        """How many places wait for a call that does not return."""
        return self._given_up

    def take(self, wait_seconds: float) -> Place:
        """A place for this thread alone, to be put back.

        Raises:
            TokenBusy: none was free for so long, or too many wait already.
            TokenHung: every place is given up.
            SessionsClosed: the pool was closed.
        """
        began = time.monotonic()
        self._observer.waiting()
        try:
            place = self._pop() or self._wait(began + wait_seconds)
        except (TokenBusy, TokenHung, SessionsClosed) as error:
            self._observer.refused(type(error).__name__)
            raise
        self._observer.taken(time.monotonic() - began)
        return place

    def put_back(self, place: Place) -> None:
        """Make a place free for the next."""
        self._observer.returned()
        self._release(place)

    def perform(self, place: Place, task: Callable[[], Result], seconds: float) -> Result:
        """Have a task done by the thread of a place that was taken; the place is put back.

        Args:
            place: from `take`.
            task: what to do; its error is raised here.
            seconds: how long to wait for its end.

        Raises:
            TokenBusy: the system gives no thread.
            TokenHung: it did not end in time. What it brings later is dropped.
        """
        call = _Call(task)
        try:
            place.begin(call)
        except RuntimeError as error:
            self.put_back(place)
            raise TokenBusy("no thread can be started for a call into the module") from error
        if not call.answered.acquire(timeout=seconds):
            if self._give_up(call):
                raise TokenHung(f"a call into the module has not returned for {seconds:g} s")
            # Just in time: the place's thread has the claim and is about to answer.
            call.answered.acquire()
        if call.error is not None:
            raise call.error
        return cast("Result", call.result)

    def came_back(self, place: Place) -> None:
        """A call that was given up has returned: its place is there again."""
        with self._changed:
            self._given_up -= 1
            self._hung_changed(self._given_up)
        self._observer.came_back()
        self._release(place)

    def close(self) -> None:
        """Give out no more; the threads end, each when its place is free."""
        with self._changed:
            self._is_closed = True
            self._end_free()
            self._changed.notify_all()

    def _pop(self) -> Place | None:
        # Nobody overtakes those who wait.
        if self._waiting or self._is_closed:
            return None
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _wait(self, deadline: float) -> Place:
        with self._changed:
            if self._waiting >= self._max_waiting:
                raise TokenBusy(f"{self._waiting} threads wait for a session already")
            self._waiting += 1
            is_late = False
            try:
                while True:
                    self._require_hope()
                    # One that was free may be gone: taken by whoever saw nobody wait.
                    with suppress(IndexError):
                        return self._free.pop()
                    if is_late:
                        raise TokenBusy("all sessions on the token are in use")
                    is_late = not self._changed.wait(deadline - time.monotonic())
            finally:
                self._waiting -= 1

    def _require_hope(self) -> None:
        if self._is_closed:
            raise SessionsClosed("these sessions were closed")
        if self._given_up >= self.size:
            raise TokenHung("no call into the module returns: every session is given up")

    def _release(self, place: Place) -> None:
        self._free.append(place)
        if self._waiting or self._is_closed:
            with self._changed:
                if self._is_closed:
                    self._end_free()
                self._changed.notify()

    def _end_free(self) -> None:
        while self._free:
            self._free.pop().end()

    def _give_up(self, call: _Call) -> bool:
        """Give a call up, unless its thread has claimed it meanwhile."""
        # Claimed and counted in one: whoever comes back at this moment is not counted before.
        with self._changed:
            if not call.claim.acquire(blocking=False):
                return False
            self._given_up += 1
            left = self.size - self._given_up
            self._hung_changed(self._given_up)
            self._changed.notify_all()
        self._observer.returned()
        self._observer.given_up(left)
        return True
