"""Rotation of keys with overlap: next, current, retired, the same for every purpose. Pure.

    next      published, so that others may pin it or learn it; signs nothing yet
    current   the one key that signs
    retired   signs nothing any more; what it signed is still accepted until its end

A next key may have a time at which it takes over: from that instant, on every host and in every
process, it is the current one and the former current key is retired. Without such a time a person
changes the states in the settings and reloads.

One key signs at any time, and before it signs its public half has been published as long as the
operator chose: that is the overlap, and the reason why nobody is refused meanwhile.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from signer.errors import KeyInService, KeyRetired, KeyUnlisted, RotationWrong


class KeyState(StrEnum):
    """Where a key is in its life."""

    NEXT = "next"
    CURRENT = "current"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class KeyTerm:
    """One key of a purpose, as it was declared.

    Attributes:
        key: names it: its PKCS#11 URI (RFC 7512).
        state: before any time of taking over.
        takes_over_at: of a next key: when it becomes the current one by itself, aware; or None.
        accepted_until: of a key that is retired, or will be at a known time: until then what it
            signed is accepted, aware.
    """

    key: str
    state: KeyState
    takes_over_at: datetime | None = None
    accepted_until: datetime | None = None

    def __post_init__(self) -> None:
        times = (self.takes_over_at, self.accepted_until)
        if any(time is not None and time.tzinfo is None for time in times):
            raise RotationWrong("times have an offset")
        if self.takes_over_at is not None and self.state is not KeyState.NEXT:
            raise RotationWrong("takes_over_at is for a next key alone")
        if self.accepted_until is not None and self.state is KeyState.NEXT:
            raise RotationWrong("a next key has no accepted_until yet")
        if self.accepted_until is None and self.state is KeyState.RETIRED:
            raise RotationWrong("a retired key has an accepted_until: its end")


@dataclass(frozen=True, slots=True)
class Rotation:
    """All keys of one purpose, well-formed.

    Attributes:
        terms: one current key; at most one next key; any number of retired ones.
    """

    terms: tuple[KeyTerm, ...]

    def __post_init__(self) -> None:
        """Check what must hold at any time.

        1. Each key is named once.
        2. Exactly one is current.
        3. At most one is next.
        4. Where it takes over at a time, the current key has its end, not before that time;
           where it does not, the current key has no end: nobody would follow it.

        Raises:
            RotationWrong: one of them does not hold.
        """
        # 1.
        if len({term.key for term in self.terms}) < len(self.terms):
            raise RotationWrong("a key is named twice")
        # 2.
        currents = self._in(KeyState.CURRENT)
        if len(currents) != 1:
            raise RotationWrong(f"{len(currents)} keys are current; exactly one must be")
        # 3.
        following = self._in(KeyState.NEXT)
        if len(following) > 1:
            raise RotationWrong(f"{len(following)} keys are next; at most one may be")
        # 4.
        takes_over_at = following[0].takes_over_at if following else None
        end = currents[0].accepted_until
        if takes_over_at is None and end is not None:
            raise RotationWrong("the current key has an end, and no next key takes over at a time")
        if takes_over_at is not None and (end is None or end < takes_over_at):
            raise RotationWrong("the current key needs an accepted_until after the taking over")

    def state(self, key: str, at: datetime) -> KeyState:
        """A key's state at a time; raises KeyUnlisted."""
        term = self._term(key)
        if term.state is KeyState.RETIRED or not self._has_taken_over(at):
            return term.state
        return KeyState.CURRENT if term.state is KeyState.NEXT else KeyState.RETIRED

    def current(self, at: datetime) -> KeyTerm:
        """The one key that signs at a time."""
        state = KeyState.NEXT if self._has_taken_over(at) else KeyState.CURRENT
        return self._in(state)[0]

    def accepted(self, at: datetime) -> tuple[KeyTerm, ...]:
        """What is published, and whose signatures are accepted, at a time: the current key first.

        The next key, too, since another process's clock may run ahead; a retired one until its end.
        """
        current = self.current(at)
        others = [
            term
            for term in self.terms
            if term is not current
            and (
                self.state(term.key, at) is KeyState.NEXT
                or (term.accepted_until is not None and at < term.accepted_until)
            )
        ]
        return (current, *others)

    @property
    def signing(self) -> tuple[KeyTerm, ...]:
        """Keys that sign now or will by themselves: a process opens them when it starts."""
        following = [term for term in self._in(KeyState.NEXT) if term.takes_over_at is not None]
        return (*self._in(KeyState.CURRENT), *following)

    def next_change(self, at: datetime) -> datetime | None:
        """When another key becomes the current one by itself; None where none will any more."""
        times = (term.takes_over_at for term in self._in(KeyState.NEXT))
        return next((time for time in times if time is not None and time > at), None)

    def require_before_service(self, key: str, at: datetime, *, is_certified: bool) -> None:
        """Refuse a key that is or was in service; one that is not named here never was.

        Args:
            key: names it.
            at: now, aware.
            is_certified: whether its certificate is in place: a current key that needs one and
                has none cannot be used yet.

        Raises:
            KeyInService, KeyRetired: it is in service, or was.
        """
        try:
            state = self.state(key, at)
        except KeyUnlisted:
            return
        if state is KeyState.RETIRED:
            raise KeyRetired(f"{key} is retired")
        if state is KeyState.CURRENT and is_certified:
            raise KeyInService(f"{key} is in service")

    def require_out_of_service(self, key: str, at: datetime) -> None:
        """Refuse a key that signs or will; raises KeyInService."""
        try:
            state = self.state(key, at)
        except KeyUnlisted:
            return
        if state is not KeyState.RETIRED:
            raise KeyInService(f"{key} is {state}: declare another key current, this one retired")

    def _has_taken_over(self, at: datetime) -> bool:
        times = (term.takes_over_at for term in self._in(KeyState.NEXT))
        return any(time is not None and at >= time for time in times)

    def _in(self, state: KeyState) -> list[KeyTerm]:
        return [term for term in self.terms if term.state is state]

    def _term(self, key: str) -> KeyTerm:
        for term in self.terms:
            if term.key == key:
                return term
        raise KeyUnlisted(f"{key} is not named in the settings")


def only_key(key: str) -> Rotation:
    """The rotation of a purpose that has one key."""
    return Rotation((KeyTerm(key, KeyState.CURRENT),))


Item = TypeVar("Item")
Made = TypeVar("Made")


class Rotated(Generic[Item]):
    """What was made for each key that signs: a signer, a responder; handed out by the time.

    Args:
        rotation: of the purpose.
        items: by key, for all of `Rotation.signing`.
    """

    def __init__(self, rotation: Rotation, items: Mapping[str, Item]) -> None:
        self._rotation = rotation
        self._items = {term.key: items[term.key] for term in rotation.signing}

    def current(self, at: datetime) -> Item:
        """What belongs to the key that signs at this time."""
        return self._items[self._rotation.current(at).key]

    @property
    def items(self) -> Mapping[str, Item]:
        """All of them by key; that of the declared current key first."""
        return dict(self._items)

    def map(self, make: Callable[[str, Item], Made]) -> "Rotated[Made]":
        """Something else for each key, made of the key's name and what there is."""
        made = {key: make(key, item) for key, item in self._items.items()}
        return Rotated(self._rotation, made)
