"""The gate of a module, and the lock between processes."""

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from pkcs11_bridge.errors import TokenBusy, TokenHung
from pkcs11_bridge.file_lock import exclusive_file_lock
from pkcs11_bridge.gate import Gate


def test_exclusive_waits_for_those_inside_and_gives_up() -> None:
    gate = Gate()
    with gate.shared(1), pytest.raises(TokenBusy), gate.exclusive(0.05):
        pass
    with gate.exclusive(0.05):
        pass


def test_nobody_enters_beside_an_exclusive_one() -> None:
    gate = Gate()
    with gate.exclusive(1):
        with pytest.raises(TokenBusy), gate.shared(0.05):
            pass
        with pytest.raises(TokenBusy), gate.exclusive(0.05):
            pass
    with gate.shared(0.05):
        pass


def test_a_failed_exclusive_one_lets_others_in_again() -> None:
    gate = Gate()
    with gate.shared(1):
        with pytest.raises(TokenBusy), gate.exclusive(0.01):
            pass
        with gate.shared(0.05):
            pass


def test_one_by_one() -> None:
    gate = Gate()
    gate.one_by_one = True
    with gate.shared(1), pytest.raises(TokenBusy), gate.shared(0.05):
        pass


def test_an_exclusive_one_is_let_in_when_the_last_leaves() -> None:
    gate = Gate()
    order: list[str] = []
    with ExitStack() as inside:
        inside.enter_context(gate.shared(1))

        def enter() -> None:
            with gate.exclusive(60):
                order.append("exclusive")

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(0.05)
        order.append("shared leaves")
        inside.close()
        thread.join(60)
    assert order == ["shared leaves", "exclusive"]


def test_the_file_lock_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "start.lock"
    with exclusive_file_lock(path, 1), pytest.raises(TokenBusy), exclusive_file_lock(path, 0.05):
        pass
    with exclusive_file_lock(path, 0):
        assert path.parent.stat().st_mode & 0o077 == 0


def test_nobody_waits_for_one_that_hangs_and_is_alone() -> None:
    gate, owner = Gate(), object()
    with gate.exclusive(1):
        gate.set_hung(owner, 1)
        with pytest.raises(TokenHung), gate.shared(60):
            pass
        with pytest.raises(TokenHung), gate.exclusive(60):
            pass
        gate.set_hung(owner, 0)
        with pytest.raises(TokenBusy), gate.shared(0.01):
            pass


def test_nobody_waits_for_a_call_that_hangs() -> None:
    gate, owner = Gate(), object()
    with gate.shared(1):
        gate.set_hung(owner, 1)
        with pytest.raises(TokenHung), gate.exclusive(60):
            pass
        with gate.shared(0.05):
            pass
        gate.set_hung(owner, 0)
        with pytest.raises(TokenBusy), gate.exclusive(0.01):
            pass
    gate.set_hung(owner, 1)
    with gate.exclusive(0.05):
        pass  # it hangs before the gate
