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

RULES = BreakerRules(failures=3, rest=timedelta(seconds=30))
URL = "http://ocsp.example/"


def _failed(times: int, at: datetime = NOW) -> BreakerState:
    state: BreakerState = Asked()
    for _ in range(times):
        state = after_failure(state, at, RULES)
    return state


@pytest.mark.parametrize("changes", [{"failures": 0}, {"rest": timedelta(0)}])
def test_rules_that_never_or_always_rest_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        BreakerRules(**changes)  # type: ignore[arg-type]  # names and types are BreakerRules'


def test_failures_short_of_the_limit_change_nothing() -> None:
    state = _failed(2)
    assert state == Asked(2)
    assert admit(state, NOW, RULES) == (state, True)


def test_after_the_limit_nobody_asks_until_the_rest_is_over() -> None:
    state = _failed(3)
    assert state == Resting(NOW + RULES.rest)
    just_before = NOW + RULES.rest - timedelta(microseconds=1)
    assert admit(state, just_before, RULES) == (state, False)


def test_after_the_rest_one_question_is_let_through() -> None:
    later = NOW + RULES.rest
    tried, admitted = admit(_failed(3), later, RULES)
    assert (tried, admitted) == (Tried(later + RULES.rest), True)
    assert admit(tried, later, RULES) == (tried, False)


def test_a_trial_that_fails_begins_another_rest() -> None:
    later = NOW + RULES.rest
    tried, _ = admit(_failed(3), later, RULES)
    assert after_failure(tried, later, RULES) == Resting(later + RULES.rest)


def test_a_trial_of_which_nothing_was_heard_does_not_block_for_ever() -> None:
    tried, _ = admit(_failed(3), NOW + RULES.rest, RULES)
    _, admitted = admit(tried, NOW + 2 * RULES.rest, RULES)
    assert admitted


def test_an_answer_forgets_the_failures() -> None:
    assert after_answer() == Asked(0)


@given(st.lists(st.tuples(st.sampled_from("fa"), st.integers(0, 60)), max_size=40))
def test_whatever_happens_a_responder_is_tried_again_within_a_rest(
    events: list[tuple[str, int]],
) -> None:
    at, state = NOW, _failed(0)
    for event, seconds in events:
        at += timedelta(seconds=seconds)
        state, admitted = admit(state, at, RULES)
        if admitted:
            state = after_answer() if event == "a" else after_failure(state, at, RULES)
    assert admit(state, at + RULES.rest, RULES)[1]


def test_each_responder_has_a_breaker_of_its_own() -> None:
    breakers = Breakers(RULES)
    for _ in range(3):
        assert breakers.rests_until(URL, NOW) is None
        breakers.failed(URL, NOW)
    assert breakers.rests_until(URL, NOW) == NOW + RULES.rest
    assert breakers.rests_until("http://other.example/", NOW) is None
    later = NOW + RULES.rest
    assert breakers.rests_until(URL, later) is None
    assert breakers.rests_until(URL, later) == later + RULES.rest
    breakers.answered(URL)
    assert breakers.rests_until(URL, later) is None
