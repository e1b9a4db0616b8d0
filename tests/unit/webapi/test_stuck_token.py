"""A process in which no call into a token returns is ended, and no other."""

import threading
from dataclasses import dataclass
from datetime import timedelta

import pytest

from tests.support.faults import await_fact
from webapi.stuck_token import StuckToken
from webapi.token_keys import is_stuck

SOON = timedelta(milliseconds=20)
LONG = 30.0


class Look:
    """Whether the token is stuck, each time that it is asked."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.asked_last = threading.Event()

    def __call__(self) -> bool:
        answer = self.answers.pop(0)
        if not self.answers:
            self.asked_last.set()
        return answer


@pytest.mark.parametrize("still", [True, False])
def test_it_ends_if_the_token_is_still_stuck_when_the_time_is_over(still: bool) -> None:
    look, ended = Look(True, still), threading.Event()
    StuckToken("pki", look, stuck_for=SOON, end=ended.set)()
    assert look.asked_last.wait(LONG)
    assert ended.wait(LONG if still else 0.1) is still


def test_a_token_that_is_not_stuck_is_not_looked_at_again() -> None:
    look, ended = Look(False), threading.Event()
    StuckToken("pki", look, stuck_for=SOON, end=ended.set)()
    assert look.asked_last.is_set()
    assert not ended.wait(0.1)


def test_nothing_ends_before_the_time_is_over_and_one_timer_waits_for_it() -> None:
    ended, before = threading.Event(), set(threading.enumerate())
    token = StuckToken("pki", lambda: True, stuck_for=timedelta(hours=1), end=ended.set)
    for _ in range(20):
        token()
    # What another test left behind may end meanwhile.
    assert len(set(threading.enumerate()) - before) == 1
    assert not ended.wait(0.05)


def test_it_is_looked_at_again_after_it_was_well_for_a_while() -> None:
    look, ended = Look(True, False, True, True), threading.Event()
    token = StuckToken("pki", look, stuck_for=SOON, end=ended.set)
    token()
    await_fact(lambda: len(look.answers) == 2)
    assert not ended.is_set()
    token()
    assert ended.wait(LONG)


def test_without_a_new_thread_the_next_one_who_tells_it_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ended = threading.Event()
    token = StuckToken("pki", lambda: True, stuck_for=SOON, end=ended.set)
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            token()
    token()
    assert ended.wait(LONG)


@dataclass(frozen=True)
class Token:
    is_stuck: bool
    is_ready: bool


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([Token(is_stuck=True, is_ready=False)], True),
        ([Token(is_stuck=False, is_ready=False)], False),
        ([Token(is_stuck=True, is_ready=False), Token(is_stuck=False, is_ready=True)], False),
        ([Token(is_stuck=True, is_ready=False), Token(is_stuck=False, is_ready=False)], True),
        ([Token(is_stuck=False, is_ready=False), Token(is_stuck=False, is_ready=False)], False),
        ([], False),
    ],
    ids=["stuck", "lost", "another signs", "another is lost", "both are lost", "none"],
)
def test_a_zone_is_stuck_where_a_token_is_and_no_other_signs(
    tokens: list[Token], expected: bool
) -> None:
    assert is_stuck(tokens) is expected
