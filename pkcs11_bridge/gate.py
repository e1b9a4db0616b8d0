"""A gate for one PKCS#11 module: many operations at once, or one that must be alone.

C_Finalize, C_Login and key generation while another thread signs end in a crash or in that
thread's failure. They pass the gate alone; everything else shares it. A module that cannot lock
(CKR_CANT_LOCK) gets a gate that lets everything through one by one.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pkcs11_bridge.errors import TokenBusy


class Gate:
    """Shared and exclusive passage, first come first served for the exclusive side."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False
        self.one_by_one = False
        """Set when the module cannot be used by two threads at once."""

    @contextmanager
    def shared(self, wait_seconds: float) -> Iterator[None]:
        """Pass together with others; raises TokenBusy after ``wait_seconds``."""
        if self.one_by_one:
            with self.exclusive(wait_seconds):
                yield
            return
        with self._changed:
            if not self._changed.wait_for(lambda: not self._closed, wait_seconds):
                raise TokenBusy("the PKCS#11 module is being initialised")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self, wait_seconds: float) -> Iterator[None]:
        """Pass alone, once all others have left; raises TokenBusy after ``wait_seconds``."""
        deadline = time.monotonic() + wait_seconds
        with self._changed:
            if not self._changed.wait_for(lambda: not self._closed, wait_seconds):
                raise TokenBusy("the PKCS#11 module is being initialised")
            self._closed = True
        try:
            with self._changed:
                left = max(0.0, deadline - time.monotonic())
                if not self._changed.wait_for(lambda: self._inside == 0, left):
                    raise TokenBusy("operations on the PKCS#11 module do not end")
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
