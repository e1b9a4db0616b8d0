"""A role's process ends with the one that started it, also when it hangs in a native call.

The kernel's SIGTERM alone does not do: Python's handlers, and granian's, only note it for the main
thread, which a PKCS#11 module or a database driver may never give back.
"""

import os
import threading
import time

from webapi.role_process import STOP_SECONDS
from webapi.supervisor import die_with_parent

_POLL_SECONDS = 0.5
_EXIT_STATUS = 1


def end_with_parent(parent: int, *, grace_seconds: float = STOP_SECONDS) -> None:
    """End when the parent ends: politely, after the grace by force.

    A native call that holds the interpreter's lock holds up the force as well.

    Args:
        parent: the parent's process id, as whoever started this process knew it.
        grace_seconds: how long it may take to end politely.

    Raises:
        SystemExit: the parent has ended already.
        OSError: the kernel refused.
    """
    die_with_parent(parent)
    threading.Thread(
        target=_watch, args=(parent, grace_seconds), name="end-with-parent", daemon=True
    ).start()


def _watch(parent: int, grace_seconds: float) -> None:
    # Sleeps, and holds no lock: granian forks while this thread runs.
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    time.sleep(grace_seconds)
    os._exit(_EXIT_STATUS)
