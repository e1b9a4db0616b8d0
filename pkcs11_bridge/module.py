"""Loads a PKCS#11 module so that threads may use it.

The binding calls C_Initialize(NULL), a promise to use one thread, and then releases the GIL round
every call: two threads crash SoftHSM. Here the module is initialised with CKF_OS_LOCKING_OK
(PKCS#11 2.40 section 5.4) through its own function list, and the object is put into the binding's
cache, so that every other user of the binding in this process gets the safe one.

A client of a token in another process (p11-kit-client) makes a new state, with a connection of its
own, for each list that C_GetFunctionList gives. There the binding's own list must be initialised,
by the binding. Such a client locks its connection itself, but one thread at a time is let into it:
when the server dies with several calls under way on the one connection, some of them never return
(seen with p11-kit 0.24), and more threads would sign no faster.

A module belongs to the process that loaded it: a forked child shares the parent's handles and
must not touch them. Hence load after the fork; a child that inherits a loaded module is refused.
"""

import ctypes
import os
import threading
from contextlib import suppress
from multiprocessing.util import Finalize
from pathlib import Path
from typing import ClassVar

import pkcs11
import pkcs11._pkcs11
from pkcs11.exceptions import (
    DeviceError,
    DeviceMemory,
    DeviceRemoved,
    PKCS11Error,
    TokenNotPresent,
)

from pkcs11_bridge.errors import DeviceUnavailable, ForkedProcess, ModuleUnusable, TokenError
from pkcs11_bridge.gate import Gate
from pkcs11_bridge.return_values import told_by

_CKF_OS_LOCKING_OK = 0x00000002
_CKR_OK = 0x00000000
_CKR_CANT_LOCK = 0x0000000A
_DEVICE_AWAY = frozenset({0x00000030, 0x00000031, 0x00000032, 0x000000E0})
"""CKR_DEVICE_ERROR, _MEMORY and _REMOVED, CKR_TOKEN_NOT_PRESENT: only the driver is there."""
_CKR_CRYPTOKI_NOT_INITIALIZED = 0x00000190
_CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x00000191

_EXIT_WAIT_SECONDS = 2.0


class _FunctionList(ctypes.Structure):
    """The beginning of CK_FUNCTION_LIST: all that is called directly."""

    _fields_ = (
        ("version", ctypes.c_ubyte * 2),
        ("C_Initialize", ctypes.c_void_p),
        ("C_Finalize", ctypes.c_void_p),
    )


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS."""

    _fields_ = (
        ("CreateMutex", ctypes.c_void_p),
        ("DestroyMutex", ctypes.c_void_p),
        ("LockMutex", ctypes.c_void_p),
        ("UnlockMutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("pReserved", ctypes.c_void_p),
    )


class ThreadSafeLibrary(pkcs11._pkcs11.lib):  # noqa: SLF001 - the binding's only extension point
    """The binding's library object, initialised with operating-system locks."""

    wants_locks: ClassVar[bool] = True

    def __init__(self, so: str) -> None:
        # The binding's __cinit__ has loaded the module and found its function list by now.
        table, another = _function_list(so), _function_list(so)
        prototype = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)
        self._c_initialize = prototype(table.contents.C_Initialize)
        self._c_finalize = prototype(table.contents.C_Finalize)
        self._has_state_per_list = ctypes.addressof(table.contents) != ctypes.addressof(
            another.contents
        )
        self._up = False
        self._is_to_go_down = False
        self.can_lock = not self._has_state_per_list
        super().__init__(so)  # calls initialize()

    def initialize(self) -> None:
        """C_Initialize; the binding calls it each time the library is asked for.

        Raises:
            ModuleUnusable: it refuses.
            DeviceUnavailable: its device, or the server that it speaks to, is away.
        """
        if self._is_to_go_down:
            self.finalize()
        if self._up:
            return
        if self._has_state_per_list:
            self._initialize_by_binding()
        else:
            self._initialize_with_locks()
        self._up = True

    def _initialize_by_binding(self) -> None:
        try:
            super().initialize()
        except (DeviceError, DeviceMemory, DeviceRemoved, TokenNotPresent) as e:
            raise DeviceUnavailable(f"C_Initialize answered {type(e).__name__}") from e
        except PKCS11Error as e:
            raise ModuleUnusable(f"C_Initialize answered {type(e).__name__}") from e

    def _initialize_with_locks(self) -> None:
        arguments = _InitializeArguments(flags=_CKF_OS_LOCKING_OK)
        code = _CKR_CANT_LOCK
        if self.wants_locks:
            code = self._c_initialize(ctypes.addressof(arguments))
        if code == _CKR_CANT_LOCK:
            self.can_lock = False
            code = self._c_initialize(None)
        if code == _CKR_CRYPTOKI_ALREADY_INITIALIZED:
            raise ModuleUnusable("somebody else initialised the module, perhaps without locks")
        if code in _DEVICE_AWAY:
            raise DeviceUnavailable(f"C_Initialize answered 0x{code:08X}")
        if code != _CKR_OK:
            raise ModuleUnusable(f"C_Initialize answered 0x{code:08X}")

    def finalize(self) -> None:
        """C_Finalize; does nothing on a module that is down. Raises DeviceUnavailable."""
        if not self._up:
            return
        # Until it is: a module that failed at this is still up, with its old logins.
        self._is_to_go_down = True
        if self._has_state_per_list:
            self._finalize_by_binding()
        else:
            self._finalize_directly()
        self._up = self._is_to_go_down = False

    def _finalize_by_binding(self) -> None:
        try:
            super().finalize()
        except PKCS11Error as e:
            told = told_by(e)
            if told is None or told.code != _CKR_CRYPTOKI_NOT_INITIALIZED:
                raise DeviceUnavailable(f"C_Finalize answered {type(e).__name__}") from e

    def _finalize_directly(self) -> None:
        code = self._c_finalize(None)
        # Somebody else in this process has done it.
        if code not in (_CKR_OK, _CKR_CRYPTOKI_NOT_INITIALIZED):
            raise DeviceUnavailable(f"C_Finalize answered 0x{code:08X}")


