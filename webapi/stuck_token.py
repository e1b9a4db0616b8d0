"""Ends a process in which no call into a token returns; its supervisor starts another.

Threads that hang in a PKCS#11 module cannot be ended, and no login can be made beside them
(ADR 0016). Where only some hang the process goes on with the sessions that are left.
"""

import os
import threading
from collections.abc import Callable
from datetime import timedelta

import structlog

_log = structlog.get_logger(__name__)

STUCK_FOR = timedelta(seconds=30)
"""How long nothing may be signed for a call that hangs before the process is given up: a device
that stood still for a moment is better waited for."""


def end_process() -> None:
    """End this process at once; exit handlers would wait for the threads that hang."""
    os._exit(os.EX_SOFTWARE)


class StuckToken:
    """Told each time that a thread met with a call that hangs; safe for threads.

    Args:
        zone: for the log.
        is_stuck: whether nothing can be signed for it, asked now and when the time is over.
        stuck_for: how long that is borne.
        end: ends the process.
    """

    def __init__(
        self,
        zone: str,
        is_stuck: Callable[[], bool],
        *,
        stuck_for: timedelta = STUCK_FOR,
        end: Callable[[], None] = end_process,
    ) -> None:
        self._zone = zone
        self._is_stuck = is_stuck
        self._stuck_for = stuck_for
        self._end = end
        self._waits = threading.Lock()

    def __call__(self) -> None:
        """If it is stuck now, look again when the time is over; once for all who tell it."""
        if not self._is_stuck() or not self._waits.acquire(blocking=False):
            return
        _log.error("token_hung", zone=self._zone)
        timer = threading.Timer(self._stuck_for.total_seconds(), self._look)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            # The system gives no thread: whoever tells it next tries again.
            self._waits.release()
            raise

    def _look(self) -> None:
        self._waits.release()
        if self._is_stuck():
            _log.critical("token_stuck", zone=self._zone)
            self._end()
