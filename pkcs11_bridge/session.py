"""Sessions on one token: one login for the process's life, a bounded pool of workers.

A login belongs to the process and the token (PKCS#11 2.40 section 5.6), so one session logs in
and is kept; the pool's sessions open without a PIN and see the private keys all the same. Request
threads come and go, hence a pool and no thread-locals. After an error that may mean a dead login
(``TokenError.loses_login``) everything is dropped and opened anew at the next call: old handles
stay dead after a new login.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar

import pkcs11
from pkcs11.exceptions import PKCS11Error

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.description import TokenDescription
from pkcs11_bridge.errors import (
    ForkedProcess,
    SessionsClosed,
    TokenBusy,
    TokenError,
    TokenHung,
)
from pkcs11_bridge.file_lock import exclusive_file_lock
from pkcs11_bridge.login import Login, PooledSession, TokenFinder, log_in
from pkcs11_bridge.module import Module, load_module
from pkcs11_bridge.pin import Pin
from pkcs11_bridge.pool import Place, Pool
from pkcs11_bridge.pool_observer import PoolObserver, SilentPoolObserver
from pkcs11_bridge.start_lock import START_WAIT_SECONDS, start_lock_path
from pkcs11_bridge.translation import translating

_PASSAGE_ATTEMPTS = 5
_LOOK_SECONDS = 0.2

Result = TypeVar("Result")

Allow = Callable[[float], None]
"""Told how many seconds a call may take from now."""


def _no_deadline(_seconds: float) -> None:
    """For whoever waits on its own thread."""


class TokenSessions:
    """The sessions of one process on one token; nothing is loaded before the first use.

    Safe for threads. After a fork it works in the child only if it was not opened before.
    """

    def __init__(self, config: TokenConfig, observer: PoolObserver | None = None) -> None:
        self.config = config
        self._observer = observer or SilentPoolObserver()
        self._open_lock = threading.Lock()
        self._forget_lock = threading.Lock()
        self._process_id: int | None = None
        self._module: Module | None = None
        self._login: Login | None = None
        self._lost: Login | None = None
        self._lost_by = ""
        self._closed = False
        self._login_refusal: TokenError | None = None
        self._finder = TokenFinder(config)
        self._pool = Pool(
            self.label,
            size=config.sessions,
            max_waiting=config.max_waiting,
            observer=self._observer,
            hung_changed=self._tell_gate,
        )

    @property
    def label(self) -> str:
        """The token's label, as configured."""
        return self.config.uri.token or ""

    @property
    def hung(self) -> int:
        """How many of the sessions wait for a call that does not return."""
        return self._pool.given_up

    @property
    def is_stuck(self) -> bool:
        """Whether nothing is signed here before a call that hangs returns.

        Every session waits for one; or there is one that nobody passes by on the module: no call
        where calls pass one by one, and no login where there is none any more.
        """
        if self._pool.given_up >= self.config.sessions:
            return True
        module = self._module
        gate = None if module is None else module.gate
        return gate is not None and gate.hangs and (gate.one_by_one or not self._is_logged_in())

    @property
    def is_ready(self) -> bool:
        """Whether there is a login, and a session that can be used."""
        return self._is_logged_in() and not self.is_stuck

    def open(self) -> None:
        """Load the module, find the token, log in; does nothing when that is done.

        On this thread itself, whatever time a person takes to give the PIN; a call into the
        module that hangs holds it up.

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

        def look(place: Place) -> TokenDescription:
            login, module = self._current_login(place.allow)
            return TokenDescription.of(login.token, module)

        return self._perform(look)

    def perform(self, task: Callable[[PooledSession], Result]) -> Result:
        """Do something with a session, on a thread of the pool, and wait for its end.

        Binding errors inside leave as TokenError.

        Raises:
            TokenBusy: all sessions stayed in use for ``wait_seconds``, or too many threads wait.
            TokenHung: it did not end within ``call_seconds``; what it brings later is dropped.
            TokenError: as ``open``.
        """
        return self._perform(lambda place: self._use(place, task))

    def _perform(self, task: Callable[[Place], Result]) -> Result:
        self._require_usable()
        seconds = self.config.wait_seconds + self.config.call_seconds
        try:
            return self._pool.perform(task, self.config.wait_seconds, seconds)
        except TokenHung:
            self._observer.met_hung()
            raise

    def _use(self, place: Place, task: Callable[[PooledSession], Result]) -> Result:
        """Through the module's gate, with a login that is current on the other side."""
        for _ in range(_PASSAGE_ATTEMPTS):
            login, module = self._current_login(place.allow)
            with module.gate.shared(self.config.wait_seconds):
                if login is self._login and login.generation == module.generation:
                    with self._watching(login):
                        # From here on it is the token's time.
                        place.allow(self.config.call_seconds)
                        return _in_session(place, login, task)
        raise TokenBusy("the module is initialised anew again and again")

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
        """Log out, and C_Finalize the module if nobody else in the process uses it.

        Where calls do not end that is left to the end of the process.
        """
        if self._closed:
            return
        self._closed = True
        # A forked child must not touch what is its parent's; and beside a call that hangs
        # C_Finalize would crash: the end of the process clears up.
        if self._process_id != os.getpid() or self._pool.given_up:
            return
        self._pool.close()
        if self._module is None:
            return
        # A login that hangs has the lock, and is over when the process is.
        if self._open_lock.acquire(timeout=START_WAIT_SECONDS):
            try:
                self._log_out(self._module)
            finally:
                self._open_lock.release()

    def _log_out(self, module: Module) -> None:
        # One that is under way may turn out to hang.
        with suppress(TokenBusy, TokenHung), module.gate.exclusive(START_WAIT_SECONDS):
            for login in (self._login, self._lost):
                if login is not None and login.generation == module.generation:
                    with suppress(PKCS11Error):
                        login.session.close()
            self._login = self._lost = None
            module.leave(self)
            # The pool holds these sessions, and they hold it: what stays in such a circle is put
            # away behind the interpreter's end, when the binding's object no longer can be.
            self._module = None

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
        self._process_id = os.getpid()
        if self._closed:
            raise SessionsClosed("these sessions were closed")

    def _is_logged_in(self) -> bool:
        login, module = self._login, self._module
        return login is not None and module is not None and login.generation == module.generation

    def _tell_gate(self, hung: int) -> None:
        module = self._module
        if module is not None:
            module.gate.set_hung(self, hung)

    @contextmanager
    def _watching(self, login: Login) -> Iterator[None]:
        """Binding errors leave as TokenError; one that may mean a dead login has it forgotten."""
        try:
            with translating():
                yield
        except TokenError as error:
            if error.loses_login:
                self._forget(login, type(error).__name__)
            raise

    def _forget(self, login: Login, cause: str) -> None:
        """Mark a login as lost; it is ended at the next call, when nobody is inside any more."""
        with self._forget_lock:
            if self._login is not login:
                return
            self._lost, self._lost_by, self._login = login, cause, None
        self._observer.login_lost(cause)

    def _current_login(self, allow: Allow = _no_deadline) -> tuple[Login, Module]:
        self._require_usable()
        login, module = self._login, self._module
        if login is not None and module is not None and login.generation == module.generation:
            return login, module
        # One who waits here for a login that fails does not try the same PIN right after it.
        refused_before = self._login_refusal
        allow(START_WAIT_SECONDS + self.config.call_seconds)
        with self._alone_to_open():
            self._require_usable()
            login, module = self._login, self._module
            if login is not None and module is not None and login.generation == module.generation:
                return login, module
            refusal = self._login_refusal
            if refusal is not None and refusal is not refused_before:
                raise refusal.bare()
            # Other processes that start are waited for, and calls that are under way.
            allow(2 * START_WAIT_SECONDS + self.config.call_seconds)
            try:
                return self._open_anew(allow)
            except TokenError as error:
                self._login_refusal = error.bare()
                raise

    @contextmanager
    def _alone_to_open(self) -> Iterator[None]:
        deadline = time.monotonic() + START_WAIT_SECONDS
        while not self._open_lock.acquire(timeout=_LOOK_SECONDS):
            module = self._module
            if module is not None and module.gate.hangs:
                raise TokenHung("a call into the PKCS#11 module does not return")
            if time.monotonic() >= deadline:
                raise TokenBusy("another thread opens the token, and does not come to an end")
        try:
            yield
        finally:
            self._open_lock.release()

    def _open_anew(self, allow: Allow) -> tuple[Login, Module]:
        pin = self.config.pin_source.read()
        lock = start_lock_path(self.config.module, self.config.latch_directory)
        with exclusive_file_lock(lock, START_WAIT_SECONDS):
            module = load_module(self.config.module)
            with module.gate.exclusive(START_WAIT_SECONDS):
                # Nothing is waited for any more but the token.
                allow(self.config.call_seconds)
                self._module = module
                module.join(self)
                try:
                    self._end_lost_login(module)
                    # Who closes meanwhile sees the module, or is seen here.
                    self._require_usable()
                    token = self._finder.find(module)
                    session = self._log_in(module, token, pin)
                except BaseException:
                    # Whoever has no login holds nobody back from C_Finalize, whose own failure
                    # must not hide why there is none.
                    with suppress(TokenError):
                        module.leave(self)
                    raise
                self._login = login = Login(token, session, module.generation)
                lost_by, self._lost_by = self._lost_by, ""
                self._observer.logged_in(lost_by)
                return login, module

    def _log_in(self, module: Module, token: pkcs11.Token, pin: Pin) -> pkcs11.Session:
        """A login that nobody closed the sessions before the end of; a person may type for long."""
        session = log_in(self.config, module, token, pin)
        try:
            self._require_usable()
        except TokenError:
            with suppress(PKCS11Error):
                session.close()
            raise
        return session

    def _end_lost_login(self, module: Module) -> None:
        lost, self._lost = self._lost, None
        if lost is None or lost.generation != module.generation:
            return
        try:
            lost.session.close()
        except PKCS11Error:
            # Still logged in as far as the module knows, and unable to say so: begin again.
            module.restart()


def _in_session(place: Place, login: Login, task: Callable[[PooledSession], Result]) -> Result:
    pooled, place.pooled = place.pooled, None
    if pooled is not None and pooled.login is not login:
        pooled.discard(login.generation)
        pooled = None
    if pooled is None:
        pooled = PooledSession(login.token.open(), login)
    try:
        result = task(pooled)
    except BaseException:
        pooled.discard(login.generation)
        raise
    place.pooled = pooled
    return result