class OneThreadLibrary(ThreadSafeLibrary):
    """A library object initialised without locks: its users pass the module's gate one by one.

    For cards: after one was pulled, OpenSC 0.23 waits for ever for a lock of its own.
    """

    wants_locks = False


def _function_list(so: str) -> "ctypes._Pointer[_FunctionList]":
    """C_GetFunctionList's answer, good for the life of the process."""
    table = ctypes.POINTER(_FunctionList)()
    ctypes.CDLL(so).C_GetFunctionList(ctypes.byref(table))
    return table


class Module:
    """One loaded module in one process, shared by everybody there who uses one of its tokens."""

    def __init__(self, path: Path, library: type[ThreadSafeLibrary] = ThreadSafeLibrary) -> None:
        self.path = path
        self.process_id = os.getpid()
        self.gate = Gate()
        self.generation = 0
        """Grows whenever the module is initialised anew: all older handles are dead then."""
        self._users: set[int] = set()
        try:
            self.library = library(str(path))
        except PKCS11Error as e:
            raise ModuleUnusable(f"{path} is not a PKCS#11 module that can be loaded") from e
        self.gate.one_by_one = not self.library.can_lock
        pkcs11._loaded[str(path)] = self.library  # noqa: SLF001 - see the module's docstring
        # atexit does not run in multiprocessing children; their finalizers do.
        self._at_exit = Finalize(None, self._finalize_at_exit, exitpriority=10)

    @property
    def description(self) -> str:
        """CK_INFO.libraryDescription."""
        return self.library.library_description

    def require_own_process(self) -> None:
        """Raises ForkedProcess in a child of the process that loaded the module."""
        if os.getpid() != self.process_id:
            raise ForkedProcess("load the PKCS#11 module after the fork")

    def join(self, user: object) -> None:
        """Count a user in, and bring the module up if the last one had let it down.

        Like ``leave`` and ``restart``: the caller holds ``gate.exclusive``.
        """
        self._users.add(id(user))
        self.library.initialize()

    def leave(self, user: object) -> None:
        """Count a user out; C_Finalize when it was the last.

        C_Finalize is what logs out for good and lets go of a card.
        """
        self._users.discard(id(user))
        if not self._users:
            self.generation += 1
            self.library.finalize()

    def restart(self) -> None:
        """C_Finalize and C_Initialize: the list of tokens is read anew.

        Other users notice by the generation and log in again.
        """
        self.generation += 1
        self.library.finalize()
        self.library.initialize()

    def _finalize_at_exit(self) -> None:
        # A thread that still signs at exit would crash in C_Finalize: then it is left out.
        if self.process_id == os.getpid():
            with suppress(TokenError), self.gate.exclusive(_EXIT_WAIT_SECONDS):
                self.library.finalize()


_modules: dict[Path, Module] = {}
_loading: dict[Path, threading.Lock] = {}
"""A lock for each module: one that hangs as it is loaded holds up no other."""
_loading_lock = threading.Lock()


def load_module(path: Path, library: type[ThreadSafeLibrary] = ThreadSafeLibrary) -> Module:
    """The process's one Module for a path, loaded at the first call.

    Args:
        path: of the shared library.
        library: how it is initialised if this is the first call.

    Raises:
        ModuleUnusable: no such file, not a PKCS#11 module, or C_Initialize fails.
        ForkedProcess: a parent process loaded it before this one was forked.
    """
    with _loading_lock:
        loading = _loading.setdefault(path, threading.Lock())
    with loading:
        module = _modules.get(path)
        if module is None:
            module = Module(path, library)
            _modules[path] = module
        module.require_own_process()
        return module
