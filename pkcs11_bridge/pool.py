"""A bounded pool of places, each with one session and one thread that owns it.

A call into a PKCS#11 module can hang, and a thread that hangs in it cannot be ended. So a call is
made on a place's own thread, and whoever asked waits for it with a deadline: past that it gets
TokenHung, the place is given up and the pool is smaller by one, until the call returns after all.
What such a call brings then goes to nobody. Calls that find no place free stand in a bounded
queue, and a place that is done goes on with the first of them, without a rest. (ADR 0016)
"""

import _thread
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar, cast

from pkcs11_bridge.errors import SessionsClosed, TokenBusy, TokenError, TokenHung
from pkcs11_bridge.login import PooledSession
from pkcs11_bridge.pool_observer import PoolObserver

_LOOK_SECONDS = 1.0

Result = TypeVar("Result")


class Place:
    """A place in the pool: one thread, and the session that it alone uses.

    Attributes:
        pooled: the session that is open there, if any.
    """

    __slots__ = ("call", "pooled", "wake")

    def __init__(self) -> None:
        self.pooled: PooledSession | None = None
        self.call: _Call | None = None
        # A bare lock costs a third of an Event, and each signature waits for one.
        self.wake: Final = _thread.allocate_lock()
        self.wake.acquire()

    def allow(self, seconds: float) -> None:
        """Let the call that is made here take so long from now, whatever it was given.

        Raises:
            TokenHung: nobody waits for it any more, so the token is not asked.
        """
        if self.call is None or self.call.is_over:
            raise TokenHung("whoever asked was told already that this call hangs")
        self.call.ends_by = time.monotonic() + seconds


class _Call:
    """One call: it waits, begins, and is over when it has ended or was given up."""

    __slots__ = (
        "answered",
        "asked_at",
        "ends_by",
        "error",
        "is_over",
        "result",
        "seconds",
        "task",
        "waited",
    )

    def __init__(self, task: Callable[[Place], object], asked_at: float, seconds: float) -> None:
        self.task: Final = task
        self.seconds: Final = seconds
        self.asked_at: Final = asked_at
        self.ends_by: float | None = None  # none before it is begun
        self.waited = 0.0
        self.is_over = False
        self.result: object = None
        self.error: BaseException | None = None
        self.answered: Final = _thread.allocate_lock()
        self.answered.acquire()


