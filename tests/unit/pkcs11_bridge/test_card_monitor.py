"""Events out of what is seen; a monitor with readers of our own."""

import threading
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest

from pkcs11_bridge import card_monitor
from pkcs11_bridge.card_monitor import CardEvent, CardMonitor, EventKind, Seen, differences
from pkcs11_bridge.errors import DeviceUnavailable, ReaderServiceDown
from pkcs11_bridge.readers import Reader

ATR, OTHER = b"\x3b\x80", b"\x3b\x81"
EMPTY, CARD = Reader("a", None), Reader("a", ATR, changes=1)
DEADLINE = 60.0


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (None, None, []),
        (None, (), [("service-up", None)]),
        ((), None, [("service-down", None)]),
        ((CARD,), None, [("service-down", None)]),
        (None, (CARD,), [("service-up", None), ("reader-added", "a"), ("card-inserted", "a")]),
        ((EMPTY,), (CARD,), [("card-inserted", "a")]),
        ((CARD,), (Reader("a", None, changes=2),), [("card-removed", "a")]),
        ((CARD,), (CARD,), []),
        ((CARD,), (Reader("a", ATR, changes=3),), [("card-removed", "a"), ("card-inserted", "a")]),
        (
            (CARD,),
            (Reader("a", OTHER, changes=1),),
            [("card-removed", "a"), ("card-inserted", "a")],
        ),
        ((EMPTY,), (Reader("a", None, mute=True),), [("card-mute", "a")]),
        ((CARD,), (), [("card-removed", "a"), ("reader-removed", "a")]),
        (
            (CARD,),
            (Reader("b", ATR, changes=1),),
            [
                ("card-removed", "a"),
                ("reader-removed", "a"),
                ("reader-added", "b"),
                ("card-inserted", "b"),
            ],
        ),
    ],
)
def test_differences(before: Seen, after: Seen, events: list[tuple[str, str | None]]) -> None:
    found = differences(before, after)
    assert [(event.kind.value, event.reader) for event in found] == events
    inserted = [event.atr for event in found if event.kind is EventKind.CARD_INSERTED]
    assert None not in inserted


class Readers:
    """What a monitor looks at; ``looked`` is set when it has looked at the newest."""

    def __init__(self, now: Seen | Exception) -> None:
        self.now = now
        self.looks = 0
        self.looked = threading.Event()

    def look(self, seen: Sequence[Reader], seconds: float) -> tuple[Reader, ...]:
        self.looks += 1
        now = self.now
        self.looked.set()
        time.sleep(0.005)
        if isinstance(now, Exception):
            raise now
        if now is None:
            raise ReaderServiceDown("down")
        return now

    def become(self, now: Seen | Exception) -> None:
        self.now = now
        self.looked.clear()
        assert self.looked.wait(DEADLINE)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_monitor, "RETRY_SECONDS", 0.01)


def kinds(monitor: CardMonitor, count: int) -> list[str]:
    found = [monitor.next_event(DEADLINE) for _ in range(count)]
    return [event.kind.value for event in found if event is not None]


def test_what_comes_and_goes() -> None:
    desk = Readers(())
    with CardMonitor(look=desk.look) as monitor:
        assert kinds(monitor, 1) == ["service-up"]
        desk.become((CARD,))
        assert kinds(monitor, 2) == ["reader-added", "card-inserted"]
        desk.become(None)
        assert kinds(monitor, 1) == ["service-down"]
        desk.become((CARD,))
        assert kinds(monitor, 3) == ["service-up", "reader-added", "card-inserted"]
        assert monitor.next_event(0.02) is None


def test_a_slow_listener_fills_no_memory_and_gets_the_state_that_is_true_then() -> None:
    desk = Readers((EMPTY,))
    with CardMonitor(queue_size=2, look=desk.look) as monitor:
        assert kinds(monitor, 2) == ["service-up", "reader-added"]
        state = EMPTY
        for changes in range(1, 40):
            state = Reader("a", ATR if changes % 2 else None, changes=changes)
            desk.now = (state,)
            time.sleep(0.002)
        told: list[CardEvent] = []
        # The next look sees the last state, and the one after it begins when all was told.
        looks = desk.looks
        while desk.looks < looks + 2:
            event = monitor.next_event(0.05)
            told += [] if event is None else [event]
        while (event := monitor.next_event(0.05)) is not None:
            told.append(event)
        assert told[-1].kind is EventKind.CARD_INSERTED
        assert len(told) < 40
        for before, after in pairwise(told):
            assert before.kind is not after.kind


def test_a_service_that_breaks_off_is_down_until_it_answers() -> None:
    desk = Readers((CARD,))
    with CardMonitor(look=desk.look) as monitor:
        assert len(kinds(monitor, 3)) == 3
        desk.become(DeviceUnavailable("comm error"))
        assert kinds(monitor, 1) == ["service-down"]
        desk.become((CARD,))
        assert kinds(monitor, 3) == ["service-up", "reader-added", "card-inserted"]


def test_a_monitor_that_ended_says_so() -> None:
    desk = Readers(ZeroDivisionError("a mistake of ours"))
    with CardMonitor(look=desk.look) as monitor:
        monitor._thread.join(DEADLINE)
        with pytest.raises(DeviceUnavailable) as caught:
            monitor.next_event(0.05)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_leaving_does_not_wait_for_a_listener() -> None:
    desk = Readers((CARD,))
    with CardMonitor(queue_size=1, look=desk.look):
        assert desk.looked.wait(DEADLINE)
