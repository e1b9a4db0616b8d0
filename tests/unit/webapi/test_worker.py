"""The worker's jobs: each at its own pace, none taking the others down."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from structlog.testing import capture_logs

from webapi import clock, worker
from webapi.jobs import MAX_PAUSE_SECONDS, BackgroundJobs, Job, run_jobs
from webapi.storage.errors import DatabaseUnavailable
from webapi.worker import Shifts


class Clockwork:
    """Counts its runs and fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.runs = 0
        self.failures = failures

    def __call__(self) -> None:
        self.runs += 1
        if self.runs <= self.failures:
            raise OSError("PIN 123456 is in this text")


class Stopwatch:
    """Shows what it was set to."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_a_job_runs_when_it_is_due() -> None:
    action, stopwatch = Clockwork(), Stopwatch()
    job = Job("tick", action, every_seconds=2.0)
    for stopwatch.at in (0.0, 1.9, 2.0, 3.9, 4.0):
        job.run_if_due(stopwatch)
    assert action.runs == 3


def test_a_failing_job_waits_longer_and_longer_up_to_a_limit() -> None:
    stopwatch = Stopwatch()
    job = Job("tick", Clockwork(failures=40), every_seconds=1.0)
    pauses = []
    for _ in range(40):
        job.run_if_due(stopwatch)
        pauses.append(job.due - stopwatch.at)
        stopwatch.at = job.due
    assert pauses[:5] == [2.0, 4.0, 8.0, 16.0, MAX_PAUSE_SECONDS]
    assert max(pauses) == MAX_PAUSE_SECONDS


def test_success_ends_the_waiting() -> None:
    stopwatch = Stopwatch()
    job = Job("tick", Clockwork(failures=2), every_seconds=1.0)
    for _ in range(2):
        job.run_if_due(stopwatch)
        stopwatch.at = job.due
    job.run_if_due(stopwatch)
    assert (job.failures, job.due - stopwatch.at) == (0, 1.0)


def test_what_takes_long_to_fail_pauses_after_it_failed() -> None:
    stopwatch = Stopwatch()

    def slow() -> None:
        stopwatch.at += 10.0
        raise OSError

    job = Job("slow", slow, every_seconds=1.0)
    job.run_if_due(stopwatch)
    assert job.due == 10.0 + 2.0


def test_a_failure_is_logged_by_its_class_alone() -> None:
    with capture_logs() as logs:
        Job("tick", Clockwork(failures=1), every_seconds=1.0).run_if_due(Stopwatch())
    assert [(entry["event"], entry["job"], entry["error_class"]) for entry in logs] == [
        ("job_failed", "tick", "OSError")
    ]
    assert "123456" not in str(logs)


def test_a_failing_job_leaves_the_others_running() -> None:
    stopping = threading.Event()
    steady = Clockwork()

    def stop_later() -> None:
        steady()
        if steady.runs == 3:
            stopping.set()

    jobs = [
        Job("broken", Clockwork(failures=99), every_seconds=0.0),
        Job("steady", stop_later, every_seconds=0.0),
    ]
    with patch("webapi.jobs._IDLE_SECONDS", 0.001):
        run_jobs(jobs, stopping, is_active=lambda: True)
    assert steady.runs == 3


def test_nothing_runs_once_it_is_told_to_stop() -> None:
    stopping = threading.Event()
    second = Clockwork()
    jobs = [Job("first", stopping.set, 0.0), Job("second", second, 0.0)]
    run_jobs(jobs, stopping, is_active=lambda: True)
    assert second.runs == 0


def test_what_is_unfinished_is_due_again_behind_the_others() -> None:
    stopping = threading.Event()
    order: list[str] = []

    def refill() -> bool:
        order.append("refill")
        return len(order) < 6

    def receipts() -> None:
        order.append("receipts")
        if len(order) > 6:
            stopping.set()

    jobs = [Job("receipts", receipts, every_seconds=0.0), Job("refill", refill, 60.0)]
    run_jobs(jobs, stopping, is_active=lambda: True)
    assert order == ["receipts", "refill"] * 3 + ["receipts"]


def test_nothing_runs_once_another_worker_may_be_active() -> None:
    answers = iter([True, False])
    first, second = Clockwork(), Clockwork()
    jobs = [Job("first", first, 0.0), Job("second", second, 0.0)]
    run_jobs(jobs, threading.Event(), is_active=lambda: next(answers))
    assert (first.runs, second.runs) == (1, 0)


def test_the_lease_is_asked_for_nothing_but_jobs() -> None:
    stopping = threading.Event()
    asked: list[int] = []

    def is_active() -> bool:
        asked.append(1)
        return True

    later = Job("later", Clockwork(), 1.0)
    later.run_if_due(Stopwatch())
    later.due = float("inf")
    threading.Timer(0.2, stopping.set).start()
    run_jobs([later], stopping, is_active=is_active)
    assert not asked


class ScriptedLease:
    """Answers to `acquire` as written down; then tells the worker to stop."""

    def __init__(self, stopping: threading.Event, *answers: bool | Exception) -> None:
        self.stopping = stopping
        self.answers = list(answers)
        self.released = 0

    def acquire(self) -> bool:
        answer = self.answers.pop(0)
        if not self.answers:
            self.stopping.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def is_held(self) -> bool:
        return False

    def release(self) -> None:
        self.released += 1


def shifts_of(*answers: bool | Exception) -> tuple[list[bool], int, list[tuple[str, object]]]:
    """What the metrics are told, the number of shifts, and what stands in the log."""
    stopping = threading.Event()
    lease = ScriptedLease(stopping, *answers)
    told: list[bool] = []
    worked: list[bool] = []

    def work(is_active: Callable[[], bool]) -> None:
        worked.append(is_active())

    with patch.object(worker, "STANDBY_SECONDS", 0.001), capture_logs() as logs:
        Shifts(lease, work, told.append, clock.now).run(stopping)
    assert lease.released == 1
    return told, len(worked), [(entry["event"], entry.get("reason")) for entry in logs]


def test_a_second_worker_stands_by_and_says_so_once() -> None:
    told, shifts, logs = shifts_of(False, False, False)
    assert (told, shifts) == ([False], 0)
    assert logs == [("worker_stands_by", "another_worker_is_active")]


def test_a_database_that_cannot_be_asked_is_another_reason() -> None:
    _, shifts, logs = shifts_of(False, DatabaseUnavailable("postgresql://secret"), False)
    assert shifts == 0
    assert [reason for _, reason in logs] == [
        "another_worker_is_active",
        "DatabaseUnavailable",
        "another_worker_is_active",
    ]


def test_after_a_lost_lease_it_stands_by_and_works_again() -> None:
    told, shifts, logs = shifts_of(True, False, True, False)
    assert (told, shifts) == ([False, True, False, True, False], 2)
    lost = ["worker_active", "worker_lease_lost"]
    assert [event for event, _ in logs] == [*lost, "worker_stands_by"] * 2


def test_a_database_that_is_gone_before_the_first_job_ends_the_shift_and_not_the_worker() -> None:
    stopping = threading.Event()
    lease = ScriptedLease(stopping, True, False)
    told: list[bool] = []

    def work(_is_active: Callable[[], bool]) -> None:
        raise DatabaseUnavailable("postgresql://secret")

    with patch.object(worker, "STANDBY_SECONDS", 0.001), capture_logs() as logs:
        Shifts(lease, work, told.append, clock.now).run(stopping)
    assert [entry["event"] for entry in logs] == [
        "worker_active",
        "worker_shift_failed",
        "worker_stands_by",
    ]
    assert "secret" not in str(logs)
    assert (told, lease.released) == ([False, True, False], 2)


class CountedWaits(threading.Event):
    """Waits for nothing, and tells how long it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


