"""Keeps a process's memory, where PINs pass through, out of core files and debuggers."""

import ctypes
import resource

_PR_SET_DUMPABLE = 4  # prctl(2)


def forbid_core_dumps() -> None:
    """Set RLIMIT_CORE to 0 and make the process not dumpable (nor attachable by its own user).

    Raises:
        OSError: the kernel refuses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")
