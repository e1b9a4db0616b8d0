"""Roles and plans for tests of the supervisor: small processes that do as told."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from webapi.role_process import Role
from webapi.supervisor import PlanRefused, Supervisor

UP = "os.write(int(sys.argv[1]), b'1'); "
NUMBER = "open({mark!r}, 'a').write(f'{{os.getpid()}} '); "
WAIT = "time.sleep(60)"


def role(mark: Path, code: str = UP + WAIT, *, beside: bool = True, reports: int = 1) -> Role:
    """A process that writes its number into a file and then does as told."""
    program = f"import os, signal, sys, time; {NUMBER.format(mark=str(mark))}{code}"
    return Role(mark.name, (sys.executable, "-c", program), beside=beside, reports=reports)


def numbers(mark: Path) -> list[int]:
    """The processes that a role has had so far."""
    return [int(text) for text in mark.read_text().split()] if mark.exists() else []


def await_fact(fact: Callable[[], object], watched: Supervisor, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline
        watched.look_after_all()
        time.sleep(0.02)


def await_number(mark: Path, count: int, seconds: float = 60.0) -> None:
    """Wait until a role has had so many processes, for a supervisor that runs by itself."""
    deadline = time.monotonic() + seconds
    while len(numbers(mark)) < count and time.monotonic() < deadline:
        time.sleep(0.02)


class Planned:
    """A plan in the test's hands."""

    def __init__(self, *roles: Role) -> None:
        self.roles: Sequence[Role] = roles
        self.findings: tuple[str, ...] = ()

    def __call__(self) -> Sequence[Role]:
        if self.findings:
            raise PlanRefused(self.findings)
        return self.roles


def alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it may go while it is looked at
        return False
    return state.split()[2] != "Z"
