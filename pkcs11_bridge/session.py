"""Sessions on one token: one login for the process's life, a bounded pool of workers.

A login belongs to the process and the token (PKCS#11 2.40 section 5.6), so one session logs in
and is kept; the pool's sessions open without a PIN and see the private keys all the same. Request
threads come and go, hence a queue and no thread-locals. After a device error everything is dropped
and opened anew at the next call: old handles stay dead after a new login.
"""

import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import pkcs11
from pkcs11.exceptions import PKCS11Error

from pkcs11_bridge import objects
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import (
    CardRemoved,
    DeviceUnavailable,
    ForkedProcess,
    KeyGone,
    PinIncorrect,
    PinLengthWrong,
    PinLocked,
    PinUnusable,
    SessionsClosed,
    TokenAlreadyOpen,
    TokenBusy,
    TokenError,
    TokenNotFound,
)
from pkcs11_bridge.file_lock import exclusive_file_lock
from pkcs11_bridge.latch import PinLatch
from pkcs11_bridge.module import Module, load_module
from pkcs11_bridge.pin import Pin, pin_was_refused_before
from pkcs11_bridge.pool_observer import PoolObserver, SilentPoolObserver
from pkcs11_bridge.start_lock import START_WAIT_SECONDS, start_lock_path
from pkcs11_bridge.translation import translating
from pkcs11_bridge.uri import Pkcs11Uri

_RESTART_PAUSES = (0.05, 0.2)
_RESTART_INTERVAL_SECONDS = 5.0
_PASSAGE_ATTEMPTS = 5
_SOFTHSM_MANUFACTURER, _SOFTHSM_MODEL = "SoftHSM project", "SoftHSM"
"""What SoftHSM 2.6 writes into CK_TOKEN_INFO: its manufacturerID, and how its model begins."""
_NO_TRY_SPENT = (PinLengthWrong, PinUnusable, TokenAlreadyOpen, TokenBusy)
"""Answers to C_Login that come before the token compares the PIN."""


@dataclass(frozen=True, slots=True)
class SigningToken:
    """A token that signed, and the module through which it did."""

    module: Path
    label: str


_counts: Counter[SigningToken] = Counter()
_counts_lock = threading.Lock()


def sign_counts() -> dict[SigningToken, int]:
    """Signatures made by this process so far, by token."""
    with _counts_lock:
        return dict(_counts)


def count_signature(module: Path, token_label: str) -> None:
    """Count one successful C_Sign."""
    with _counts_lock:
        _counts[SigningToken(module, token_label)] += 1


@dataclass(frozen=True, slots=True)
class TokenDescription:
    """Which token is really used, for people and for test reports."""

    module: Path
    library: str
    label: str
    serial: str
    model: str
    manufacturer: str
    process_id: int

    @classmethod
    def of(cls, token: pkcs11.Token, module: Module) -> Self:
        """What a token says of itself."""
        return cls(
            module=module.path,
            library=module.description,
            label=token.label,
            serial=objects.serial_of(token),
            model=token.model,
            manufacturer=token.manufacturer_id,
            process_id=module.process_id,
        )

    @property
    def is_software(self) -> bool:
        """A token known to be a program: SoftHSM, by what it says itself whatever loads it.

        False is no proof of hardware: a token is free to say what it likes.
        """
        return self.manufacturer == _SOFTHSM_MANUFACTURER or self.model.startswith(_SOFTHSM_MODEL)


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


