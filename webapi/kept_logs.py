"""Logs that one process keeps open: each is tried by itself, and one that halts stops alone."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import structlog

from signer.receipts.errors import FenceLost, SequencerHalted, SequencerRunning
from webapi.elections.backoff import Backoff

_log = structlog.get_logger(__name__)

Opened = TypeVar("Opened")


class KeptLogs(ABC, Generic[Opened]):
    """What the logs of elections and the audit logs have in common.

    A log that halts waits for a person; one that fails for a while (a busy token, a full disk)
    is tried later and later; one in another process's hands is opened anew each time. The others
    go on at their pace.

    Args:
        stopwatch: monotonic seconds.
    """

    def __init__(self, stopwatch: Callable[[], float] = time.monotonic) -> None:
        self._stopwatch = stopwatch
        self._open: dict[str, tuple[Opened, ExitStack]] = {}
        self._halted: dict[str, str] = {}
        self._busy: dict[str, str] = {}
        self._backoff = Backoff()

    @property
    def halted(self) -> Mapping[str, str]:
        """Logs that wait for a person, with the name of the reason."""
        return dict(self._halted)

    @property
    def busy(self) -> Mapping[str, str]:
        """Logs in another process's hands, with the name of the error that showed it."""
        return dict(self._busy)

    def count_states(self) -> dict[str, int]:
        """How many logs are open here, in another process's hands, failing, halted."""
        return {
            "open": len(self._open),
            "busy": len(self._busy),
            "failing": self._backoff.count_failing(),
            "halted": len(self._halted),
        }

    def close(self) -> None:
        """Release the locks of all logs."""
        for log_id in list(self._open):
            self._release(log_id)

    @abstractmethod
    def _opened(self, log_id: str, stack: ExitStack, *, at: datetime) -> Opened:
        """Take a log's lock with the stack, and open it."""

    @abstractmethod
    def _work(self, opened: Opened, *, at: datetime) -> None:
        """Do what is due in an open log."""

    def _try_log(self, log_id: str, *, at: datetime) -> None:
        """Do what is due in a log, unless it halted or is to be left alone for a moment."""
        if log_id in self._halted or self._backoff.is_pausing(log_id, at=at):
            return
        started = self._stopwatch()
        try:
            self._run_log(log_id, at=at)
        except (SequencerRunning, FenceLost) as error:
            # Another process had or has the log; the records are compared anew next time.
            self._release(log_id)
            self._tell_busy(log_id, type(error).__name__)
        except SequencerHalted as error:
            self._halt(log_id, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other logs go on
            # Counted from now: what takes long to fail must not fail without a pause.
            took = timedelta(seconds=self._stopwatch() - started)
            failures = self._backoff.failed(log_id, at=at + took)
            # The class alone: the text of an error may hold what no log may.
            _log.error(
                "log_failed",
                log_id=log_id,
                error_class=type(error).__qualname__,
                failures=failures,
            )
        else:
            self._backoff.succeeded(log_id)
            self._busy.pop(log_id, None)

    def _run_log(self, log_id: str, *, at: datetime) -> None:
        if log_id not in self._open:
            with ExitStack() as stack:
                opened = self._opened(log_id, stack, at=at)
                self._open[log_id] = (opened, stack.pop_all())
        self._work(self._open[log_id][0], at=at)

    def _finish(self, log_id: str) -> None:
        """Put a log away in which nothing will be due any more."""
        self._busy.pop(log_id, None)
        self._backoff.succeeded(log_id)
        self._release(log_id)

    def _tell_busy(self, log_id: str, reason: str) -> None:
        if self._busy.get(log_id) != reason:
            self._busy[log_id] = reason
            _log.warning("log_busy", log_id=log_id, reason=reason)

    def _halt(self, log_id: str, error: SequencerHalted) -> None:
        self._halted[log_id] = type(error).__name__
        self._release(log_id)
        _log.critical("log_halted", log_id=log_id, reason=type(error).__name__)

    def _release(self, log_id: str) -> None:
        opened = self._open.pop(log_id, None)
        if opened is not None:
            opened[1].close()
