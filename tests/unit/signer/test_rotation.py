"""Rotation: who signs, what is accepted, and which declarations are nonsense."""

from datetime import UTC, datetime, timedelta

import pytest

from signer.errors import KeyInService, KeyRetired, KeyUnlisted, RotationWrong
from signer.rotation import KeyState, KeyTerm, Rotated, Rotation, only_key

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)
NEXT, CURRENT, RETIRED = KeyState.NEXT, KeyState.CURRENT, KeyState.RETIRED

OLD = KeyTerm("old", RETIRED, accepted_until=NOW + DAY)
PRESENT = KeyTerm("present", CURRENT)
COMING = KeyTerm("coming", NEXT)
PLANNED = KeyTerm("coming", NEXT, takes_over_at=NOW)
LEAVING = KeyTerm("present", CURRENT, accepted_until=NOW + DAY)
SCHEDULED = Rotation((LEAVING, PLANNED, OLD))


@pytest.mark.parametrize(
    ("terms", "fact"),
    [
        ((), "0 keys are current"),
        ((COMING, OLD), "0 keys are current"),
        ((PRESENT, KeyTerm("other", CURRENT)), "2 keys are current"),
        ((PRESENT, COMING, KeyTerm("other", NEXT)), "2 keys are next"),
        ((PRESENT, KeyTerm("present", RETIRED, accepted_until=NOW)), "named twice"),
        ((PRESENT, PLANNED), "needs an accepted_until"),
        ((KeyTerm("present", CURRENT, accepted_until=NOW - INSTANT), PLANNED), "needs an acc"),
        ((LEAVING,), "no next key takes over"),
        ((LEAVING, COMING), "no next key takes over"),
    ],
)
def test_nonsense_is_refused(terms: tuple[KeyTerm, ...], fact: str) -> None:
    with pytest.raises(RotationWrong, match=fact):
        Rotation(terms)


@pytest.mark.parametrize(
    ("state", "takes_over_at", "accepted_until", "fact"),
    [
        (CURRENT, NOW, None, "for a next key alone"),
        (RETIRED, NOW, NOW, "for a next key alone"),
        (NEXT, None, NOW, "no accepted_until yet"),
        (RETIRED, None, None, "its end"),
        (NEXT, NOW.replace(tzinfo=None), None, "offset"),
        (RETIRED, None, NOW.replace(tzinfo=None), "offset"),
    ],
)
def test_times_that_a_state_does_not_have_are_refused(
    state: KeyState, takes_over_at: datetime | None, accepted_until: datetime | None, fact: str
) -> None:
    with pytest.raises(RotationWrong, match=fact):
        KeyTerm("key", state, takes_over_at, accepted_until)


def test_a_key_that_is_not_declared_has_no_state() -> None:
    with pytest.raises(KeyUnlisted):
        SCHEDULED.state("stranger", NOW)


def test_a_key_takes_over_at_its_instant_and_not_before() -> None:
    before = NOW - INSTANT
    assert SCHEDULED.current(before) is LEAVING
    assert SCHEDULED.current(NOW) is PLANNED
    states = [(SCHEDULED.state(key, before), SCHEDULED.state(key, NOW)) for key in _NAMES]
    assert states == [(CURRENT, RETIRED), (NEXT, CURRENT), (RETIRED, RETIRED)]


def test_the_next_change_is_told_until_it_has_come() -> None:
    assert SCHEDULED.next_change(NOW - INSTANT) == NOW
    assert SCHEDULED.next_change(NOW) is None
    assert Rotation((PRESENT, COMING)).next_change(NOW) is None


_NAMES = ("present", "coming", "old")


def test_a_next_key_without_a_time_waits_for_a_person() -> None:
    rotation = Rotation((PRESENT, COMING))
    assert rotation.current(NOW + 1000 * DAY) is PRESENT
    assert rotation.signing == (PRESENT,)


@pytest.mark.parametrize(
    ("at", "accepted"),
    [
        (NOW - DAY, ["present", "coming", "old"]),
        (NOW, ["coming", "present", "old"]),
        (NOW + DAY - INSTANT, ["coming", "present", "old"]),
        (NOW + DAY, ["coming"]),
    ],
)
def test_what_is_accepted_is_next_and_current_and_what_was_until_its_end(
    at: datetime, accepted: list[str]
) -> None:
    assert [term.key for term in SCHEDULED.accepted(at)] == accepted


def test_at_any_time_exactly_one_key_is_current() -> None:
    for hours in range(-48, 72):
        at = NOW + timedelta(hours=hours)
        states = [SCHEDULED.state(key, at) for key in _NAMES]
        assert states.count(CURRENT) == 1
        assert SCHEDULED.state(SCHEDULED.current(at).key, at) is CURRENT


def test_only_a_key_before_its_service_may_ask_for_a_certificate() -> None:
    for certified in (True, False):
        with pytest.raises(KeyRetired):
            SCHEDULED.require_before_service("old", NOW, is_certified=certified)
        with pytest.raises(KeyRetired):
            SCHEDULED.require_before_service("present", NOW, is_certified=certified)
    with pytest.raises(KeyInService):
        SCHEDULED.require_before_service("coming", NOW, is_certified=True)
    SCHEDULED.require_before_service("coming", NOW, is_certified=False)
    SCHEDULED.require_before_service("coming", NOW - INSTANT, is_certified=True)
    SCHEDULED.require_before_service("stranger", NOW, is_certified=True)


def test_only_a_key_out_of_service_may_be_retired_for_good() -> None:
    for key, at in (("present", NOW - INSTANT), ("coming", NOW), ("coming", NOW - INSTANT)):
        with pytest.raises(KeyInService):
            SCHEDULED.require_out_of_service(key, at)
    SCHEDULED.require_out_of_service("present", NOW)
    SCHEDULED.require_out_of_service("old", NOW - DAY)
    SCHEDULED.require_out_of_service("stranger", NOW)


def test_what_was_made_for_each_key_is_handed_out_by_the_time() -> None:
    made = Rotated(SCHEDULED, {"present": 1, "coming": 2}).map(lambda key, item: f"{key} {item}")
    assert made.current(NOW - INSTANT) == "present 1"
    assert made.current(NOW) == "coming 2"
    assert made.items == {"present": "present 1", "coming": "coming 2"}
    with pytest.raises(KeyError):
        Rotated(SCHEDULED, {"present": 1})


def test_one_key_is_a_rotation() -> None:
    assert only_key("k").current(NOW).key == "k"
