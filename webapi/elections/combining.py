"""What several threads of a process ask for at the same moment, carried out as one."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(slots=True)
class _Ticket(Generic[Item, Outcome]):
    item: Item
    # Held until the thread that waits for it has something to do: to return, or to lead.
    gate: threading.Lock = field(default_factory=threading.Lock)
    outcome: list[Outcome] = field(default_factory=list)
    error: BaseException | None = None


class Combiner(Generic[Item, Outcome]):
    """Gathers what is handed in while the last group is carried out, and makes it the next one.

    Nobody waits for company: a thread that finds nothing under way begins at once, alone.
    There is no thread of its own; each group is carried out by one of those who are in it.

    Args:
        carry_out: gets items of one or more threads; gives as many outcomes, in their order.
            What it raises, all of its group are told.
        most: items of one group.
    """

    def __init__(
        self, carry_out: Callable[[Sequence[Item]], Sequence[Outcome]], *, most: int
    ) -> None:
        self._carry_out = carry_out
        self._most = most
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[Item, Outcome]] = []
        self._busy = False

    def submit(self, item: Item) -> Outcome:
        """Hand in an item; returns its outcome when its group was carried out.

        Raises:
            Exception: whatever `carry_out` raised for the group.
        """
        ticket: _Ticket[Item, Outcome] = _Ticket(item)
        ticket.gate.acquire()
        with self._lock:
            self._waiting.append(ticket)
            leads = not self._busy
            self._busy = True
        if not leads:
            ticket.gate.acquire()
        if not ticket.outcome and ticket.error is None:
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        return ticket.outcome[0]

    def _lead(self) -> None:
        """Carry out a group, among whom is the caller; then pass the lead on."""
        with self._lock:
            group = self._waiting[: self._most]
            del self._waiting[: self._most]
        try:
            outcomes = self._carry_out([ticket.item for ticket in group])
            for ticket, outcome in zip(group, outcomes, strict=True):
                ticket.outcome.append(outcome)
        except BaseException as error:  # noqa: BLE001 - each of the group raises it
            for ticket in group:
                ticket.error = error
        finally:
            with self._lock:
                self._busy = bool(self._waiting)
                successor = self._waiting[0] if self._waiting else None
            if successor is not None:
                successor.gate.release()
            for ticket in group:
                ticket.gate.release()
