"""How a process of the service tells its supervisor that it came up: one byte in a pipe.

The descriptor is handed down the forks, so that granian's workers report for themselves.
"""

import contextlib
import os

_UP = b"\x01"


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