class Pool:
    """Places for a number of calls at once, and a bounded queue of calls that wait for one.

    Args:
        name: for the names of threads.
        size: number of places.
        max_waiting: so many calls may wait for a place, any further is refused at once.
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
        self._lock = _thread.allocate_lock()
        self._waiting = deque[_Call]()
        # The place that was used last is used next: its session is the likeliest to be alive.
        self._idle: list[Place] = []
        self._places = 0
        self._given_up = 0
        self._is_closed = False

    @property
    def given_up(self) -> int:
        """How many places wait for a call that does not return."""
        return self._given_up

    def perform(
        self, task: Callable[[Place], Result], wait_seconds: float, call_seconds: float
    ) -> Result:
        """Have a task done by the thread of a place.

        Args:
            task: what to do with the place; its error is raised here.
            wait_seconds: how long to wait for its beginning.
            call_seconds: how long, from then on, to wait for its end; the task may change it
                (`Place.allow`).

        Raises:
            TokenBusy: it was not begun in time, too many wait already, or the system gives no
                thread.
            TokenHung: it did not end in time, and what it brings later is dropped; or no call is
                begun any more, as every place is given up.
            SessionsClosed: the pool was closed.
        """
        call = _Call(task, time.monotonic(), call_seconds)
        self._observer.waiting()
        with self._lock:
            self._enter(call)
        try:
            while not call.answered.acquire(timeout=_patience(call, wait_seconds)):
                with self._lock:
                    self._look_after(call, wait_seconds)
        except BaseException:
            # Interrupted: nobody would take the answer of a call that was not begun.
            with self._lock:
                self._withdraw(call)
            raise
        if call.error is None:
            return cast("Result", call.result)
        if call.ends_by is None:
            self._observer.refused(type(call.error).__name__)
        raise call.error

    def close(self) -> None:
        """Begin no more calls; the threads end, each when its place is free."""
        with self._lock:
            self._is_closed = True
            self._refuse_waiting(_closed)
            for place in self._idle:
                place.call = None
                place.wake.release()
            self._idle.clear()

    def _enter(self, call: _Call) -> None:
        if self._is_closed:
            _refuse(call, _closed())
        elif self._given_up >= self.size:
            _refuse(call, _hopeless())
        elif self._idle:
            place = self._idle.pop()
            _begin(place, call, call.asked_at)
            place.wake.release()
        elif self._places < self.size:
            self._open_place(call)
        elif len(self._waiting) >= self._max_waiting:
            _refuse(call, TokenBusy(f"{len(self._waiting)} calls wait for a session already"))
        else:
            self._waiting.append(call)

    def _open_place(self, call: _Call) -> None:
        place = Place()
        _begin(place, call, call.asked_at)
        thread = threading.Thread(
            target=self._serve, args=(place,), name=f"token-{self.name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            call.ends_by = None
            _refuse(call, TokenBusy("no thread can be started for a call into the module"))
        else:
            self._places += 1

    def _look_after(self, call: _Call, wait_seconds: float) -> None:
        """Withdraw a call that was not begun in time, give up one that did not end in time."""
        now = time.monotonic()
        if call.is_over:  # just in time: its answer is on its way
            return
        if call.ends_by is None:
            if now >= call.asked_at + wait_seconds:
                self._withdraw(call)
        elif now >= call.ends_by:
            self._give_up(call, now - call.asked_at - call.waited)

    def _withdraw(self, call: _Call) -> None:
        if call.ends_by is None and not call.is_over:
            self._waiting.remove(call)
            _refuse(call, TokenBusy("all sessions on the token are in use"))

    def _give_up(self, call: _Call, seconds: float) -> None:
        _refuse(call, TokenHung(f"a call into the module has not returned for {seconds:g} s"))
        self._given_up += 1
        self._hung_changed(self._given_up)
        self._observer.returned()
        self._observer.given_up(self.size - self._given_up)
        if self._given_up >= self.size:
            self._refuse_waiting(_hopeless)

    def _refuse_waiting(self, error: Callable[[], TokenError]) -> None:
        while self._waiting:
            _refuse(self._waiting.popleft(), error())

    def _serve(self, place: Place) -> None:
        while (call := place.call) is not None:
            self._observer.taken(call.waited)
            result, error = None, None
            try:
                result = call.task(place)
            except BaseException as caught:  # noqa: BLE001 - it is whoever asked that it is for
                error = caught
            with self._lock:
                came_back = call.is_over
                if came_back:
                    self._given_up -= 1
                    self._hung_changed(self._given_up)
                else:
                    call.result, call.error, call.is_over = result, error, True
                is_idle = self._follow(place)
            # Free before the answer: the next in line need not wait for who gets this one.
            if came_back:
                self._observer.came_back()
            else:
                self._observer.returned()
                call.answered.release()
            # Whatever it brought is not held here while nothing is asked.
            del call, result, error
            if is_idle:
                place.wake.acquire()

    def _follow(self, place: Place) -> bool:
        """Give a place its next call, or none for good; whether it has to wait for one."""
        place.call = None
        if self._is_closed:
            return False
        if self._waiting:
            _begin(place, self._waiting.popleft(), time.monotonic())
            return False
        self._idle.append(place)
        return True


def _begin(place: Place, call: _Call, at: float) -> None:
    call.ends_by = at + call.seconds
    call.waited = at - call.asked_at
    place.call = call


def _refuse(call: _Call, error: TokenError) -> None:
    call.error, call.is_over = error, True
    call.answered.release()


def _patience(call: _Call, wait_seconds: float) -> float:
    """How long to wait until the call has to be looked after."""
    now = time.monotonic()
    if call.ends_by is not None:
        # What it may take can be shortened meanwhile.
        return max(0.0, min(call.ends_by - now, _LOOK_SECONDS))
    # It may be begun at any moment, and hang from then on.
    return max(0.0, min(call.asked_at + wait_seconds - now, call.seconds))


def _closed() -> SessionsClosed:
    return SessionsClosed("these sessions were closed")


def _hopeless() -> TokenHung:
    return TokenHung("no call into the module returns: every session is given up")
