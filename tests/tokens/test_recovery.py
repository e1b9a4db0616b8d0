"""What goes wrong in a token in use: told apart, and got over without a restart once it is over.

The token is SoftHSM behind the shim of tests/support/mischief.c, in this process.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pkcs11_bridge import errors
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.keyring import KeyAlgorithm, TokenKey, generate_key, open_key
from pkcs11_bridge.module import load_module
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.return_values import BY_CODE
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.sign_counts import sign_counts
from pkcs11_bridge.uri import Pkcs11Uri
from tests.support.faults import await_fact
from tests.support.mischief import Mischief, Trick
from tests.support.pool_ear import PoolEar
from tests.support.softhsm import PIN

DIGEST = bytes(32)
KEY = Pkcs11Uri(object="key")
DEVICE_ERROR, DEVICE_REMOVED, GENERAL_ERROR = 0x30, 0x32, 0x05
TOKEN_NOT_PRESENT, NOT_LOGGED_IN, SESSION_HANDLE_INVALID = 0xE0, 0x101, 0xB3
OBJECT_HANDLE_INVALID, VENDOR = 0x82, 0x80000BAD
CALL_SECONDS = 2.0
"""After so long a call that is to hang is given up: it has got into the token by then."""
PATIENT_SECONDS = 30.0
"""What every other call may take, on a machine that does much else: nobody waits for it."""


@dataclass(frozen=True)
class Bench:
    """A token in use, with one key."""

    sessions: TokenSessions
    key: TokenKey
    heard: PoolEar
    mischief: Mischief

    def sign(self) -> str:
        """The word "ok", or the class of the refusal."""
        try:
            assert len(self.key.sign_digest(DIGEST, "sha256")) == 64
        except errors.TokenError as error:
            return type(error).__name__
        return "ok"

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Calls that are begun in the block are given up soon."""
        patient = self.sessions.config
        self.sessions.config = replace(patient, call_seconds=CALL_SECONDS)
        try:
            yield
        finally:
            self.sessions.config = patient

    def sign_in_vain(self) -> str:
        """As `sign`, of a call that is to hang."""
        with self.impatient():
            return self.sign()

    def sign_aside(self, callers: ThreadPoolExecutor, count: int) -> list[Future[str]]:
        return [callers.submit(self.sign) for _ in range(count)]

    def signatures(self) -> int:
        return sum(n for token, n in sign_counts().items() if token.label == self.sessions.label)


@pytest.fixture
def shimmed(token: TokenConfig, mischief_module: Path, mischief: Mischief) -> TokenConfig:
    del mischief
    return replace(token, module=mischief_module, sessions=2, wait_seconds=0.2)


@pytest.fixture
def bench(shimmed: TokenConfig, mischief: Mischief) -> Iterator[Bench]:
    heard = PoolEar()
    with TokenSessions(replace(shimmed, call_seconds=PATIENT_SECONDS), heard) as sessions:
        key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
        yield Bench(sessions, key, heard, mischief)
        # Whatever the test did, it is over, and the token signs.
        assert key.sign_digest(DIGEST, "sha256")


def test_every_return_value_through_the_binding(bench: Bench) -> None:
    told = {}
    for code in [*BY_CODE, VENDOR, 0x203]:
        bench.mischief.answer("C_GenerateRandom", code, times=1)
        with pytest.raises(errors.TokenError) as caught:
            bench.sessions.perform(lambda pooled: pooled.raw.generate_random(64))
        told[code] = type(caught.value)
    assert told.pop(VENDOR) is told.pop(0x203) is errors.DeviceUnavailable
    assert told == {code: row.ours for code, row in BY_CODE.items()}


