"""The circuit breaker, with time as an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkcs11_bridge.breaker import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Breaker,
)

NOW = 1_000.0


def opened(at: float = NOW) -> Breaker:
    return Breaker().failed(at, at_once=True)


def test_a_few_failures_are_borne() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker = breaker.began().failed(NOW)
        assert breaker.is_closed
        assert breaker.lets_pass(NOW)
    assert not breaker.failed(NOW).lets_pass(NOW)
    assert breaker.succeeded().failed(NOW).is_closed


def test_it_lets_one_call_find_out_when_the_time_is_over() -> None:
    breaker = opened()
    just_before = NOW + FIRST_PAUSE_SECONDS - 0.001
    assert not breaker.lets_pass(just_before)
    after = NOW + FIRST_PAUSE_SECONDS
    assert breaker.lets_pass(after)
    probing = breaker.began()
    assert not probing.lets_pass(after + 1_000)
    assert probing.succeeded() == Breaker()
    again = probing.failed(after)
    assert not again.lets_pass(after + 2 * FIRST_PAUSE_SECONDS - 0.001)
    assert again.lets_pass(after + 2 * FIRST_PAUSE_SECONDS)


def test_a_probe_that_never_began_leaves_it_as_it_was() -> None:
    breaker = opened()
    after = NOW + FIRST_PAUSE_SECONDS
    assert breaker.began().left_open() == breaker
    assert breaker.began().left_open().lets_pass(after)


def test_the_pause_has_an_end() -> None:
    breaker, at = Breaker(), NOW
    for _ in range(20):
        breaker = breaker.began().failed(at, at_once=True)
        at += LONGEST_PAUSE_SECONDS
        assert breaker.lets_pass(at)


@given(st.lists(st.sampled_from(["good", "bad", "hung", "busy"]), max_size=30))
def test_one_success_closes_it_whatever_came_before(events: list[str]) -> None:
    breaker, at = Breaker(), NOW
    for event in events:
        at += LONGEST_PAUSE_SECONDS
        assert breaker.lets_pass(at)
        breaker = breaker.began()
        if event == "good":
            breaker = breaker.succeeded()
        elif event == "busy":
            breaker = breaker.left_open()
        else:
            breaker = breaker.failed(at, at_once=event == "hung")
    assert breaker.began().succeeded() == Breaker()


@pytest.mark.parametrize("failures", range(1, 6))
def test_what_failed_while_it_was_closed_still_counts_when_it_opens(failures: int) -> None:
    breaker = Breaker()
    for _ in range(failures):
        breaker = breaker.failed(NOW)
    assert breaker.failures == failures
    assert breaker.is_closed == (failures < FAILURES_TO_OPEN)
