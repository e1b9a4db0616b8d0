"""Modules are loaded without a look for garbage among what they make: it stays for good.

That look, again and again at ever more, is a sixth of a process's start.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Import modules in the block; garbage is collected after it, if it was before."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
