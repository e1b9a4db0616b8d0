"""What several threads of a process ask for at the same moment, carried out as one."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from webapi.storage.errors import DatabaseBusy

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

PATIENCE_SECONDS = 2.0
LONGEST_SECONDS = 30.0
"""More than the waits for a connection and for a lock together."""


@dataclass(slots=True, eq=False)
class _Ticket(Generic[Item, Outcome]):
    item: Item
    # Set when the thread that waits for it has something to do: to return, or to lead.
    turn: threading.Event = field(default_factory=threading.Event)
    outcome: list[Outcome] = field(default_factory=list)
    error: BaseException | None = None


class Combiner(Generic[Item, Outcome]):
    """Gathers what is handed in while the last group is carried out, and makes it the next one.

    Nobody waits for company: a thread that finds nothing under way begins at once, alone.
    There is no thread of its own; each group is carried out by one of those who are in it.

    Nobody fails for another's sake: a group that finds the database busy is taken apart, and
    each of its threads carries out its own item. Nor does anybody wait for a group that hangs:
    those who are not in it become a group beside it when the patience of one of them is over.

    Args:
        carry_out: gets items of one or more threads; gives as many outcomes, in their order.
            What it raises, all of its group are told, save DatabaseBusy. It must do no harm
            to carry out an item twice, or behind the back of a thread that was told
            DatabaseBusy.
        most: items of one group.
        patience: seconds until somebody begins beside a group that is still under way.
        longest: seconds that the other threads of a group wait for its end.
    """

    def __init__(
        self,
        carry_out: Callable[[Sequence[Item]], Sequence[Outcome]],
        *,
        most: int,
        patience: float = PATIENCE_SECONDS,
        longest: float = LONGEST_SECONDS,
    ) -> None:
        self._carry_out = carry_out
        self._most = most
        self._patience = patience
        self._longest = longest
        self._lock = threading.Lock()
        self._waiting: list[_Ticket[Item, Outcome]] = []
        # Passes the lead on when its group is done, unless it was overtaken.
        self._leader: _Ticket[Item, Outcome] | None = None

    def submit(self, item: Item) -> Outcome:
        """Hand in an item; returns its outcome when its group was carried out.

        Raises:
            DatabaseBusy: `carry_out` said so of this item alone, or its group does not end;
                in that case the item may still be carried out.
            Exception: whatever else `carry_out` raised for the group.
        """
        ticket: _Ticket[Item, Outcome] = _Ticket(item)
        with self._lock:
            self._waiting.append(ticket)
            group = self._group_of(ticket) if self._leader is None else []
        if group or (group := self._await_turn(ticket)):
            self._lead(group)
        if ticket.error is not None:
            raise ticket.error
        if not ticket.outcome:
            (outcome,) = self._carry_out([item])
            return outcome
        return ticket.outcome[0]

    def _await_turn(self, ticket: _Ticket[Item, Outcome]) -> list[_Ticket[Item, Outcome]]:
        """Wait until the item was carried out, or its thread is to do it: then its group.

        Raises:
            DatabaseBusy: the item's group does not end.
        """
        ticket.turn.wait(self._patience)
        with self._lock:
            if ticket in self._waiting:
                return self._group_of(ticket)
        if not ticket.turn.wait(self._longest):
            raise DatabaseBusy("a transaction that this request is part of does not end")
        return []

    def _group_of(self, leader: _Ticket[Item, Outcome]) -> list[_Ticket[Item, Outcome]]:
        """Take the next group out of those who wait, the leader first; the lock is held."""
        self._leader = leader
        self._waiting.remove(leader)
        group = [leader, *self._waiting[: self._most - 1]]
        del self._waiting[: self._most - 1]
        for ticket in group:
            ticket.turn.clear()  # set for one that was to lead when another overtook it
        return group

    def _lead(self, group: list[_Ticket[Item, Outcome]]) -> None:
        """Carry out a group; then pass the lead on."""
        try:
            outcomes = self._carry_out([ticket.item for ticket in group])
            for ticket, outcome in zip(group, outcomes, strict=True):
                ticket.outcome.append(outcome)
        except BaseException as error:  # noqa: BLE001 - each of the group raises it
            # Without outcome and error, each of its threads carries out its own item.
            if len(group) == 1 or not isinstance(error, DatabaseBusy):
                for ticket in group:
                    ticket.error = error
        finally:
            with self._lock:
                if self._leader is group[0]:
                    self._leader = self._waiting[0] if self._waiting else None
                    if self._leader is not None:
                        self._leader.turn.set()
            for ticket in group:
                ticket.turn.set()
