"""The PIN latch on disk."""

import json
import stat
from pathlib import Path

import pytest

from pkcs11_bridge.errors import PinLatched
from pkcs11_bridge.latch import MAX_UNKNOWN_ENDS, LatchState, PinLatch
from pkcs11_bridge.pin import Pin

PIN = Pin("648219")
NEW_PIN = Pin("118822")


@pytest.fixture
def latch(tmp_path: Path) -> PinLatch:
    return PinLatch.of(tmp_path, Path("/usr/lib/module.so"), "svc", "1a2b")


def refuse(latch: PinLatch, pin: Pin = PIN) -> None:
    latch.arm(pin, refused_before=False)
    latch.refused()


def test_a_refused_pin_is_latched_again_and_again(latch: PinLatch) -> None:
    refuse(latch)
    for _ in range(3):
        with pytest.raises(PinLatched):
            latch.arm(PIN, refused_before=False)


def test_another_pin_unlatches_and_the_old_one_may_then_be_tried(latch: PinLatch) -> None:
    refuse(latch)
    latch.arm(NEW_PIN, refused_before=True)
    latch.release()
    latch.arm(PIN, refused_before=False)


def test_another_pin_that_is_refused_too_is_latched(latch: PinLatch) -> None:
    refuse(latch)
    refuse(latch, NEW_PIN)
    with pytest.raises(PinLatched):
        latch.arm(NEW_PIN, refused_before=False)


def test_a_death_in_between_is_forgiven_so_often_and_no_more(latch: PinLatch) -> None:
    latch.arm(PIN, refused_before=False)
    for _ in range(MAX_UNKNOWN_ENDS):
        latch.arm(PIN, refused_before=False)
    with pytest.raises(PinLatched):
        latch.arm(PIN, refused_before=False)


def test_an_attempt_that_spent_nothing_does_not_forgive_an_unknown_end(latch: PinLatch) -> None:
    for _ in range(MAX_UNKNOWN_ENDS + 1):
        for _ in range(3):
            latch.arm(PIN, refused_before=False)
            latch.disarm()
        latch.arm(PIN, refused_before=False)
    with pytest.raises(PinLatched):
        latch.arm(PIN, refused_before=False)


def test_an_attempt_that_spent_nothing_leaves_nothing(latch: PinLatch) -> None:
    latch.arm(PIN, refused_before=False)
    latch.disarm()
    latch.disarm()
    assert list(latch.path.parent.iterdir()) == []


def test_a_death_in_between_on_a_token_that_tells_of_a_wrong_pin(latch: PinLatch) -> None:
    latch.arm(PIN, refused_before=False)
    with pytest.raises(PinLatched):
        latch.arm(PIN, refused_before=True)


def test_a_token_s_flag_alone_latches_nothing(latch: PinLatch) -> None:
    latch.arm(PIN, refused_before=True)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"state": "other", "salt": "00", "pin_hash": "00", "unknown_ends": 0}',
        '{"state": "refused", "salt": "xx", "pin_hash": "00", "unknown_ends": 0}',
        '{"state": "refused", "salt": 1, "pin_hash": "00", "unknown_ends": 0}',
        '{"state": "refused", "salt": "00", "pin_hash": "00", "unknown_ends": "x"}',
    ],
)
def test_a_latch_that_cannot_be_read_latches(latch: PinLatch, content: str) -> None:
    latch.path.write_text(content)
    with pytest.raises(PinLatched):
        latch.arm(PIN, refused_before=False)


def test_a_latch_that_is_a_directory_latches(latch: PinLatch) -> None:
    latch.path.mkdir()
    with pytest.raises(PinLatched):
        latch.arm(PIN, refused_before=False)


def test_a_latch_that_vanished_during_the_login_latches(latch: PinLatch) -> None:
    latch.arm(PIN, refused_before=False)
    latch.path.unlink()
    with pytest.raises(PinLatched):
        latch.refused()


def test_success_leaves_nothing(latch: PinLatch) -> None:
    latch.arm(PIN, refused_before=False)
    latch.release()
    latch.release()
    assert list(latch.path.parent.iterdir()) == []


def test_the_file_is_the_owner_s_and_does_not_hold_the_pin(latch: PinLatch) -> None:
    refuse(latch)
    assert stat.S_IMODE(latch.path.stat().st_mode) == 0o600
    assert PIN.reveal() not in latch.path.read_text()
    assert json.loads(latch.path.read_text())["state"] == "refused"


def test_tokens_do_not_share_a_latch(tmp_path: Path) -> None:
    module = Path("/usr/lib/module.so")
    paths = {
        PinLatch.of(tmp_path, *parts).path
        for parts in (
            (module, "svc", "1"),
            (module, "svc", "2"),
            (module, "sv", "c1"),
            (Path("/usr/lib/other.so"), "svc", "1"),
        )
    }
    assert len(paths) == 4


def test_looking_tells_what_stands_against_a_pin_and_changes_nothing(latch: PinLatch) -> None:
    assert latch.standing(PIN) is None
    latch.arm(PIN, refused_before=False)
    assert latch.standing(PIN) is LatchState.ATTEMPTING
    latch.refused()
    before = latch.path.read_bytes()
    assert latch.standing(PIN) is LatchState.REFUSED
    assert latch.standing(NEW_PIN) is None
    assert latch.path.read_bytes() == before


def test_a_latch_that_cannot_be_read_stands(latch: PinLatch) -> None:
    latch.path.write_text("{")
    with pytest.raises(PinLatched):
        latch.standing(PIN)
