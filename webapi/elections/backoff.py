"""Exponential backoff per log: one that fails is tried later and later, the others go on."""

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_PAUSE = timedelta(milliseconds=250)
LONGEST_PAUSE = timedelta(seconds=30)
_MAX_DOUBLINGS = 16  # far beyond the longest pause


@dataclass(frozen=True, slots=True)
class _Pause:
    failures: int
    since: datetime

    def covers(self, at: datetime) -> bool:
        # A clock that was set back ends the pause; it must not make it longer.
        length = FIRST_PAUSE * (1 << min(self.failures - 1, _MAX_DOUBLINGS))
        return self.since <= at < self.since + min(length, LONGEST_PAUSE)


class Backoff:
    """Which logs are to be left alone for the moment."""

    def __init__(self) -> None:
        self._pauses: dict[str, _Pause] = {}

    def is_pausing(self, election_id: str, *, at: datetime) -> bool:
        """Whether the log failed a short while ago."""
        pause = self._pauses.get(election_id)
        return pause is not None and pause.covers(at)

    def count_failing(self) -> int:
        """How many logs failed when they were tried last."""
        return len(self._pauses)

    def failed(self, election_id: str, *, at: datetime) -> int:
        """Pause, twice as long as the last time; how often it failed in a row."""
        before = self._pauses.get(election_id)
        failures = before.failures + 1 if before else 1
        self._pauses[election_id] = _Pause(failures, at)
        return failures

    def succeeded(self, election_id: str) -> None:
        """Forget the log's failures."""
        self._pauses.pop(election_id, None)
