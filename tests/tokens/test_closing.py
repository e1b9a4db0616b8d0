"""Sessions that are closed while somebody logs in: no login is left, and none is made later."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import SessionsClosed
from pkcs11_bridge.pin import Pin, PinSource
from pkcs11_bridge.session import TokenSessions

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
    token: TokenConfig, source: SlowPinSource
) -> None:
    sessions = TokenSessions(replace(token, pin_source=source))
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(sessions.open)
        assert source.asked.acquire(timeout=LONG)
        behind = threads.submit(sessions.open)
        sessions.close()
        source.go_on.set()
        for opening in (first, behind):
            with pytest.raises(SessionsClosed):
                opening.result(LONG)
    # Only the first one got so far as to ask; neither is logged in, else this would be refused.
    assert source.count == 1
    with TokenSessions(token) as others:
        assert others.is_ready
