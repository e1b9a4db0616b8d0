"""Sessions, login and the PIN latch on a real SoftHSM token, in this process."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Never, cast

import pkcs11
import pytest
from pkcs11.exceptions import DeviceRemoved

from pkcs11_bridge import session as session_module
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import (
    CardRemoved,
    DeviceUnavailable,
    ForkedProcess,
    KeyNotFound,
    ModuleUnusable,
    PinIncorrect,
    PinLatched,
    PinLengthWrong,
    PinSourceUnreadable,
    SessionsClosed,
    TokenAlreadyOpen,
    TokenAmbiguous,
    TokenBusy,
    TokenNotFound,
    UnsafePinSource,
)
from pkcs11_bridge.file_lock import exclusive_file_lock
from pkcs11_bridge.keyring import KeyAlgorithm, generate_key, open_key
from pkcs11_bridge.module import load_module
from pkcs11_bridge.objects import serial_of
from pkcs11_bridge.pin import FilePinSource, PromptPinSource
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.start_lock import start_lock_path
from pkcs11_bridge.uri import Pkcs11Uri
from tests.support.held_session import held_session
from tests.support.pool_ear import PoolEar
from tests.support.softhsm import PIN, SoftHsm

DIGEST = bytes(32)


@pytest.fixture
def sessions(token: TokenConfig) -> Iterator[TokenSessions]:
    with TokenSessions(token) as opened:
        yield opened


def pin_path(config: TokenConfig) -> Path:
    assert isinstance(config.pin_source, FilePinSource)
    return config.pin_source.path


def test_a_wrong_pin_is_tried_once_and_then_latched(token: TokenConfig) -> None:
    pin_path(token).write_text("000000\n")
    with pytest.raises(PinIncorrect) as caught:
        TokenSessions(token).open()
    assert caught.value.tries_left is None  # SoftHSM counts nothing
    for _ in range(2):
        with pytest.raises(PinLatched):
            TokenSessions(token).open()
    pin_path(token).write_text(PIN)
    with TokenSessions(token) as sessions:
        assert sessions.describe().label == token.uri.token


def test_the_same_sessions_recover_when_the_pin_is_corrected(token: TokenConfig) -> None:
    pin_path(token).write_text("000000")
    sessions = TokenSessions(token)
    for error in (PinIncorrect, PinLatched):
        with pytest.raises(error):
            sessions.open()
    pin_path(token).write_text(PIN)
    with sessions:
        pass


def test_pin_sources_that_fail_leave_no_latch(token: TokenConfig) -> None:
    before = set(token.latch_directory.glob("*.latch"))
    pin_path(token).chmod(0o644)
    with pytest.raises(UnsafePinSource):
        TokenSessions(token).open()
    pin_path(token).unlink()
    with pytest.raises(PinSourceUnreadable):
        TokenSessions(token).open()
    assert set(token.latch_directory.glob("*.latch")) == before


def test_a_pin_of_a_length_that_the_token_refuses(token: TokenConfig) -> None:
    # SoftHSM 2.6.1 calls a short PIN incorrect; other modules say that its length is wrong.
    pin_path(token).write_text("1")
    with pytest.raises((PinIncorrect, PinLengthWrong)):
        TokenSessions(token).open()


def test_no_module_and_no_token(token: TokenConfig) -> None:
    for path in ("/nonexistent.so", "/usr/lib/os-release"):
        with pytest.raises(ModuleUnusable):
            TokenSessions(replace(token, module=Path(path))).open()
    with pytest.raises(TokenNotFound):
        TokenSessions(replace(token, uri=Pkcs11Uri(token="nobody"))).open()


def test_several_tokens_of_one_label(softhsm: SoftHsm) -> None:
    softhsm.make_token("twins")
    config = softhsm.make_token("twins")
    with pytest.raises(TokenAmbiguous) as caught:
        TokenSessions(config).open()
    assert caught.value.count == 2
    module = load_module(config.module)
    with module.gate.exclusive(1):
        module.join(softhsm)
        tokens = [slot.get_token() for slot in module.library.get_slots(token_present=True)]
        serials = [serial_of(token) for token in tokens if token.label == "twins"]
        module.leave(softhsm)
    exact = replace(config, uri=Pkcs11Uri(token="twins", serial=serials[1]))
    with TokenSessions(exact) as sessions:
        assert sessions.describe().serial == serials[1]


def test_a_library_that_is_no_pkcs11_module(token: TokenConfig) -> None:
    libc = next(Path("/usr/lib").rglob("libc.so.6"))
    with pytest.raises(ModuleUnusable):
        TokenSessions(replace(token, module=libc)).open()


def test_one_login_per_process_and_token(sessions: TokenSessions) -> None:
    with pytest.raises(TokenAlreadyOpen):
        TokenSessions(sessions.config).open()
    sessions.open()
    assert sessions.describe().label == sessions.label


def test_a_token_that_appears_after_the_module_was_loaded(
    sessions: TokenSessions, softhsm: SoftHsm
) -> None:
    key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    with TokenSessions(softhsm.make_token()) as late:
        assert late.describe().label == late.label
        # The other token's sessions noticed the restart and logged in again.
        assert len(key.sign_digest(DIGEST, "sha256")) == 64


def test_a_missing_token_does_not_restart_the_module_at_every_call(
    sessions: TokenSessions,
) -> None:
    missing = TokenSessions(replace(sessions.config, uri=Pkcs11Uri(token="nobody")))
    module = load_module(sessions.config.module)
    with pytest.raises(TokenNotFound):
        missing.open()
    generation = module.generation
    for _ in range(3):
        with pytest.raises(TokenNotFound):
            missing.open()
    assert module.generation == generation


def test_a_forked_process_is_refused(
    sessions: TokenSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(ForkedProcess):
        sessions.open()
    with pytest.raises(ForkedProcess):
        TokenSessions(sessions.config).open()
    forked = TokenSessions(sessions.config)
    forked.close()


def test_sessions_that_could_not_log_in_let_go_of_the_module(token: TokenConfig) -> None:
    module = load_module(token.module)
    pin_path(token).write_text("000000")
    sessions = TokenSessions(token)
    with pytest.raises(PinIncorrect):
        sessions.open()
    generation = module.generation
    with TokenSessions(replace(token, pin_source=PromptPinSource(lambda: PIN))) as others:
        assert others.describe().label == token.uri.token
    assert module.generation == generation + 1  # the others were the last to leave
    sessions.close()


def test_sessions_of_an_earlier_login_are_replaced(sessions: TokenSessions) -> None:
    with held_session(sessions) as first, pytest.raises(DeviceUnavailable), held_session(sessions):
        raise DeviceUnavailable("lost")
    with held_session(sessions) as second, held_session(sessions) as third:
        assert len({id(first), id(second), id(third)}) == 3
        assert second.login is third.login is not first.login


def test_the_pool_is_bounded(token: TokenConfig) -> None:
    with TokenSessions(replace(token, sessions=2, wait_seconds=0.05)) as sessions:
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(held_session(sessions))
            with pytest.raises(TokenBusy):
                stack.enter_context(held_session(sessions))
        with held_session(sessions) as pooled:
            assert pooled.keys == {}


def test_an_observer_hears_of_use_and_of_waits_in_vain(token: TokenConfig) -> None:
    heard = PoolEar()
    with TokenSessions(replace(token, sessions=1, wait_seconds=0.05), heard) as sessions:
        with held_session(sessions):
            with pytest.raises(TokenBusy), held_session(sessions):
                pass
            assert heard.count == {"logged_in": 1, "waiting": 2, "taken": 1, "refused": 1}
        with pytest.raises(KeyNotFound), held_session(sessions):
            raise KeyNotFound("inside")
    assert heard.count == {
        "logged_in": 1,
        "waiting": 3,
        "taken": 2,
        "refused": 1,
        "returned": 2,
        "login_lost": 1,
    }


def test_a_module_that_is_held_alone_is_busy(token: TokenConfig) -> None:
    with TokenSessions(replace(token, wait_seconds=0.05)) as sessions:
        module = load_module(token.module)
        with module.gate.exclusive(1):
            with pytest.raises(TokenBusy), held_session(sessions):
                pass
            with pytest.raises(TokenBusy), sessions.writing_session():
                pass


def test_a_session_is_used_again_and_a_failed_one_is_not(sessions: TokenSessions) -> None:
    with held_session(sessions) as first:
        pass
    with pytest.raises(ZeroDivisionError), held_session(sessions) as second:
        raise ZeroDivisionError
    assert second is first
    with held_session(sessions) as third:
        assert third is not first


@pytest.mark.parametrize("error", [DeviceUnavailable, KeyNotFound])
def test_after_a_device_error_everything_is_opened_anew(
    sessions: TokenSessions, error: type[Exception]
) -> None:
    key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    key.sign_digest(DIGEST, "sha256")
    with held_session(sessions) as pooled:
        login = pooled.login
    with pytest.raises(error), held_session(sessions):
        raise error("lost")
    assert len(key.sign_digest(DIGEST, "sha256")) == 64
    with held_session(sessions) as pooled:
        assert pooled.login is not login


class DeadToken:
    """A token whose connection broke: it opens no session any more."""

    def open(self, **_: object) -> Never:
        raise DeviceRemoved


def test_a_token_that_opens_no_session_is_looked_up_anew(sessions: TokenSessions) -> None:
    key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    assert sessions._login is not None
    for _ in range(3):
        login = replace(sessions._login, token=cast("pkcs11.Token", DeadToken()))
        sessions._login = login
        with pytest.raises(CardRemoved):
            key.sign_digest(DIGEST, "sha256")
        assert len(key.sign_digest(DIGEST, "sha256")) == 64
        assert sessions._login is not login


def test_a_token_that_cannot_be_written_to_is_looked_up_anew(sessions: TokenSessions) -> None:
    sessions.open()
    assert sessions._login is not None
    sessions._login = replace(sessions._login, token=cast("pkcs11.Token", DeadToken()))
    with pytest.raises(CardRemoved), sessions.writing_session():
        pass
    assert generate_key(sessions, "key", KeyAlgorithm.EC_P256).algorithm is KeyAlgorithm.EC_P256


def test_a_login_that_was_ended_behind_our_back(sessions: TokenSessions) -> None:
    key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    with held_session(sessions) as pooled:
        pooled.login.session.close()  # C_Logout for the whole process
    with pytest.raises((DeviceUnavailable, KeyNotFound)):
        key.sign_digest(DIGEST, "sha256")
    assert len(key.sign_digest(DIGEST, "sha256")) == 64


def test_a_restarted_module_is_noticed(sessions: TokenSessions) -> None:
    key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    module = load_module(sessions.config.module)
    for _ in range(3):
        with module.gate.exclusive(1):
            module.restart()
        assert len(key.sign_digest(DIGEST, "sha256")) == 64


def test_at_exit_the_module_is_finalized_unless_it_is_busy(sessions: TokenSessions) -> None:
    module = load_module(sessions.config.module)
    key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    with held_session(sessions):
        module._finalize_at_exit()  # waits, gives up, and leaves the thread alone
        sessions.open()
    assert len(key.sign_digest(DIGEST, "sha256")) == 64
    module._finalize_at_exit()
    with pytest.raises((DeviceUnavailable, KeyNotFound)):
        key.sign_digest(DIGEST, "sha256")


def test_writing_notices_a_restart_at_the_last_moment(
    sessions: TokenSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    login, module = sessions._current_login()
    monkeypatch.setattr(sessions, "_current_login", lambda *_: (login, module))
    with module.gate.exclusive(1):
        module.restart()
    with pytest.raises(TokenBusy), sessions.writing_session():
        pass
    with pytest.raises(TokenBusy), held_session(sessions):
        pass


def test_closed_sessions_stay_closed(token: TokenConfig) -> None:
    never_opened = TokenSessions(token)
    never_opened.close()
    with pytest.raises(SessionsClosed):
        never_opened.open()
    with TokenSessions(token) as sessions:
        key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    sessions.close()
    with pytest.raises(SessionsClosed):
        key.sign_digest(DIGEST, "sha256")
    with TokenSessions(token) as again:
        assert len(open_key(again, key.uri).sign_digest(DIGEST, "sha256")) == 64


def test_closing_waits_for_a_signature_in_flight(token: TokenConfig) -> None:
    sessions = TokenSessions(token)
    inside, order = threading.Event(), list[str]()

    def work() -> None:
        with held_session(sessions):
            inside.set()
            time.sleep(0.2)
            order.append("signed")

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(60)
    sessions.close()
    order.append("closed")
    thread.join()
    assert order == ["signed", "closed"]


def test_the_start_lock_is_not_waited_for_for_ever(
    token: TokenConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "START_WAIT_SECONDS", 0.05)
    sessions = TokenSessions(token)
    lock = start_lock_path(token.module, token.latch_directory)
    with exclusive_file_lock(lock, 1), pytest.raises(TokenBusy):
        sessions.open()
    with sessions:
        pass
