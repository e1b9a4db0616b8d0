"""When a responder rests, and when it is tried again; the clock is an argument."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp.breaker import (
    Asked,
    BreakerRules,
    Breakers,
    BreakerState,
    Resting,
    Tried,
    admit,
    after_answer,
    after_failure,
)
from tests.support.certificates import NOW

SECOND = timedelta(seconds=1)
RULES = BreakerRules(failures=3, first_rest=SECOND, longest_rest=5 * SECOND)
URL = "http://ocsp.example/"


def _failed(times: int, at: datetime = NOW) -> BreakerState:
    state: BreakerState = Asked()
    for _ in range(times):
        state = after_failure(state, at, RULES)
    return state


@pytest.mark.parametrize(
    "changes",
    [{"failures": 0}, {"first_rest": timedelta(0)}, {"longest_rest": timedelta(milliseconds=999)}],
)
def test_rules_that_never_or_always_rest_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        BreakerRules(**changes)  # type: ignore[arg-type]  # names and types are BreakerRules'


def test_failures_short_of_the_limit_change_nothing() -> None:
    state = _failed(2)
    assert state == Asked(2)
    assert admit(state, NOW, RULES) == (state, True)


def test_after_the_limit_nobody_asks_until_the_rest_is_over() -> None:
    state = _failed(3)
    assert state == Resting(NOW + SECOND, 2 * SECOND)
    just_before = NOW + SECOND - timedelta(microseconds=1)
    assert admit(state, just_before, RULES) == (state, False)


def test_after_the_rest_one_question_is_let_through() -> None:
    later = NOW + SECOND
    tried, admitted = admit(_failed(3), later, RULES)
    assert (tried, admitted) == (Tried(later + RULES.longest_rest, 2 * SECOND), True)
    assert admit(tried, later, RULES) == (tried, False)


def test_each_trial_that_fails_doubles_the_rest_up_to_the_longest() -> None:
    at, state = NOW, _failed(3)
    rests = []
    for _ in range(5):
        assert isinstance(state, Resting)
        rests.append((state.until - at).total_seconds())
        at = state.until
        state = after_failure(admit(state, at, RULES)[0], at, RULES)
    assert rests == [1, 2, 4, 5, 5]


def test_failures_of_questions_from_before_the_rest_do_not_prolong_it() -> None:
    state = _failed(3)
    assert after_failure(state, NOW + SECOND / 2, RULES) == state


def test_a_trial_of_which_nothing_was_heard_does_not_block_for_ever() -> None:
    tried, _ = admit(_failed(3), NOW + SECOND, RULES)
    _, admitted = admit(tried, NOW + SECOND + RULES.longest_rest, RULES)
    assert admitted


def test_an_answer_forgets_the_failures() -> None:
    assert after_answer() == Asked(0)


@given(st.lists(st.tuples(st.sampled_from("fa"), st.integers(0, 10)), max_size=40))
def test_whatever_happens_a_responder_is_tried_again_within_a_rest(
    events: list[tuple[str, int]],
) -> None:
    at, state = NOW, _failed(0)
    for event, seconds in events:
        at += timedelta(seconds=seconds)
        state, admitted = admit(state, at, RULES)
        if admitted:
            state = after_answer() if event == "a" else after_failure(state, at, RULES)
    assert admit(state, at + RULES.longest_rest, RULES)[1]


def test_each_responder_has_a_breaker_of_its_own() -> None:
    breakers = Breakers(RULES)
    for _ in range(3):
        assert breakers.rests_until(URL, NOW) is None
        breakers.failed(URL, NOW)
    assert breakers.rests_until(URL, NOW) == NOW + SECOND
    assert breakers.rests_until("http://other.example/", NOW) is None
    later = NOW + SECOND
    assert breakers.rests_until(URL, later) is None
    assert breakers.rests_until(URL, later) == later + RULES.longest_rest
    breakers.answered(URL)
    assert breakers.rests_until(URL, later) is None