@pytest.mark.parametrize(
    ("function", "code", "error", "loses_login"),
    [
        ("C_Sign", DEVICE_ERROR, "DeviceUnavailable", True),
        ("C_Sign", VENDOR, "DeviceUnavailable", True),
        ("C_Sign", DEVICE_REMOVED, "CardRemoved", True),
        ("C_Sign", 0x70, "MechanismUnsupported", False),
        ("C_Sign", 0x21, "CallRefused", False),
        ("C_SignInit", NOT_LOGGED_IN, "LoggedOut", True),
        ("C_SignInit", SESSION_HANDLE_INVALID, "HandlesDead", True),
        ("C_SignInit", OBJECT_HANDLE_INVALID, "HandlesDead", True),
        ("C_SignInit", GENERAL_ERROR, "DeviceUnavailable", True),
        ("C_SignInit", 0x190, "ModuleDown", True),
    ],
)
def test_a_failed_call_is_told_once_and_got_over(
    bench: Bench, function: str, code: int, error: str, loses_login: bool
) -> None:
    assert bench.sign() == "ok"
    logins = bench.mischief.calls()["C_Login"]
    bench.mischief.answer(function, code, times=1)
    assert [bench.sign() for _ in range(3)] == [error, "ok", "ok"]
    assert bench.mischief.calls()["C_Login"] - logins == int(loses_login)
    assert bench.heard.losses == ([error] if loses_login else [])
    assert bench.heard.logins == (["", error] if loses_login else [""])


def test_a_signature_whose_answer_was_lost_is_not_counted(bench: Bench) -> None:
    before = bench.signatures()
    bench.mischief.order("C_Sign", Trick.AFTER, DEVICE_ERROR, times=1)
    assert [bench.sign(), bench.sign()] == ["DeviceUnavailable", "ok"]
    assert bench.signatures() == before + 1


# The binding ends a search that never began, and tells of that when the garbage is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("function", ["C_OpenSession", "C_FindObjectsInit", "C_FindObjects"])
def test_a_device_that_fails_while_a_key_is_fetched(bench: Bench, function: str) -> None:
    bench.mischief.answer("C_SignInit", DEVICE_ERROR, times=1)
    bench.mischief.answer(function, DEVICE_ERROR, skip=0, times=4)
    assert bench.sign() == "DeviceUnavailable"
    told = [bench.sign() for _ in range(6)]
    assert set(told[:-1]) <= {"DeviceUnavailable", "ok"}
    assert told[-1] == "ok"


def test_a_token_that_is_gone_for_a_while(bench: Bench) -> None:
    bench.mischief.answer("C_Sign", DEVICE_REMOVED, times=1)
    bench.mischief.answer("C_GetTokenInfo", TOKEN_NOT_PRESENT)
    assert [bench.sign() for _ in range(3)] == ["CardRemoved", "TokenNotFound", "TokenNotFound"]
    bench.mischief.calm("C_GetTokenInfo")
    assert bench.sign() == "ok"
    assert bench.heard.logins == ["", "CardRemoved"]


def test_a_module_that_somebody_finalised(bench: Bench) -> None:
    assert bench.sign() == "ok"
    load_module(bench.sessions.config.module).library._c_finalize(None)
    assert [bench.sign(), bench.sign()] == ["ModuleDown", "ok"]


def test_a_module_that_somebody_initialised_anew(bench: Bench) -> None:
    assert bench.sign() == "ok"
    library = load_module(bench.sessions.config.module).library
    library._c_finalize(None)
    library._c_initialize(None)
    assert [bench.sign(), bench.sign()] == ["HandlesDead", "ok"]


def test_a_login_that_somebody_ended(bench: Bench) -> None:
    assert bench.sign() == "ok"
    assert bench.sessions._login is not None
    bench.sessions._login.session.close()  # C_Logout, for the whole process
    assert [bench.sign(), bench.sign()] == ["HandlesDead", "ok"]


def test_a_pin_that_was_changed_is_tried_once_and_then_awaited(bench: Bench) -> None:
    with bench.sessions.writing_session() as session:
        session.set_pin(PIN, "975310")
    assert bench.sign() == "ok"  # the login stands
    bench.mischief.answer("C_SignInit", DEVICE_ERROR, times=1)
    logins = bench.mischief.calls()["C_Login"]
    told = [bench.sign() for _ in range(4)]
    assert told == ["DeviceUnavailable", "PinIncorrect", "PinLatched", "PinLatched"]
    assert bench.mischief.calls()["C_Login"] == logins + 1
    assert isinstance(bench.sessions.config.pin_source, FilePinSource)
    bench.sessions.config.pin_source.path.write_text("975310")
    assert bench.sign() == "ok"