class TokenSessions:
    """The sessions of one process on one token; nothing is loaded before the first use.

    Safe for threads. After a fork it works in the child only if it was not opened before.
    """

    def __init__(self, config: TokenConfig, observer: PoolObserver | None = None) -> None:
        self.config = config
        self._observer = observer or SilentPoolObserver()
        self._open_lock = threading.Lock()
        self._process_id: int | None = None
        self._module: Module | None = None
        self._login: Login | None = None
        self._lost: Login | None = None
        self._closed = False
        self._no_restart_before = 0.0
        self._pool: queue.LifoQueue[PooledSession | None] = queue.LifoQueue()
        for _ in range(config.sessions):
            self._pool.put(None)

    @property
    def label(self) -> str:
        """The token's label, as configured."""
        return self.config.uri.token or ""

    def open(self) -> None:
        """Load the module, find the token, log in; does nothing when that is done.

        Raises:
            PinIncorrect, PinLatched, PinLocked: a person must look after the PIN.
            TokenNotFound, TokenAmbiguous, ModuleUnusable, UnsafePinSource: misconfigured.
            TokenAlreadyOpen: other sessions of this process hold the token's login.
            ForkedProcess: opened before this process was forked.
            DeviceUnavailable, TokenBusy: later.
        """
        self._current_login()

    def describe(self) -> TokenDescription:
        """Which token and module are in use; opens them if need be."""
        login, module = self._current_login()
        return TokenDescription.of(login.token, module)

    @contextmanager
    def session(self) -> Iterator[PooledSession]:
        """A session for this thread; binding errors inside leave as TokenError.

        Raises:
            TokenBusy: all sessions stayed in use for ``wait_seconds``.
            TokenError: as ``open``.
        """
        self._require_usable()
        pooled = self._take_session()
        try:
            with self._passage() as login, self._watching(login):
                if pooled is not None and pooled.login is not login:
                    pooled.discard(login.generation)
                    pooled = None
                if pooled is None:
                    pooled = PooledSession(login.token.open(), login)
                try:
                    yield pooled
                except BaseException:
                    pooled.discard(login.generation)
                    pooled = None
                    raise
        finally:
            self._pool.put(pooled)
            self._observer.returned()

    def _take_session(self) -> PooledSession | None:
        """One place of the pool, with the session that is open there, if any."""
        self._observer.waiting()
        try:
            pooled = self._pool.get(timeout=self.config.wait_seconds)
        except queue.Empty:
            self._observer.refused()
            raise TokenBusy("all sessions on the token are in use") from None
        self._observer.taken()
        return pooled

    @contextmanager
    def writing_session(self) -> Iterator[pkcs11.Session]:
        """A read-write session, alone on the module: key generation is not safe beside others."""
        login, module = self._current_login()
        with module.gate.exclusive(self.config.wait_seconds):
            if login.generation != module.generation:
                raise TokenBusy("the module was initialised anew meanwhile")
            with self._watching(login):
                session = login.token.open(rw=True)
                try:
                    yield session
                finally:
                    session.close()

    def close(self) -> None:
        """Log out, and C_Finalize the module if nobody else in the process uses it."""
        if self._closed:
            return
        self._closed = True
        # A forked child must not touch what is its parent's.
        if self._module is None or self._process_id != os.getpid():
            return
        with self._open_lock, self._module.gate.exclusive(START_WAIT_SECONDS):
            for login in (self._login, self._lost):
                if login is not None and login.generation == self._module.generation:
                    with suppress(PKCS11Error):
                        login.session.close()
            self._login = self._lost = None
            self._module.leave(self)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _require_usable(self) -> None:
        # Before any lock: in a forked child, a lock may be held by a thread that is not there.
        if self._process_id not in (None, os.getpid()):
            raise ForkedProcess("these sessions belong to the process that opened them")
        if self._closed:
            raise SessionsClosed("these sessions were closed")

    @contextmanager
    def _passage(self) -> Iterator[Login]:
        """Through the module's gate, with a login that is current on the other side."""
        with ExitStack() as stack:
            for _ in range(_PASSAGE_ATTEMPTS):
                login, module = self._current_login()
                stack.enter_context(module.gate.shared(self.config.wait_seconds))
                if login is self._login and login.generation == module.generation:
                    break
                stack.close()
            else:
                raise TokenBusy("the module is initialised anew again and again")
            yield login

    @contextmanager
    def _watching(self, login: Login) -> Iterator[None]:
        """Binding errors leave as TokenError; one that may mean a dead login has it forgotten."""
        try:
            with translating():
                yield
        except (DeviceUnavailable, CardRemoved, KeyGone):
            # A key that vanished may mean that the token logged us out unasked.
            self._forget(login)
            raise

    def _forget(self, login: Login) -> None:
        """Mark a login as lost; it is ended at the next call, when nobody is inside any more."""
        if self._login is login:
            self._lost = login
            self._login = None

    def _current_login(self) -> tuple[Login, Module]:
        self._require_usable()
        login, module = self._login, self._module
        if login is not None and module is not None and login.generation == module.generation:
            return login, module
        with self._open_lock:
            self._process_id = os.getpid()
            login, module = self._login, self._module
            if login is not None and module is not None and login.generation == module.generation:
                return login, module
            return self._open_anew()

    def _open_anew(self) -> tuple[Login, Module]:
        pin = self.config.pin_source.read()
        lock = start_lock_path(self.config.module, self.config.latch_directory)
        with exclusive_file_lock(lock, START_WAIT_SECONDS):
            module = load_module(self.config.module)
            with module.gate.exclusive(START_WAIT_SECONDS):
                self._module = module
                module.join(self)
                try:
                    self._end_lost_login(module)
                    token = self._find_token(module)
                    session = self._log_in(module, token, pin)
                except BaseException:
                    # Whoever has no login holds nobody back from C_Finalize, whose own failure
                    # must not hide why there is none.
                    with suppress(TokenError):
                        module.leave(self)
                    raise
                self._login = Login(token, session, module.generation)
                return self._login, module

    def _end_lost_login(self, module: Module) -> None:
        lost, self._lost = self._lost, None
        if lost is None or lost.generation != module.generation:
            return
        try:
            lost.session.close()
        except PKCS11Error:
            # Still logged in as far as the module knows, and unable to say so: begin again.
            module.restart()

    def _find_token(self, module: Module) -> pkcs11.Token:
        """Look the token up; SoftHSM reads its list once, and misreads it while others start."""
        pauses = iter(_RESTART_PAUSES if time.monotonic() >= self._no_restart_before else ())
        while True:
            try:
                with translating():
                    return objects.find_token(module.library, self.config.uri)
            except (TokenNotFound, DeviceUnavailable):
                pause = next(pauses, None)
                if pause is None:
                    # Each restart costs every other token of the module a login: not too often.
                    self._no_restart_before = time.monotonic() + _RESTART_INTERVAL_SECONDS
                    raise
            time.sleep(pause)
            module.restart()

    def _log_in(self, module: Module, token: pkcs11.Token, pin: Pin) -> pkcs11.Session:
        latch = PinLatch.of(
            self.config.latch_directory, module.path, token.label, objects.serial_of(token)
        )
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
