"""Who wants to know how a token's sessions are used."""

from typing import Protocol


class PoolObserver(Protocol):
    """Is told what happens to the pooled sessions of one token; called from many threads."""

    def waiting(self) -> None:
        """A thread began to wait for a session."""

    def taken(self) -> None:
        """It got one."""

    def refused(self) -> None:
        """It got none in time: TokenBusy."""

    def returned(self) -> None:
        """A session is free again."""


class SilentPoolObserver:
    """An observer that does nothing."""

    def waiting(self) -> None:
        """Ignore it."""

    def taken(self) -> None:
        """Ignore it."""

    def refused(self) -> None:
        """Ignore it."""

    def returned(self) -> None:
        """Ignore it."""