def test_a_call_that_hangs_is_given_up_and_the_others_go_on(bench: Bench) -> None:
    assert bench.sign() == "ok"
    before = bench.signatures()
    with bench.mischief.hanging("C_Sign", times=1):
        assert bench.sign_in_vain() == "TokenHung"
        assert bench.sessions.hung == 1
        assert [bench.sign() for _ in range(3)] == ["ok"] * 3
    bench.heard.await_count("came_back", 1)
    assert bench.sessions.hung == 0
    assert bench.sign() == "ok"
    # What it signed in the end left the token and nothing else.
    assert bench.signatures() == before + 4


def test_where_every_session_hangs_all_are_told_at_once(bench: Bench) -> None:
    assert bench.sign() == "ok"
    with bench.mischief.hanging("C_Sign"), ThreadPoolExecutor(2) as callers:
        with bench.impatient():
            hung = bench.sign_aside(callers, 2)
            assert [future.result() for future in hung] == ["TokenHung"] * 2
        assert bench.heard.left == [1, 0]
        assert [bench.sign() for _ in range(3)] == ["TokenHung"] * 3
        assert bench.heard.refusals == ["TokenHung"] * 3
    bench.heard.await_count("came_back", 2)
    assert bench.sign() == "ok"


def test_no_login_is_made_beside_a_call_that_hangs(bench: Bench) -> None:
    assert bench.sign() == "ok"
    with bench.mischief.hanging("C_Sign", times=1):
        assert bench.sign_in_vain() == "TokenHung"
        bench.mischief.answer("C_SignInit", NOT_LOGGED_IN, times=1)
        assert (bench.sessions.is_stuck, bench.heard.count["met_hung"]) == (False, 1)
        assert [bench.sign() for _ in range(2)] == ["LoggedOut", "TokenHung"]
        assert bench.sessions.hung == 1  # the second was told so by the gate
        # Another session is left, and is of no use: whoever ends stuck processes must hear of it.
        assert (bench.sessions.is_stuck, bench.heard.count["met_hung"]) == (True, 2)
    bench.heard.await_count("came_back", 1)
    assert not bench.sessions.is_stuck
    assert bench.sign() == "ok"
    assert bench.sessions.is_ready


def test_where_calls_pass_one_by_one_all_are_told_of_one_that_hangs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = load_module(bench.sessions.config.module).gate
    monkeypatch.setattr(gate, "one_by_one", True)  # as of a module that answers CKR_CANT_LOCK
    assert bench.sign() == "ok"
    with bench.mischief.hanging("C_Sign", times=1):
        told = [bench.sign_in_vain(), bench.sign(), bench.sign()]
        assert told == ["TokenHung"] * 3
        assert (bench.sessions.hung, bench.sessions.is_stuck) == (1, True)
        assert not bench.sessions.is_ready
    bench.heard.await_count("came_back", 1)
    assert bench.sign() == "ok"


def test_a_new_login_that_hangs_is_given_up_in_a_calls_own_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it may wait for other processes that start is no time for the token.
    monkeypatch.setattr("pkcs11_bridge.session.START_WAIT_SECONDS", 3600.0)
    assert bench.sign() == "ok"
    bench.mischief.answer("C_Sign", DEVICE_ERROR, times=1)
    assert bench.sign() == "DeviceUnavailable"
    with bench.mischief.hanging("C_Login", times=1):
        assert bench.sign_in_vain() == "TokenHung"
        assert bench.sessions.is_stuck
    bench.heard.await_count("came_back", 1)
    assert bench.sign() == "ok"


def test_those_who_wait_for_a_login_that_fails_do_not_try_the_pin_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting_to_open = list[None]()
    alone_to_open = bench.sessions._alone_to_open

    def noting() -> AbstractContextManager[None]:
        waiting_to_open.append(None)
        return alone_to_open()

    assert bench.sign() == "ok"
    tried = bench.mischief.calls()["C_Login"]
    bench.mischief.answer("C_Sign", DEVICE_ERROR, times=1)
    assert bench.sign() == "DeviceUnavailable"
    monkeypatch.setattr(bench.sessions, "_alone_to_open", noting)
    bench.mischief.answer("C_Login", DEVICE_ERROR, times=1)
    with ThreadPoolExecutor(2) as callers:
        with bench.sessions._open_lock:
            waiting = bench.sign_aside(callers, 2)
            await_fact(lambda: len(waiting_to_open) == 2)
        assert [future.result(60) for future in waiting] == ["DeviceUnavailable"] * 2
    assert bench.mischief.calls()["C_Login"] == tried + 1


