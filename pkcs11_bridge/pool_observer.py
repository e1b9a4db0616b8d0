"""Who wants to know how a token's sessions are used."""

from typing import Protocol


class PoolObserver(Protocol):
    """Is told what happens to the pooled sessions of one token; called from many threads."""

    def waiting(self) -> None:
        """A thread began to wait for a session."""

    def taken(self, seconds: float) -> None:
        """It got one, after so long."""

    def refused(self, error: str) -> None:
        """It got none: the class of the error."""

    def returned(self) -> None:
        """A session is not in use any more."""

    def given_up(self, left: int) -> None:
        """A call does not return; its session is lost until it does, and so many are left."""

    def met_hung(self) -> None:
        """A thread was told TokenHung: its own call does not return, or one in its way."""

    def came_back(self) -> None:
        """A call that was given up has returned, and its session is there again."""

    def login_lost(self, cause: str) -> None:
        """Everything is opened anew at the next call: the class of the error that told so."""

    def logged_in(self, lost_before: str) -> None:
        """A login succeeded; what had ended the one before, empty for the first."""


class SilentPoolObserver:
    """An observer that does nothing."""

    def waiting(self) -> None:
        """Ignore it."""

    def taken(self, seconds: float) -> None:
        """Ignore it."""

    def refused(self, error: str) -> None:
        """Ignore it."""

    def returned(self) -> None:
        """Ignore it."""

    def given_up(self, left: int) -> None:
        """Ignore it."""

    def met_hung(self) -> None:
        """Ignore it."""

    def came_back(self) -> None:
        """Ignore it."""

    def login_lost(self, cause: str) -> None:
        """Ignore it."""

    def logged_in(self, lost_before: str) -> None:
        """Ignore it."""
