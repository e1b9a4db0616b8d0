"""Runs the service's processes side by side and stops them all together.

In production each role is a unit of its own; here one parent starts them, and
none outlives it, not even when the parent is killed.
"""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

STOP_SECONDS = 10.0
_POLL_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_DUMPABLE = 4  # prctl(2)


class RoleEnded(Exception):
    """A process of the service ended by itself; the others were stopped."""


@dataclass(frozen=True, slots=True)
class Role:
    """A process to run.

    Attributes:
        name: for people.
        command: arguments, the program first.
    """

    name: str
    command: Sequence[str]


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when its parent ends, in whatever way.

    Args:
        parent: the parent's process id, as whoever started this process knew it.

    Raises:
        SystemExit: the parent has ended already.
        OSError: the kernel refused.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have ended while this process was still being made.
    if os.getppid() != parent:
        raise SystemExit("the process that started this one has ended")


def protect_memory() -> None:
    """Leave no core file with a PIN in it, and let no other process read this one.

    Raises:
        OSError: the kernel refused.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def role_command(role: str) -> tuple[str, ...]:
    """The command line of one role of this service, which ends with this process."""
    return (sys.executable, "-m", "webapi.roles", role, str(os.getpid()))


def supervise(roles: Sequence[Role]) -> None:
    """Run until SIGTERM or SIGINT, then stop every process and return.

    Raises:
        RoleEnded: a process ended by itself.
    """
    with _stop_signals() as stopping:
        running: list[tuple[Role, subprocess.Popen[bytes]]] = []
        try:
            # A generator: what was started before a failure is in the list, and is stopped.
            running.extend(
                (role, subprocess.Popen(role.command, process_group=0)) for role in roles
            )
            while not stopping and not any(_has_ended(process) for _, process in running):
                time.sleep(_POLL_SECONDS)
            ended = [(role, process) for role, process in running if _has_ended(process)]
        finally:
            stop_all([process for _, process in running])
    if not stopping:
        raise RoleEnded(
            ", ".join(f"{role.name} ended with {process.returncode}" for role, process in ended)
        )


def stop_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes that lead groups of their own: politely, after ten seconds by force.

    What is left of a group is ended in any case: a leader that was killed has put nothing away.
    """
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        while not _has_ended(process) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        # Not reaped yet: nobody else can have a group of this number.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; it is not reaped, so that its number stays its own."""
    look = os.WEXITED | os.WNOWAIT | os.WNOHANG
    return process.returncode is not None or os.waitid(os.P_PID, process.pid, look) is not None


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that is empty until SIGTERM or SIGINT arrives."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
