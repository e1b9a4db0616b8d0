"""What happens at the readers, as events: cards, readers and the PC/SC service come and go.

A thread waits on PC/SC and puts events into a bounded queue. Events are differences between what
was told last and what is seen now, so a slow listener loses nothing that still counts: while the
queue is full nothing new is looked at, and what then is told leads to the state that is true then.
A card that was swapped in between shows by PC/SC's own count of changes.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from pkcs11_bridge import readers
from pkcs11_bridge.errors import DeviceUnavailable, TokenError
from pkcs11_bridge.readers import Reader

QUEUE_SIZE = 64
RETRY_SECONDS = 0.5
"""How often a PC/SC service that is down is looked for."""
_STOP_POLL_SECONDS = 0.2

Seen = tuple[Reader, ...] | None
"""All readers; None: the PC/SC service does not answer."""


class EventKind(StrEnum):
    """What happened."""

    SERVICE_UP = "service-up"
    SERVICE_DOWN = "service-down"
    READER_ADDED = "reader-added"
    READER_REMOVED = "reader-removed"
    CARD_INSERTED = "card-inserted"
    CARD_REMOVED = "card-removed"
    CARD_MUTE = "card-mute"
    """A card was put in and does not answer."""


@dataclass(frozen=True, slots=True)
class CardEvent:
    """One thing that happened, at which reader; ``atr`` is the inserted card's."""

    kind: EventKind
    reader: str | None = None
    atr: bytes | None = None


def differences(before: Seen, after: Seen) -> tuple[CardEvent, ...]:
    """The events that lead from one state to another, what goes first and what comes after. Pure.

    A service that goes takes its readers with it, silently.
    """
    if after is None:
        return () if before is None else (CardEvent(EventKind.SERVICE_DOWN),)
    events = [CardEvent(EventKind.SERVICE_UP)] if before is None else []
    old = {reader.name: reader for reader in before or ()}
    new = {reader.name: reader for reader in after}
    for name, reader in old.items():
        if name not in new:
            events.extend(_emptied(reader))
            events.append(CardEvent(EventKind.READER_REMOVED, name))
    for name, reader in new.items():
        known = old.get(name)
        if known is None:
            events.append(CardEvent(EventKind.READER_ADDED, name))
            events.extend(_filled(reader))
        elif known != reader:
            events.extend(_emptied(known))
            events.extend(_filled(reader))
    return tuple(events)


def _emptied(reader: Reader) -> Iterator[CardEvent]:
    if reader.atr is not None or reader.mute:
        yield CardEvent(EventKind.CARD_REMOVED, reader.name)


def _filled(reader: Reader) -> Iterator[CardEvent]:
    if reader.mute:
        yield CardEvent(EventKind.CARD_MUTE, reader.name)
    elif reader.atr is not None:
        yield CardEvent(EventKind.CARD_INSERTED, reader.name, reader.atr)


class CardMonitor:
    """Watches all readers while it is entered; the first events tell what is there already."""

    def __init__(
        self,
        queue_size: int = QUEUE_SIZE,
        look: Callable[[Sequence[Reader], float], tuple[Reader, ...]] = readers.wait_for_change,
    ) -> None:
        self._events: queue.Queue[CardEvent] = queue.Queue(queue_size)
        self._look = look
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._watch, name="card-monitor", daemon=True)

    def next_event(self, seconds: float) -> CardEvent | None:
        """The next event; None if nothing happened for that long.

        Raises:
            DeviceUnavailable: the monitor itself came to an end.
        """
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            if self._failure is not None:
                raise DeviceUnavailable("the readers are not watched any more") from self._failure
            return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        told: Seen = None
        try:
            while not self._stop.is_set():
                seen = self._see(told)
                for event in differences(told, seen):
                    if not self._tell(event):
                        return
                told = seen
        except Exception as e:  # noqa: BLE001 - whatever ended the thread is raised to the listener
            self._failure = e

    def _see(self, told: Seen) -> Seen:
        try:
            return self._look(told or (), 0.0 if told is None else readers.LOOK_SECONDS)
        except TokenError:
            # Down, or in the middle of its start or end: what is there is told anew when it is up.
            self._stop.wait(RETRY_SECONDS)
            return None

    def _tell(self, event: CardEvent) -> bool:
        """Put the event into the queue, waiting for room; False when the monitor is left."""
        while not self._stop.is_set():
            try:
                self._events.put(event, timeout=_STOP_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
