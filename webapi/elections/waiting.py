"""A short, bounded wait for a receipt: a few requests wait, all others fetch later."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

Found = TypeVar("Found")

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ShortWait:
    """Waits for something to be found, for a limited time, in a limited number of threads.

    Attributes:
        seconds: the longest wait; 0 looks once.
        waiters: how many threads of this process may wait at once; the others look once.
        watch: entered while a thread waits.
    """

    seconds: float
    waiters: int
    watch: Callable[[], AbstractContextManager[None]] = nullcontext
    _places: threading.BoundedSemaphore = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.seconds < 0 or self.waiters < 1:
            raise ValueError("a wait is not negative, and one thread at least may wait")
        object.__setattr__(self, "_places", threading.BoundedSemaphore(self.waiters))

    def find(self, look: Callable[[], Found | None]) -> Found | None:
        """What `look` finds, now or within the wait; None if it does not."""
        found = look()
        if found is not None or not self._places.acquire(blocking=False):
            return found
        try:
            end = time.monotonic() + self.seconds
            with self.watch():
                while found is None and time.monotonic() < end:
                    # All who wait look at the same moments, so that their looks can be combined.
                    time.sleep(POLL_SECONDS - time.monotonic() % POLL_SECONDS)
                    found = look()
        finally:
            self._places.release()
        return found
