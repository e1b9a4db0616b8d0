"""Background jobs of a process: each at its own pace, one after the other.

A job that fails is tried again later and later; it never takes the others down.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from webapi.operations.metrics import JobAction

_log = structlog.get_logger(__name__)

MAX_PAUSE_SECONDS = 30.0
_IDLE_SECONDS = 0.05


@dataclass(slots=True)
class Job:
    """Something to do again and again.

    Attributes:
        name: for the log.
        action: does it once; True when more of it is left: it is due again behind the others.
        every_seconds: pause between two runs that went well and left nothing to do.
    """

    name: str
    action: JobAction
    every_seconds: float
    due: float = field(default=0.0, init=False)
    failures: int = field(default=0, init=False)

    def is_due(self, stopwatch: Callable[[], float]) -> bool:
        """Whether it is time to run it."""
        return stopwatch() >= self.due

    def run_if_due(self, stopwatch: Callable[[], float]) -> None:
        """Run when it is time; after a failure wait twice as long each time."""
        if not self.is_due(stopwatch):
            return
        pause = self.every_seconds
        try:
            if self.action():
                pause = 0.0
        except Exception as error:  # noqa: BLE001 - whatever it is, the other jobs go on
            self.failures += 1
            pause *= 2 ** min(self.failures, 16)
            # The class alone: the text of an error may hold what no log may.
            _log.error(
                "job_failed",
                job=self.name,
                error_class=type(error).__qualname__,
                failures=self.failures,
            )
        else:
            self.failures = 0
        # Counted from the end: what takes long to fail must not fail without a pause.
        self.due = stopwatch() + min(pause, max(MAX_PAUSE_SECONDS, self.every_seconds))


def run_jobs(
    jobs: Sequence[Job], stopping: threading.Event, *, is_active: Callable[[], bool]
) -> None:
    """Run the jobs by turns until told to stop, or until another worker may be active.

    `is_active` is asked right before each job that is due.
    """
    while not stopping.is_set():
        for job in jobs:
            if stopping.is_set():
                return
            if not job.is_due(time.monotonic):
                continue
            if not is_active():
                return
            job.run_if_due(time.monotonic)
        if not any(job.is_due(time.monotonic) for job in jobs):
            stopping.wait(_IDLE_SECONDS)


class BackgroundJobs:
    """Jobs on a thread of their own, in a process that has other things to do.

    Args:
        jobs: name, action (True: more is left) and seconds between two runs of each.
    """

    def __init__(self, jobs: Iterable[tuple[str, JobAction, float]]) -> None:
        self._jobs = [Job(*job) for job in jobs]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Let the job that runs come to its end, and begin no other."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        run_jobs(self._jobs, self._stopping, is_active=lambda: True)
