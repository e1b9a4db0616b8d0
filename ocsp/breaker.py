"""When a responder is left alone: a circuit breaker, as pure functions over frozen states.

A responder that failed several times in a row rests for a while, so that no login waits for its
deadline in vain; then one question tries it again. The first rest is short, as logins that have no
other responder fail meanwhile and a restart is soon over; each trial that fails doubles the next.
`Breakers` holds the states of a process.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a responder rests.

    Attributes:
        failures: in a row, after which it rests.
        first_rest: for so long.
        longest_rest: what doubling ends at; also how long one trial may take before another is
            let through.
    """

    failures: int = 5
    first_rest: timedelta = timedelta(seconds=1)
    longest_rest: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        if self.failures < 1 or not timedelta(0) < self.first_rest <= self.longest_rest:
            raise ValueError("a breaker needs at least one failure and a rest")


@dataclass(frozen=True, slots=True)
class Asked:
    """The responder is asked as usual.

    Attributes:
        failures: since its last answer.
    """

    failures: int = 0


@dataclass(frozen=True, slots=True)
class Resting:
    """Nobody asks the responder.

    Attributes:
        until: then one question is let through.
        next_rest: how long it rests if that one fails.
    """

    until: datetime
    next_rest: timedelta


@dataclass(frozen=True, slots=True)
class Tried:
    """One question is under way to see whether it answers again.

    Attributes:
        until: if nothing was heard by then, another is let through.
        next_rest: how long the responder rests if it fails.
    """

    until: datetime
    next_rest: timedelta


BreakerState = Asked | Resting | Tried


def admit(state: BreakerState, at: datetime, rules: BreakerRules) -> tuple[BreakerState, bool]:
    """The next state, and whether a question may be sent now."""
    match state:
        case Asked():
            return state, True
        case Resting(until, next_rest) | Tried(until, next_rest):
            if at < until:
                return state, False
            return Tried(at + rules.longest_rest, next_rest), True


def after_answer() -> BreakerState:
    """The state after any answer: the responder is there."""
    return Asked()


def after_failure(state: BreakerState, at: datetime, rules: BreakerRules) -> BreakerState:
    """The state after a question without an answer."""
    match state:
        case Asked(failures) if failures + 1 < rules.failures:
            return Asked(failures + 1)
        case Asked():
            return _resting(at, rules.first_rest, rules)
        case Resting():
            # The question was asked before the rest began, and tells nothing new.
            return state
        case Tried(_, next_rest):
            return _resting(at, next_rest, rules)


def _resting(at: datetime, rest: timedelta, rules: BreakerRules) -> Resting:
    return Resting(at + rest, min(2 * rest, rules.longest_rest))


class Breakers:
    """The breaker of each responder, by URL, shared by the threads of a process.

    Not shared between processes: each learns by a few failures of its own, and no database stands
    between a login and a responder that is well.
    """

    def __init__(self, rules: BreakerRules | None = None) -> None:
        self._rules = rules or BreakerRules()
        self._states: dict[str, BreakerState] = {}
        self._lock = threading.Lock()

    def rests_until(self, responder_url: str, at: datetime) -> datetime | None:
        """None if the responder may be asked now, and the question counts as sent."""
        with self._lock:
            state, admitted = admit(self._state(responder_url), at, self._rules)
            self._states[responder_url] = state
        if admitted or isinstance(state, Asked):
            return None
        return state.until

    def answered(self, responder_url: str) -> None:
        """The responder answered, whatever it said."""
        with self._lock:
            self._states[responder_url] = after_answer()

    def failed(self, responder_url: str, at: datetime) -> None:
        """No answer was had."""
        with self._lock:
            state = self._state(responder_url)
            self._states[responder_url] = after_failure(state, at, self._rules)

    def _state(self, responder_url: str) -> BreakerState:
        return self._states.get(responder_url, Asked())
