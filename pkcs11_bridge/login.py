"""One login on one token: the token found, the PIN tried under its latch."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pkcs11
from pkcs11.exceptions import PKCS11Error

from pkcs11_bridge import objects
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import (
    DeviceUnavailable,
    PinIncorrect,
    PinLengthWrong,
    PinLocked,
    PinUnusable,
    TokenAlreadyOpen,
    TokenBusy,
    TokenNotFound,
)
from pkcs11_bridge.latch import PinLatch
from pkcs11_bridge.module import Module
from pkcs11_bridge.pin import Pin, pin_was_refused_before
from pkcs11_bridge.translation import translating
from pkcs11_bridge.uri import Pkcs11Uri

_RESTART_PAUSES = (0.05, 0.2)
_RESTART_INTERVAL_SECONDS = 5.0
_NO_TRY_SPENT = (PinLengthWrong, PinUnusable, TokenAlreadyOpen, TokenBusy)
"""Answers to C_Login that come before the token compares the PIN."""


@dataclass(frozen=True, slots=True, eq=False)
class Login:
    """One C_Login and what hangs on it."""

    token: pkcs11.Token
    session: pkcs11.Session
    generation: int


@dataclass(slots=True, eq=False)
class PooledSession:
    """One session, for one thread at a time, with the key handles found through it."""

    raw: pkcs11.Session
    login: Login
    keys: dict[Pkcs11Uri, pkcs11.Object] = field(default_factory=dict)

    def discard(self, generation: int) -> None:
        """Close, unless the module was initialised anew; a dead session is no error."""
        if self.login.generation == generation:
            with suppress(PKCS11Error):
                self.raw.close()


class TokenFinder:
    """Looks a token up; SoftHSM reads its list once, and misreads it while others start.

    Args:
        config: which token.
        stopwatch: monotonic seconds.
    """

    def __init__(
        self, config: TokenConfig, stopwatch: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._stopwatch = stopwatch
        self._no_restart_before = 0.0

    def find(self, module: Module) -> pkcs11.Token:
        """The token, if need be after the module was initialised anew.

        Raises:
            TokenNotFound, TokenAmbiguous: none, or several.
            DeviceUnavailable: the module cannot tell.
        """
        pauses = iter(_RESTART_PAUSES if self._stopwatch() >= self._no_restart_before else ())
        while True:
            try:
                with translating():
                    return objects.find_token(module.library, self._config.uri)
            except (TokenNotFound, DeviceUnavailable):
                pause = next(pauses, None)
                if pause is None:
                    # Each restart costs every other token of the module a login: not too often.
                    self._no_restart_before = self._stopwatch() + _RESTART_INTERVAL_SECONDS
                    raise
            time.sleep(pause)
            module.restart()


def log_in(config: TokenConfig, module: Module, token: pkcs11.Token, pin: Pin) -> pkcs11.Session:
    """One C_Login, made alone on the module and under the file lock of its start.

    Raises:
        PinIncorrect, PinLatched, PinLocked, PinLengthWrong, PinUnusable: look after the PIN.
        TokenError: the token failed; a try may have been spent.
    """
    latch = PinLatch.of(config.latch_directory, module.path, token.label, objects.serial_of(token))
    with translating():
        # A token that opens no session spends no try: found out before anything is counted.
        token.open().close()
    argument = pin.login_argument(int(token.flags))
    latch.arm(pin, refused_before=pin_was_refused_before(int(token.flags)))
    try:
        with translating():
            session = token.open(user_pin=argument)
    except PinIncorrect as e:
        latch.refused()
        raise objects.pin_refusal(token, module.description) from e
    except PinLocked:
        latch.refused()
        raise
    except _NO_TRY_SPENT:
        latch.disarm()
        raise
    # After any other error the latch stays as armed: a card counts down before it compares,
    # so a device that failed may well have spent a try.
    latch.release()
    return session
