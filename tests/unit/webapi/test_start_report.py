"""A process tells its supervisor that it came up, and nobody minds if none listens."""

import os
from collections.abc import Iterator

import pytest

from webapi import start_report
from webapi.start_report import report_to, report_up


@pytest.fixture(autouse=True)
def _nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_report._Report, "descriptor", None)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(writing)


def test_where_nobody_asked_nothing_is_said() -> None:
    report_up()


def test_each_process_reports_once_for_itself(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    report_to(writing)
    report_up()
    report_up()
    assert len(os.read(reading, 100)) == 2
    os.close(reading)


def test_a_supervisor_that_is_gone_is_no_failure(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    report_to(writing)
    os.close(reading)
    report_up()


def test_a_supervisor_that_does_not_read_holds_nobody_up(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    report_to(writing)
    for _ in range(70_000):  # more than a pipe holds
        report_up()
    os.close(reading)
