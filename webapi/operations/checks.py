"""What a check found, and a runner that no check can stop: neither by raising nor by hanging.

The checks themselves are made in `webapi.doctor`.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self


class CheckState(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: of the thing that was looked at, `token.login` for instance.
        state: how it is.
        seen: what was found, for people; never a PIN or another secret.
        remedy: how to mend it; empty unless there is something to mend.
        table: rows with the same columns, for what is no sentence; mostly none.
    """

    name: str
    state: CheckState
    seen: str
    remedy: str = ""
    table: tuple[Mapping[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError when what is wrong has no remedy, or what is well has one."""
        wrong = self.state in (CheckState.WARNING, CheckState.FAILED)
        if wrong != bool(self.remedy):
            raise ValueError(f"{self.name}: {self.state} with the remedy {self.remedy!r}")

    @classmethod
    def ok(cls, name: str, seen: str, table: Iterable[Mapping[str, str]] = ()) -> Self:
        """All is well."""
        return cls(name, CheckState.OK, seen, table=tuple(table))

    @classmethod
    def warning(cls, name: str, seen: str, remedy: str) -> Self:
        """It works, and somebody should look after it."""
        return cls(name, CheckState.WARNING, seen, remedy)

    @classmethod
    def failed(cls, name: str, seen: str, remedy: str) -> Self:
        """It does not work."""
        return cls(name, CheckState.FAILED, seen, remedy)

    @classmethod
    def skipped(cls, name: str, seen: str) -> Self:
        """It was not looked at."""
        return cls(name, CheckState.SKIPPED, seen)

    @classmethod
    def of_members(cls, members: Mapping[str, Any]) -> Self:
        """The inverse of `members`; raises KeyError or ValueError."""
        state = CheckState(members["state"])
        table = tuple(members.get("table", ()))
        return cls(members["name"], state, members["seen"], members["remedy"], table)

    def members(self) -> dict[str, object]:
        """As a JSON object's members; `table` only where there is one."""
        members = asdict(self)
        if not self.table:
            del members["table"]
        return members


class CheckBroken(Exception):
    """Looking came to nothing; the text says how, for people."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at, which gives one result or several in a row.

    Attributes:
        names: of the results, in the order in which they are looked at. One that is missing at
            the end counts as skipped.
        look: gives the results; may raise anything, and may hang.
        limit: how long the whole may take.
        remedy_if_broken: what to do when it raises or hangs.
    """

    names: tuple[str, ...]
    look: Callable[[], Iterable[CheckResult]]
    limit: timedelta
    remedy_if_broken: str


def run_check(check: Check) -> Iterator[CheckResult]:
    """The results as they come, then what became of the rest; raises nothing.

    The check runs in a thread of its own, which is left behind when it hangs.
    """
    answers: queue.SimpleQueue[CheckResult | Exception | None] = queue.SimpleQueue()
    name = f"check-{check.names[0]}"
    threading.Thread(target=_look, args=(check, answers), name=name, daemon=True).start()
    missing = list(check.names)
    deadline = time.monotonic() + check.limit.total_seconds()
    cause = ""
    while (answer := _next(answers, deadline, check)) is not None:
        if isinstance(answer, Exception):
            result = CheckResult.failed(
                missing[0] if missing else check.names[-1],
                _told(answer),
                check.remedy_if_broken,
            )
        else:
            result = answer
        if result.name in missing:
            missing.remove(result.name)
        if result.remedy:
            cause = result.name
        yield result
        if isinstance(answer, Exception):
            break
    for name in missing:
        seen = f"not looked at, because of {cause}" if cause else "not looked at"
        yield CheckResult.skipped(name, seen)


def _look(check: Check, answers: "queue.SimpleQueue[CheckResult | Exception | None]") -> None:
    try:
        for result in check.look():
            answers.put(result)
    except Exception as e:  # noqa: BLE001 - whatever a check raises is what it found
        answers.put(e)
    else:
        answers.put(None)


def _next(
    answers: "queue.SimpleQueue[CheckResult | Exception | None]", deadline: float, check: Check
) -> CheckResult | Exception | None:
    try:
        return answers.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        return no_answer(check.limit)


def no_answer(limit: timedelta) -> CheckBroken:
    """The error of a check that took longer than it may."""
    return CheckBroken(f"no answer within {limit.total_seconds():g} s")


def _told(error: Exception) -> str:
    """Only our own error's text: another's could show a secret."""
    if isinstance(error, CheckBroken):
        return str(error)
    return f"the check ended in {type(error).__qualname__}"
