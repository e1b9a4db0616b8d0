"""What only processes of their own can show: threads, forks, starts together, a bad module."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.keyring import KeyAlgorithm, generate_key
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.session import TokenSessions
from tests.support.mischief import Mischief, Trick
from tests.support.softhsm import PIN, SoftHsm, finish_worker, run_worker, start_worker

CANT_LOCK, GENERAL_ERROR, ALREADY_INITIALIZED = 0x0A, 0x05, 0x191
DEVICE_REMOVED, FUNCTION_FAILED = 0x32, 0x06
PIN_INCORRECT, PIN_LOCKED, MECHANISM_INVALID = 0xA0, 0xA4, 0x70
DEVICE_ERROR, SESSION_COUNT, USER_ALREADY_LOGGED_IN = 0x30, 0xB1, 0x100
PIN_LEN_RANGE, USER_PIN_NOT_INITIALIZED = 0xA2, 0x102


@pytest.fixture
def keyed(token: TokenConfig) -> TokenConfig:
    """A token with one P-256 key, closed again."""
    with TokenSessions(token) as sessions:
        generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    return token


class Shim:
    """The mischievous module on one token, and what was called in it."""

    def __init__(self, softhsm: SoftHsm, config: TokenConfig, mischief: Mischief) -> None:
        self.softhsm = softhsm
        self.config = config
        self.mischief = mischief

    def calls(self) -> Counter[str]:
        return self.mischief.calls()

    def opened(self, times: int = 1, **answers: int) -> list[str]:
        """What a process is told that opens the token while functions answer codes."""
        with self.answering(**answers):
            told = run_worker(self.softhsm, self.config, "open", times=times)
        outcomes: list[str] = told["opened"]
        return outcomes

    @contextmanager
    def answering(self, **answers: int) -> Iterator[None]:
        for function, code in answers.items():
            self.mischief.answer(function, code)
        yield
        for function in answers:
            self.mischief.calm(function)

    def die_in_login(self) -> None:
        self.mischief.order("C_Login", Trick.KILL, times=1)
        dying = start_worker(self.softhsm, self.config, "open")
        dying.communicate(timeout=60)
        assert dying.returncode == -signal.SIGKILL


@pytest.fixture
def shim(softhsm: SoftHsm, keyed: TokenConfig, mischief_module: Path, mischief: Mischief) -> Shim:
    return Shim(softhsm, replace(keyed, module=mischief_module), mischief)


def test_several_processes_with_a_wrong_pin_spend_one_try(shim: Shim) -> None:
    pin_source = FilePinSource(shim.softhsm.pin_file("wrong", "000000"))
    wrong = replace(shim.config, pin_source=pin_source)
    start_at = time.time() + 1.0
    workers = [
        start_worker(shim.softhsm, wrong, "open", times=3, start_at=start_at) for _ in range(5)
    ]
    told = Counter[str]()
    for worker in workers:
        told.update(finish_worker(worker)["opened"])
    assert told == {"PinIncorrect": 1, "PinLatched": 14}
    assert shim.calls()["C_Login"] == 1
    assert shim.opened() == ["ok"]  # the right PIN is another PIN


def test_processes_that_start_together_all_get_in(softhsm: SoftHsm, keyed: TokenConfig) -> None:
    start_at = time.time() + 1.5
    workers = [
        start_worker(softhsm, keyed, "sign", key="key", threads=1, times=5, start_at=start_at)
        for _ in range(4)
    ]
    for worker in workers:
        told = finish_worker(worker)
        assert (told["ok"], told["others"]) == (5, [])


def test_threads_share_the_pool(softhsm: SoftHsm, keyed: TokenConfig) -> None:
    told = run_worker(softhsm, keyed, "sign", key="key", threads=8, times=100, sessions=3)
    assert (told["ok"], told["others"]) == (800, [])
    assert told["counts"] == {keyed.uri.token: 800}


@pytest.mark.parametrize(
    "each", [125, pytest.param(6_250, marks=[pytest.mark.long, pytest.mark.timeout(1_200)])]
)
def test_eight_threads_in_two_processes_sign_without_an_error(
    softhsm: SoftHsm, keyed: TokenConfig, each: int
) -> None:
    start_at = time.time() + 1.5
    workers = [
        start_worker(softhsm, keyed, "sign", key="key", threads=8, times=each, start_at=start_at)
        for _ in range(2)
    ]
    told = [finish_worker(worker, timeout=1_100) for worker in workers]
    # Each of them was verified where it was made.
    assert [(one["ok"], one["others"]) for one in told] == [(8 * each, [])] * 2
    assert [one["counts"] for one in told] == [{keyed.uri.token: 8 * each}] * 2


def test_a_forked_child_is_refused_and_the_parent_goes_on(
    softhsm: SoftHsm, keyed: TokenConfig
) -> None:
    told = run_worker(softhsm, keyed, "fork", key="key")
    assert told == {
        "child": dict.fromkeys(["old sessions", "old key", "new sessions"], "ForkedProcess"),
        "parent": "ok",
    }


def test_sessions_made_before_a_fork_are_opened_after_it(
    softhsm: SoftHsm, keyed: TokenConfig
) -> None:
    assert run_worker(softhsm, keyed, "load after fork") == {"children": [0, 0], "parent": "ok"}


def test_a_process_that_dies_in_a_login_is_forgiven_once(shim: Shim) -> None:
    for _ in range(2):
        shim.die_in_login()
    assert shim.opened() == ["PinLatched"]
    assert shim.calls()["C_Login"] == 2


def test_a_right_pin_after_one_death_opens_and_clears(shim: Shim) -> None:
    shim.die_in_login()
    assert shim.opened() == ["ok"]
    for _ in range(2):
        assert shim.opened() == ["ok"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (DEVICE_ERROR, "DeviceUnavailable"),
        (GENERAL_ERROR, "DeviceUnavailable"),
        (FUNCTION_FAILED, "DeviceUnavailable"),
        (DEVICE_REMOVED, "CardRemoved"),
    ],
)
def test_a_device_that_fails_in_a_login_may_have_spent_a_try(
    shim: Shim, code: int, error: str
) -> None:
    assert shim.opened(6, C_Login=code) == [error] * 2 + ["PinLatched"] * 4
    assert shim.calls()["C_Login"] == 2


def test_one_device_error_in_a_login_is_forgiven(shim: Shim) -> None:
    for _ in range(2):
        assert shim.opened(C_Login=DEVICE_ERROR) == ["DeviceUnavailable"]
        assert shim.opened() == ["ok"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (PIN_LEN_RANGE, "PinLengthWrong"),
        (USER_PIN_NOT_INITIALIZED, "PinUnusable"),
        (USER_ALREADY_LOGGED_IN, "TokenAlreadyOpen"),
        (SESSION_COUNT, "TokenBusy"),
    ],
)
def test_an_answer_that_spends_no_try_is_not_counted(shim: Shim, code: int, error: str) -> None:
    assert shim.opened(4, C_Login=code) == [error] * 4
    assert shim.opened() == ["ok"]


def test_a_token_that_opens_no_session_is_not_asked_for_a_login(shim: Shim) -> None:
    assert shim.opened(4, C_OpenSession=DEVICE_ERROR) == ["DeviceUnavailable"] * 4
    assert shim.calls()["C_Login"] == 0
    assert shim.opened() == ["ok"]


def test_a_locked_pin_is_latched(shim: Shim) -> None:
    assert shim.opened(2, C_Login=PIN_LOCKED) == ["PinLocked", "PinLatched"]
    shim.softhsm.pin_file(shim.config.uri.token or "", PIN)
    assert shim.opened() == ["PinLatched"]


def test_a_module_that_cannot_lock_works_one_by_one(shim: Shim) -> None:
    with shim.answering(C_Initialize=CANT_LOCK):
        told = run_worker(shim.softhsm, shim.config, "sign", key="key", threads=4, times=20)
    assert (told["ok"], told["others"]) == (80, [])


@pytest.mark.parametrize("code", [GENERAL_ERROR, ALREADY_INITIALIZED])
def test_a_module_that_does_not_start(shim: Shim, code: int) -> None:
    assert shim.opened(C_Initialize=code) == ["ModuleUnusable"]


@pytest.mark.parametrize("code", [DEVICE_ERROR, DEVICE_REMOVED])
def test_a_module_whose_device_is_away_at_its_start(shim: Shim, code: int) -> None:
    assert shim.opened(C_Initialize=code) == ["DeviceUnavailable"]
    assert shim.opened() == ["ok"]


@pytest.mark.parametrize(("close", "closed"), [(True, "DeviceUnavailable"), (False, "left open")])
def test_a_module_that_does_not_stop(shim: Shim, close: bool, closed: str) -> None:
    with shim.answering(C_Finalize=GENERAL_ERROR):
        told = run_worker(shim.softhsm, shim.config, "open", close=close)
    assert told == {"opened": ["ok"], "closed": closed}


def test_a_refused_pin_is_told_also_by_a_module_that_does_not_stop(shim: Shim) -> None:
    assert shim.opened(C_Finalize=GENERAL_ERROR, C_Login=PIN_INCORRECT) == ["PinIncorrect"]


def test_softhsm_is_known_for_software_through_a_module_of_another_name(shim: Shim) -> None:
    assert "softhsm" not in str(shim.config.module).lower()
    told = run_worker(shim.softhsm, shim.config, "describe")
    assert told == {"manufacturer": "SoftHSM project", "is_software": True}


def test_the_module_is_finalized_at_exit_and_when_closed(shim: Shim) -> None:
    for close in (True, False):
        run_worker(shim.softhsm, shim.config, "open", close=close)
    calls = shim.calls()
    assert calls["C_Initialize"] == calls["C_Finalize"] == 2


def test_every_device_error_is_told_once_and_got_over(shim: Shim) -> None:
    mischief = [
        (Trick.ANSWER, GENERAL_ERROR),
        (Trick.ANSWER, DEVICE_REMOVED),
        (Trick.SHORT, 0),
        (Trick.ANSWER, MECHANISM_INVALID),
    ]
    told = run_worker(shim.softhsm, shim.config, "mischief", key="key", mischief=mischief)
    assert told["told"] == [
        "ok",
        *("DeviceUnavailable", "ok"),
        *("CardRemoved", "ok"),
        *("DeviceUnavailable", "ok"),
        *("MechanismUnsupported", "ok"),
    ]
    assert told["counts"] == {shim.config.uri.token: 5}