def test_it_looks_twice_a_second_and_takes_a_free_lease_at_the_first_look() -> None:
    stopping = CountedWaits()
    lease = ScriptedLease(stopping, False, DatabaseUnavailable(""), False, True)
    began = datetime(2026, 11, 21, 9, 30, 17, tzinfo=UTC)
    looks = [began + timedelta(seconds=second) for second in range(4)]
    with capture_logs() as logs:
        Shifts(lease, lambda _: None, lambda _: None, iter(looks).__next__).run(stopping)
    assert stopping.waits == [0.5, 0.5, 0.5]
    (active,) = [entry for entry in logs if entry["event"] == "worker_active"]
    assert active["last_refused"] == looks[2].isoformat()


def test_who_was_never_refused_tells_of_no_refusal() -> None:
    stopping = CountedWaits()
    lease = ScriptedLease(stopping, True)
    with capture_logs() as logs:
        Shifts(lease, lambda _: None, lambda _: None, clock.now).run(stopping)
    assert [(entry["event"], entry["last_refused"]) for entry in logs] == [("worker_active", None)]
    assert stopping.waits == []


def test_jobs_in_the_background_run_until_they_are_closed() -> None:
    ran = threading.Event()
    background = BackgroundJobs([("tick", ran.set, 0.01)])
    background.start()
    assert ran.wait(60)
    background.close()
    ran.clear()
    assert not ran.wait(0.1)