def test_whoever_waits_behind_a_login_that_hangs_is_told(bench: Bench) -> None:
    assert bench.sign() == "ok"
    bench.mischief.answer("C_Sign", DEVICE_ERROR, times=1)
    assert bench.sign() == "DeviceUnavailable"
    with bench.mischief.hanging("C_Login", times=1), ThreadPoolExecutor(2) as callers:
        with bench.impatient():
            waiting = bench.sign_aside(callers, 2)
            assert [told.result(60) for told in waiting] == ["TokenHung"] * 2
        # Only one of them is inside, and costs its place.
        await_fact(lambda: bench.sessions.hung == 1)
    bench.heard.await_count("came_back", 1)
    assert bench.sign() == "ok"


def test_a_call_that_is_not_let_in_costs_no_session(bench: Bench) -> None:
    assert bench.sign() == "ok"
    opened = bench.mischief.calls()["C_OpenSession"]
    with load_module(bench.sessions.config.module).gate.exclusive(60):
        assert [bench.sign() for _ in range(3)] == ["TokenBusy"] * 3
    assert bench.sign() == "ok"
    assert bench.mischief.calls()["C_OpenSession"] == opened


def test_a_module_that_could_not_be_let_down_at_once(bench: Bench) -> None:
    for function, times in (("C_Sign", 1), ("C_Logout", 1), ("C_Finalize", 2)):
        bench.mischief.answer(function, DEVICE_ERROR, times=times)
    assert [bench.sign() for _ in range(3)] == ["DeviceUnavailable", "DeviceUnavailable", "ok"]


@pytest.mark.parametrize("function", ["C_Login", "C_Sign"])
def test_closing_beside_a_call_that_is_about_to_hang(
    shimmed: TokenConfig, mischief: Mischief, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    monkeypatch.setattr("pkcs11_bridge.session.START_WAIT_SECONDS", 0.5)
    with TokenSessions(shimmed) as first:
        generate_key(first, "key", KeyAlgorithm.EC_P256)
    heard = PoolEar()
    sessions = TokenSessions(replace(shimmed, call_seconds=CALL_SECONDS), heard)
    if function == "C_Sign":
        sessions.open()
    before = mischief.calls()[function]
    with mischief.hanging(function, times=1), ThreadPoolExecutor(2) as callers:
        hanging = callers.submit(lambda: open_key(sessions, KEY).sign_digest(DIGEST, "sha256"))
        await_fact(lambda: mischief.calls()[function] > before)
        assert callers.submit(sessions.close).result(60) is None
        assert isinstance(hanging.exception(60), errors.TokenHung)
    heard.await_count("came_back", 1)
    # For the tests that follow in this process.
    module = load_module(shimmed.module)
    with module.gate.exclusive(60):
        module.leave(sessions)


def test_closing_does_not_wait_for_a_call_that_hangs(
    shimmed: TokenConfig, mischief: Mischief
) -> None:
    heard = PoolEar()
    sessions = TokenSessions(replace(shimmed, call_seconds=CALL_SECONDS), heard)
    key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    finalised = mischief.calls()["C_Finalize"]
    with mischief.hanging("C_Sign", times=1):
        with pytest.raises(errors.TokenHung):
            key.sign_digest(DIGEST, "sha256")
        closing = threading.Thread(target=sessions.close)
        closing.start()
        closing.join(60)
        assert not closing.is_alive()
    heard.await_count("came_back", 1)
    assert mischief.calls()["C_Finalize"] == finalised
    # For the tests that follow in this process.
    module = load_module(shimmed.module)
    with module.gate.exclusive(60):
        module.leave(sessions)


def test_a_slow_call_is_no_hung_one(bench: Bench) -> None:
    # Two wait for a session until two others have signed, however long that takes.
    bench.sessions.config = replace(bench.sessions.config, wait_seconds=PATIENT_SECONDS)
    bench.mischief.order("C_Sign", Trick.DELAY, 50, times=4)
    with ThreadPoolExecutor(4) as callers:
        assert [future.result() for future in bench.sign_aside(callers, 4)] == ["ok"] * 4
    assert bench.heard.count["given_up"] == 0
