"""A process in which no call into a token returns is ended, and no other."""

import threading
from datetime import timedelta

import pytest

from webapi.stuck_token import StuckToken

SOON = timedelta(milliseconds=20)
LONG = 30.0


@pytest.mark.parametrize("is_stuck", [True, False])
def test_it_ends_if_the_token_is_still_stuck_when_the_time_is_over(is_stuck: bool) -> None:
    asked, ended = threading.Event(), threading.Event()

    def look() -> bool:
        asked.set()
        return is_stuck

    token = StuckToken("pki", look, stuck_for=SOON, end=ended.set)
    token()
    assert asked.wait(LONG)
    assert ended.wait(LONG if is_stuck else 0.1) is is_stuck


def test_nothing_is_asked_before_the_time_is_over() -> None:
    asked = threading.Event()

    def look() -> bool:
        asked.set()
        return True

    StuckToken("pki", look, stuck_for=timedelta(hours=1), end=asked.set)()
    assert not asked.wait(0.05)
