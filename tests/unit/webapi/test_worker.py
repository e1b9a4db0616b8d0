"""The worker's jobs: each at its own pace, none taking the others down."""

import threading
from unittest.mock import patch

from structlog.testing import capture_logs

from webapi import worker
from webapi.worker import MAX_PAUSE_SECONDS, Job, run_jobs


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
    with patch.object(worker, "_IDLE_SECONDS", 0.001):
        run_jobs(jobs, stopping)
    assert steady.runs == 3


def test_nothing_runs_once_it_is_told_to_stop() -> None:
    stopping = threading.Event()
    second = Clockwork()
    run_jobs([Job("first", stopping.set, 0.0), Job("second", second, 0.0)], stopping)
    assert second.runs == 0
