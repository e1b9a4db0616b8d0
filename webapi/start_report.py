"""How a process of the service tells its supervisor that it came up: one byte in a pipe.

The descriptor is handed down the forks, so that granian's workers report for themselves.
"""

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

_UP = b"\x01"
_POLL_SECONDS = 0.02


class _Report:
    """Where to report; the same in every process forked from this one."""

    descriptor: int | None = None


def report_to(descriptor: int) -> None:
    """Let this process and those forked from it report through a pipe's writing end."""
    os.set_blocking(descriptor, False)
    _Report.descriptor = descriptor


def report_up() -> None:
    """Say that this process can do its work; says nothing where nobody asked."""
    if _Report.descriptor is not None:
        # A supervisor that is gone or does not read changes nothing here.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(_Report.descriptor, _UP)


def report_when_listening() -> None:
    """Say so once this process accepts TCP connections; returns at once.

    granian makes an application first and listens after that. Whoever was replaced before would
    leave nobody to connect to.
    """
    threading.Thread(
        target=_report_when_listening, name="report-when-listening", daemon=True
    ).start()


def _report_when_listening() -> None:
    listens = False
    while not listens:
        time.sleep(_POLL_SECONDS)
        with contextlib.suppress(OSError):  # too many files are open; that passes
            listens = _listens()
    report_up()


def _listens() -> bool:
    """Whether one of this process's sockets accepts TCP connections (socket(7), SO_ACCEPTCONN).

    Raises:
        OSError: its descriptors cannot be looked at.
    """
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # it is no socket, or is closed by now
            # Looked at as it is: a duplicate that is closed would give up SQLite's locks. It stays
            # as it is where no default timeout is set, which would make it non-blocking.
            looked_at = socket.socket(fileno=int(entry.name))
            try:
                if looked_at.family in (socket.AF_INET, socket.AF_INET6) and looked_at.getsockopt(
                    socket.SOL_SOCKET, socket.SO_ACCEPTCONN
                ):
                    return True
            finally:
                looked_at.detach()
    return False
