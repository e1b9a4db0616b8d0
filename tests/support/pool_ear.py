"""An observer of a token's pool that writes everything down."""

import threading
from collections import Counter

WAIT_SECONDS = 60.0


class PoolEar:
    """`pkcs11_bridge.pool_observer.PoolObserver`.

    Attributes:
        count: how often each thing was told.
        refusals: the classes of errors.
        left: how many sessions were left, each time that one was given up.
        losses: what ended logins.
        logins: what had ended the one before, for each.
    """

    def __init__(self) -> None:
        self.count = Counter[str]()
        self.refusals: list[str] = []
        self.left: list[int] = []
        self.losses: list[str] = []
        self.logins: list[str] = []
        self._told = threading.Condition()

    def await_count(self, event: str, number: int) -> None:
        """Wait until something was told so often; fails when it never is."""
        with self._told:
            assert self._told.wait_for(lambda: self.count[event] >= number, WAIT_SECONDS)

    def _hear(self, event: str) -> None:
        with self._told:
            self.count[event] += 1
            self._told.notify_all()

    def waiting(self) -> None:
        self._hear("waiting")

    def taken(self, seconds: float) -> None:
        assert 0 <= seconds < WAIT_SECONDS
        self._hear("taken")

    def refused(self, error: str) -> None:
        self.refusals.append(error)
        self._hear("refused")

    def returned(self) -> None:
        self._hear("returned")

    def given_up(self, left: int) -> None:
        self.left.append(left)
        self._hear("given_up")

    def met_hung(self) -> None:
        self._hear("met_hung")

    def came_back(self) -> None:
        self._hear("came_back")

    def login_lost(self, cause: str) -> None:
        self.losses.append(cause)
        self._hear("login_lost")

    def logged_in(self, lost_before: str) -> None:
        self.logins.append(lost_before)
        self._hear("logged_in")
