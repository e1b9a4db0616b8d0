"""The background worker: a few jobs, each at its own pace, one after the other.

A job that fails is tried again later and later; it never takes the others down.
"""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

import structlog

from webapi.logs import configure_logs
from webapi.settings_model import Settings
from webapi.wiring import Wiring

_log = structlog.get_logger(__name__)

MAX_PAUSE_SECONDS = 30.0
_IDLE_SECONDS = 0.05


@dataclass(slots=True)
class Job:
    """Something to do again and again.

    Attributes:
        name: for the log.
        action: does it once.
        every_seconds: pause between two runs that went well.
    """

    name: str
    action: Callable[[], None]
    every_seconds: float
    due: float = field(default=0.0, init=False)
    failures: int = field(default=0, init=False)

    def run_if_due(self, stopwatch: Callable[[], float]) -> None:
        """Run when it is time; after a failure wait twice as long each time."""
        if stopwatch() < self.due:
            return
        try:
            self.action()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other jobs go on
            self.failures += 1
            # The class alone: the text of an error may hold what no log may.
            _log.error(
                "job_failed",
                job=self.name,
                error_class=type(error).__qualname__,
                failures=self.failures,
            )
        else:
            self.failures = 0
        pause = self.every_seconds * 2 ** min(self.failures, 16)
        # Counted from the end: what takes long to fail must not fail without a pause.
        self.due = stopwatch() + min(pause, max(MAX_PAUSE_SECONDS, self.every_seconds))


def run_jobs(jobs: Sequence[Job], stopping: threading.Event) -> None:
    """Run the jobs by turns until told to stop."""
    while not stopping.is_set():
        for job in jobs:
            if stopping.is_set():
                return
            job.run_if_due(time.monotonic)
        stopping.wait(_IDLE_SECONDS)


def run(settings: Settings) -> None:
    """Be the worker until SIGTERM or SIGINT."""
    configure_logs()
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    wiring = Wiring(settings)
    try:
        _log.info("worker_started")
        run_jobs([Job(*job) for job in wiring.worker_jobs()], stopping)
    finally:
        wiring.close()
        _log.info("worker_stopped")
