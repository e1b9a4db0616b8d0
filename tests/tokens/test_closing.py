"""Sessions that are closed while somebody logs in: no login is left, and none is made later."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pkcs11
import pytest

from pkcs11_bridge import session as session_module
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import SessionsClosed
from pkcs11_bridge.login import log_in
from pkcs11_bridge.pin import Pin, PinSource
from pkcs11_bridge.session import TokenSessions
from tests.support.faults import await_fact

LONG = 60


@dataclass
class SlowPinSource:
    """Gives the PIN when it is let go."""

    inner: PinSource
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go_on: threading.Event = field(default_factory=threading.Event)
    count: int = 0

    def read(self) -> Pin:
        self.count += 1
        self.asked.release()
        assert self.go_on.wait(LONG)
        return self.inner.read()


@pytest.fixture
def source(token: TokenConfig) -> SlowPinSource:
    return SlowPinSource(token.pin_source)


def test_whoever_logs_in_while_the_sessions_are_closed_does_not(
    token: TokenConfig, source: SlowPinSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = TokenSessions(replace(token, pin_source=source))
    tried = list[str]()
    with monkeypatch.context() as context, ThreadPoolExecutor(2) as threads:
        context.setattr(session_module, "log_in", lambda *_: tried.append("C_Login"))
        first = threads.submit(sessions.open)
        assert source.asked.acquire(timeout=LONG)
        behind = threads.submit(sessions.describe)
        await_fact(lambda: threads_of(token))
        sessions.close()
        source.go_on.set()
        for opening in (first, behind):
            with pytest.raises(SessionsClosed):
                opening.result(LONG)
    assert source.count == 1, "only the first one got so far as to ask"
    assert not tried
    assert_nothing_is_left(token)


def test_a_login_that_closing_did_not_wait_for_is_ended(
    token: TokenConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def log_in_slowly(*arguments: Any) -> pkcs11.Session:
        inside.set()
        assert go_on.wait(LONG)
        return log_in(*arguments)

    sessions = TokenSessions(token)
    with monkeypatch.context() as context, ThreadPoolExecutor(1) as threads:
        context.setattr(session_module, "log_in", log_in_slowly)
        context.setattr(session_module, "START_WAIT_SECONDS", 0.1)
        opening = threads.submit(sessions.describe)
        assert inside.wait(LONG)
        sessions.close()
        go_on.set()
        with pytest.raises(SessionsClosed):
            opening.result(LONG)
    assert_nothing_is_left(token)


def threads_of(token: TokenConfig) -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == f"token-{token.uri.token}"]


def assert_nothing_is_left(token: TokenConfig) -> None:
    """No thread of a pool; and no login, else another one in this process is refused."""
    await_fact(lambda: not threads_of(token))
    with TokenSessions(token) as others:
        assert others.is_ready
