"""The background worker: of all workers of an installation one does the jobs.

The others stand by without a token or a log open.
"""

import signal
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType
from typing import Protocol

import structlog

from webapi import clock
from webapi.jobs import Job, run_jobs
from webapi.logs import configure_logs
from webapi.settings_model import Settings
from webapi.start_report import report_up
from webapi.storage.errors import DatabaseBusy, DatabaseUnavailable, StorageError
from webapi.token_keys import SHIFT_PURPOSES, WORKER_PURPOSES
from webapi.wiring import Wiring

_log = structlog.get_logger(__name__)

STANDBY_SECONDS = 0.5
"""From one look at the lease to the next: a worker that ended is followed at the first look after
its lease is free."""


class Lease(Protocol):
    """`webapi.storage.lease.WorkerLease`."""

    def acquire(self) -> bool:
        """Take it if nobody has it."""

    def is_held(self) -> bool:
        """Whether this worker still has it."""

    def release(self) -> None:
        """Give it up."""


@dataclass(slots=True)
class Shifts:
    """Stands by until the lease is free, then works until it is lost.

    Attributes:
        lease: decides who works.
        work: one shift: opens what it needs, runs the jobs while asked `is_active`, puts it away;
            may end by itself, and the next one begins.
        tell: of whether this worker is the active one, for the metrics.
        clock: when a look at the lease began, for the log.
    """

    lease: Lease
    work: Callable[[Callable[[], bool]], None]
    tell: Callable[[bool], None]
    clock: Callable[[], datetime]
    _standby_reason: str | None = field(default=None, init=False)
    _refused_at: datetime | None = field(default=None, init=False)

    def run(self, stopping: threading.Event) -> None:
        """Shift by shift until told to stop."""
        self.tell(False)
        try:
            while not stopping.is_set():
                if not self._take_lease():
                    stopping.wait(STANDBY_SECONDS)
                    continue
                self.tell(True)
                # Until then another one had the lease, or nobody could say.
                refused = None if self._refused_at is None else self._refused_at.isoformat()
                _log.info("worker_active", last_refused=refused)
                self._standby_reason = self._refused_at = None
                try:
                    self.work(self.lease.is_held)
                except (DatabaseBusy, DatabaseUnavailable) as error:
                    # Before the first job: whoever reaches the database may try.
                    self.lease.release()
                    _log.warning("worker_shift_failed", error_class=type(error).__qualname__)
                    stopping.wait(STANDBY_SECONDS)
                else:
                    if not stopping.is_set() and not self.lease.is_held():
                        _log.warning("worker_lease_lost")
                finally:
                    self.tell(False)
        finally:
            self.lease.release()

    def _take_lease(self) -> bool:
        reason = "another_worker_is_active"
        began = self.clock()
        try:
            if self.lease.acquire():
                return True
        except StorageError as error:
            reason = type(error).__qualname__
        self._refused_at = began
        if reason != self._standby_reason:
            self._standby_reason = reason
            _log.info("worker_stands_by", reason=reason)
        return False


def run(settings: Settings) -> None:
    """Be the worker until SIGTERM or SIGINT."""
    configure_logs()
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)

    def work(is_active: Callable[[], bool]) -> None:
        # Logs are opened with their key: where another takes over, the next shift opens them anew.
        change = wiring.keys.next_change(SHIFT_PURPOSES, clock.now())

        def goes_on() -> bool:
            return is_active() and (change is None or clock.now() < change)

        # Closed after each shift: a log's lock and a token's login are for the active one alone.
        with closing(wiring):
            jobs = [Job(*job) for job in wiring.worker_jobs()]
            wiring.watch_keys(WORKER_PURPOSES)
            run_jobs(jobs, stopping, is_active=goes_on)

    wiring = Wiring(settings)
    try:
        # Before it is up: with settings that cannot work it must not replace one that does.
        wiring.keys.check_files(WORKER_PURPOSES)
        shifts = Shifts(wiring.worker_lease(), work, wiring.metrics.worker_is_active, clock.now)
        _log.info("worker_started")
        report_up()
        shifts.run(stopping)
    finally:
        wiring.close()
        _log.info("worker_stopped")
