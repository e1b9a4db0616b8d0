"""What only processes of their own can show: threads, forks, starts together, a bad module."""

import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.keyring import KeyAlgorithm, generate_key
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.session import TokenSessions
from tests.support.softhsm import PIN, SoftHsm, finish_worker, run_worker, start_worker

CANT_LOCK, GENERAL_ERROR, ALREADY_INITIALIZED = "a", "5", "191"
DEVICE_REMOVED, FUNCTION_FAILED = "32", "6"
PIN_INCORRECT, PIN_LOCKED, MECHANISM_INVALID = "a0", "a4", "70"
DEVICE_ERROR, SESSION_COUNT, USER_ALREADY_LOGGED_IN = "30", "b1", "100"
PIN_LEN_RANGE, USER_PIN_NOT_INITIALIZED = "a2", "102"


@pytest.fixture
def keyed(token: TokenConfig) -> TokenConfig:
    """A token with one P-256 key, closed again."""
    with TokenSessions(token) as sessions:
        generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    return token


class Shim:
    """The mischievous module on one token, and what was called in it."""

    def __init__(self, softhsm: SoftHsm, config: TokenConfig, module: Path, log: Path) -> None:
        self.softhsm = softhsm
        self.config = replace(config, module=module)
        self.log = log

    def environment(self, **mischief: str) -> dict[str, str]:
        named = {f"MISCHIEF_{name}": value for name, value in mischief.items()}
        return {"MISCHIEF_LOG": str(self.log), **named}

    def calls(self) -> Counter[str]:
        return Counter(self.log.read_text().split()) if self.log.exists() else Counter()

    def opened(self, times: int = 1, **mischief: str) -> list[str]:
        environment = self.environment(**mischief)
        told = run_worker(self.softhsm, self.config, "open", environment, times=times)
        outcomes: list[str] = told["opened"]
        return outcomes


@pytest.fixture
def shim(softhsm: SoftHsm, keyed: TokenConfig, mischief_module: Path, tmp_path: Path) -> Shim:
    return Shim(softhsm, keyed, mischief_module, tmp_path / "calls")


def test_several_processes_with_a_wrong_pin_spend_one_try(shim: Shim) -> None:
    pin_source = FilePinSource(shim.softhsm.pin_file("wrong", "000000"))
    wrong = replace(shim.config, pin_source=pin_source)
    start_at = time.time() + 1.0
    workers = [
        start_worker(shim.softhsm, wrong, "open", shim.environment(), times=3, start_at=start_at)
        for _ in range(5)
    ]
    told = Counter[str]()
    for worker in workers:
        told.update(finish_worker(worker)["opened"])
    assert told == {"PinIncorrect": 1, "PinLatched": 14}
    assert shim.calls()["LOGIN"] == 1
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
        dying = start_worker(shim.softhsm, shim.config, "open", shim.environment(LOGIN="kill"))
        dying.communicate(timeout=60)
        assert dying.returncode == -signal.SIGKILL
    assert shim.opened() == ["PinLatched"]
    assert shim.calls()["LOGIN"] == 2


def test_a_right_pin_after_one_death_opens_and_clears(shim: Shim) -> None:
    dying = start_worker(shim.softhsm, shim.config, "open", shim.environment(LOGIN="kill"))
    dying.communicate(timeout=60)
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
    shim: Shim, code: str, error: str
) -> None:
    assert shim.opened(6, LOGIN=code) == [error] * 2 + ["PinLatched"] * 4
    assert shim.calls()["LOGIN"] == 2


def test_one_device_error_in_a_login_is_forgiven(shim: Shim) -> None:
    for _ in range(2):
        assert shim.opened(LOGIN=DEVICE_ERROR) == ["DeviceUnavailable"]
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
def test_an_answer_that_spends_no_try_is_not_counted(shim: Shim, code: str, error: str) -> None:
    assert shim.opened(4, LOGIN=code) == [error] * 4
    assert shim.opened() == ["ok"]


def test_a_token_that_opens_no_session_is_not_asked_for_a_login(shim: Shim) -> None:
    assert shim.opened(4, OPENSESSION=DEVICE_ERROR) == ["DeviceUnavailable"] * 4
    assert shim.calls()["LOGIN"] == 0
    assert shim.opened() == ["ok"]


def test_a_locked_pin_is_latched(shim: Shim) -> None:
    assert shim.opened(2, LOGIN=PIN_LOCKED) == ["PinLocked", "PinLatched"]
    shim.softhsm.pin_file(shim.config.uri.token or "", PIN)
    assert shim.opened() == ["PinLatched"]


def test_a_module_that_cannot_lock_works_one_by_one(shim: Shim) -> None:
    environment = shim.environment(INITIALIZE=CANT_LOCK)
    told = run_worker(
        shim.softhsm, shim.config, "sign", environment, key="key", threads=4, times=20
    )
    assert (told["ok"], told["others"]) == (80, [])


@pytest.mark.parametrize("code", [GENERAL_ERROR, ALREADY_INITIALIZED])
def test_a_module_that_does_not_start(shim: Shim, code: str) -> None:
    assert shim.opened(INITIALIZE=code) == ["ModuleUnusable"]


@pytest.mark.parametrize(("close", "closed"), [(True, "DeviceUnavailable"), (False, "left open")])
def test_a_module_that_does_not_stop(shim: Shim, close: bool, closed: str) -> None:
    environment = shim.environment(FINALIZE=GENERAL_ERROR)
    told = run_worker(shim.softhsm, shim.config, "open", environment, close=close)
    assert told == {"opened": ["ok"], "closed": closed}


def test_a_refused_pin_is_told_also_by_a_module_that_does_not_stop(shim: Shim) -> None:
    assert shim.opened(FINALIZE=GENERAL_ERROR, LOGIN=PIN_INCORRECT) == ["PinIncorrect"]


def test_softhsm_is_known_for_software_through_a_module_of_another_name(shim: Shim) -> None:
    assert "softhsm" not in str(shim.config.module).lower()
    told = run_worker(shim.softhsm, shim.config, "describe", shim.environment())
    assert told == {"manufacturer": "SoftHSM project", "is_software": True}


def test_the_module_is_finalized_at_exit_and_when_closed(shim: Shim) -> None:
    for close in (True, False):
        run_worker(shim.softhsm, shim.config, "open", shim.environment(), close=close)
    calls = shim.calls()
    assert calls["INITIALIZE"] == calls["FINALIZE"] == 2


def test_every_device_error_is_told_once_and_got_over(shim: Shim) -> None:
    mischief = [GENERAL_ERROR, DEVICE_REMOVED, "short", MECHANISM_INVALID]
    told = run_worker(
        shim.softhsm, shim.config, "mischief", shim.environment(), key="key", mischief=mischief
    )
    assert told["told"] == [
        "ok",
        *("DeviceUnavailable", "ok"),
        *("CardRemoved", "ok"),
        *("DeviceUnavailable", "ok"),
        *("MechanismUnsupported", "ok"),
    ]
    assert told["counts"] == {shim.config.uri.token: 5}
