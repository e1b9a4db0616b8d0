"""A lock between processes: flock on a file that nobody deletes."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pkcs11_bridge.errors import TokenBusy

_POLL_SECONDS = 0.01


@contextmanager
def exclusive_file_lock(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the lock file alone; its directory is made (owner only) if it is missing.

    Raises:
        TokenBusy: another process held it for all of ``wait_seconds``.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, time.monotonic() + wait_seconds)
        yield
    finally:
        os.close(descriptor)  # which releases the lock


def _acquire(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TokenBusy("another process is starting on this token") from None
            time.sleep(_POLL_SECONDS)
        else:
            return
