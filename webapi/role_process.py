"""One running process of the service: started in a group of its own, heard, ended."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

STOP_SECONDS = 10.0
"""How long a process may take to end before its whole group is killed."""

_POLL_SECONDS = 0.05
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_READ_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Role:
    """A process to run.

    Attributes:
        name: for people.
        command: arguments, the program first; a descriptor's number is appended, into which
            the process reports that it came up (`webapi.start_report`).
        reports: how many reports say that all of it came up, at least 1.
        beside: a successor may come up while it still runs: they share what they listen on.
    """

    name: str
    command: Sequence[str]
    reports: int = 1
    beside: bool = False


class RoleProcess:
    """A role's process; it leads a group of its own.

    Args:
        role: what to run.
        at: monotonic seconds.

    Raises:
        OSError: the program cannot be started.
    """

    def __init__(self, role: Role, *, at: float) -> None:
        self.role = role
        self.started = at
        self._reports = 0
        self._reading, writing = os.pipe()
        try:
            os.set_blocking(self._reading, False)
            self.process = subprocess.Popen(
                [*role.command, str(writing)], process_group=0, pass_fds=(writing,)
            )
        except BaseException:
            os.close(self._reading)
            raise
        finally:
            os.close(writing)

    def is_up(self) -> bool:
        """Whether all of it has reported that it came up."""
        # Read to the end each time: granian's later workers report too.
        with contextlib.suppress(BlockingIOError):
            while told := os.read(self._reading, _READ_BYTES):
                self._reports += len(told)
        return self._reports >= self.role.reports

    def has_ended(self) -> bool:
        """Whether it has ended, by itself or asked to."""
        return has_ended(self.process)

    def finish(self) -> int:
        """End by force what is left of it and of its group; the exit status."""
        status = end_group(self.process)
        os.close(self._reading)
        return status


def adopt_orphans() -> None:
    """Become the parent of what this process's children leave behind, to know when it has ended.

    Raises:
        OSError: the kernel refused.
    """
    set_process_option(_PR_SET_CHILD_SUBREAPER, 1)


def set_process_option(option: int, argument: int) -> None:
    """As prctl(2); raises OSError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def stop_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes that lead groups of their own: politely, after ten seconds by force.

    What is left of a group is ended in any case: a leader that was killed has put nothing away.
    """
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        while not has_ended(process) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> int:
    """Kill whatever is left of the group that a process leads; the leader's exit status.

    Where this process adopts orphans, none of the group is left when this returns.
    """
    if process.returncode is not None:
        return process.returncode
    # Not reaped yet: nobody else can have a group of this number.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitid(os.P_PGID, process.pid, os.WEXITED)
    return status


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; it is not reaped, so that its number stays its own."""
    look = os.WEXITED | os.WNOWAIT | os.WNOHANG
    return process.returncode is not None or os.waitid(os.P_PID, process.pid, look) is not None
