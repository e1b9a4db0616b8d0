"""Processes that tests start, wait for, and take away again with all that they started."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 60.0
_ACCEPTS_CONNECTIONS = 1 << 16  # __SO_ACCEPTCON (linux/net.h)


def listens(path: Path) -> bool:
    """Whether somebody accepts connections on a Unix socket; its file is there a moment before."""
    # unix(7) has no manual for this table: flags and path are its fourth and eighth column.
    for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines():
        columns = line.split(maxsplit=7)
        if columns[7:] == [str(path)] and int(columns[3], 16) & _ACCEPTS_CONNECTIONS:
            return True
    return False


class DaemonFailed(AssertionError):
    """It ended, or did not become ready; the text is what it said."""


class Daemon:
    """A process in a group of its own, which dies with this one."""

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def await_ready(self, is_ready: Callable[[], bool]) -> None:
        """Raises DaemonFailed unless it becomes ready in time."""
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise DaemonFailed(self._log.read_text(encoding="utf-8", errors="replace"))
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL for it and for every process that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def running(daemon: Daemon, is_ready: Callable[[], bool]) -> Iterator[Daemon]:
    """A daemon that is ready, killed when the block ends."""
    try:
        daemon.await_ready(is_ready)
        yield daemon
    finally:
        daemon.kill()
