"""A gate for one PKCS#11 module: many operations at once, or one that must be alone.

C_Finalize, C_Login and key generation while another thread signs end in a crash or in that
thread's failure. They pass the gate alone; everything else shares it. A module that cannot lock
(CKR_CANT_LOCK) gets a gate that lets everything through one by one.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pkcs11_bridge.errors import TokenBusy, TokenHung


class Gate:
    """Shared and exclusive passage, first come first served for the exclusive side."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False
        self._hung: dict[int, int] = {}
        self.one_by_one = False
        """Set when the module cannot be used by two threads at once."""

    @contextmanager
    def shared(self, wait_seconds: float) -> Iterator[None]:
        """Pass together with others.

        Raises:
            TokenBusy: somebody was inside alone for all of ``wait_seconds``.
            TokenHung: whoever is inside alone hangs: nobody waits for that.
        """
        if self.one_by_one:
            with self.exclusive(wait_seconds):
                yield
            return
        with self._changed:
            if self._closed:
                self._await_open(wait_seconds)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if self._closed:
                    self._changed.notify_all()

    @contextmanager
    def exclusive(self, wait_seconds: float) -> Iterator[None]:
        """Pass alone, once all others have left.

        Raises:
            TokenBusy: they did not for ``wait_seconds``.
            TokenHung: one that is inside hangs: nobody waits for that.
        """
        deadline = time.monotonic() + wait_seconds
        with self._changed:
            self._await_open(wait_seconds)
            self._closed = True
        try:
            with self._changed:
                left = max(0.0, deadline - time.monotonic())
                self._changed.wait_for(lambda: self._inside == 0 or self.hangs, left)
                if self._inside and self.hangs:
                    raise TokenHung("a call into the PKCS#11 module does not return")
                if self._inside:
                    raise TokenBusy("operations on the PKCS#11 module do not end")
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()

    def set_hung(self, owner: object, calls: int) -> None:
        """Told by whoever makes calls: so many of its calls inside do not return."""
        with self._changed:
            self._hung[id(owner)] = calls
            self._changed.notify_all()

    @property
    def hangs(self) -> bool:
        """Whether a call into the module does not return."""
        return any(self._hung.values())

    def _await_open(self, wait_seconds: float) -> None:
        self._changed.wait_for(lambda: not self._closed or self.hangs, wait_seconds)
        if self._closed and self.hangs:
            raise TokenHung("a call into the PKCS#11 module does not return")
        if self._closed:
            raise TokenBusy("another call has the PKCS#11 module to itself")
