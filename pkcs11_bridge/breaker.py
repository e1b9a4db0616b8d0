"""A circuit breaker: keeps a token out for a while after it failed, then lets one call find out.

    closed    calls pass; so many failures in a row open it, one that hung at once
    open      no call passes, for a time that doubles with each failed probe
    probing   one call is under way, whose end decides

Pure: time is an argument, and each change gives a new breaker.
"""

from dataclasses import dataclass, replace

FAILURES_TO_OPEN = 3
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of one token's breaker.

    Attributes:
        failures: in a row.
        pause: seconds that it stays open the next time.
        next_try_at: monotonic seconds from which a probe may pass; None while closed.
        is_probing: whether a probe is under way.
    """

    failures: int = 0
    pause: float = FIRST_PAUSE_SECONDS
    next_try_at: float | None = None
    is_probing: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether calls pass as they come."""
        return self.next_try_at is None

    def lets_pass(self, at: float) -> bool:
        """Whether a call may begin at this time."""
        if self.next_try_at is None:
            return True
        return at >= self.next_try_at and not self.is_probing

    def began(self) -> "Breaker":
        """After a call was let pass."""
        return self if self.is_closed else replace(self, is_probing=True)

    def succeeded(self) -> "Breaker":
        """After a call that brought what it should."""
        return Breaker()

    def left_open(self) -> "Breaker":
        """After a call that tells nothing of the token: it was too busy to begin."""
        return replace(self, is_probing=False)

    def failed(self, at: float, *, at_once: bool = False) -> "Breaker":
        """After a call that failed.

        Args:
            at: when it did, monotonic seconds.
            at_once: open now, whatever came before: the next call would be as slow to fail.
        """
        failures = self.failures + 1
        if self.is_closed and failures < FAILURES_TO_OPEN and not at_once:
            return replace(self, failures=failures)
        return Breaker(
            failures=failures,
            pause=min(self.pause * 2, LONGEST_PAUSE_SECONDS),
            next_try_at=at + self.pause,
        )
