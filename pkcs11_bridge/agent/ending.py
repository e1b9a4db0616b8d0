"""A program that holds a card ends in order when it is told to end, so that the card is closed."""

import signal
import sys
from types import FrameType
from typing import Never

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def end_in_order() -> None:
    """Turn SIGTERM, SIGINT and SIGHUP into SystemExit (128 + number): every ``finally`` runs.

    Only the first counts: a second one must not interrupt the way out, where the card is closed.
    SIGKILL cannot be caught; the next login resets the card before anything else.
    """
    for number in ENDING:
        signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> Never:
    del frame
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(128 + number)
