"""PINs: where they come from, and how they stay out of sight."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Never, Protocol

from pkcs11 import PROTECTED_AUTH

from pkcs11_bridge.errors import Misconfigured, PinSourceUnreadable, UnsafePinSource

MAX_PIN_BYTES = 255

# CK_TOKEN_INFO flags, PKCS#11 2.40 section 3.2
_PROTECTED_AUTHENTICATION_PATH = 0x00000100
_COUNT_LOW = 0x00010000
_FINAL_TRY = 0x00020000
_LOCKED = 0x00040000


class Pin:
    """A PIN that no print, log, repr, comparison or pickle shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Raises PinSourceUnreadable when the value is empty, too long or not text."""
        try:
            size = len(value.encode("utf-8"))
        except UnicodeEncodeError:
            # Without the cause: its text would show the PIN.
            raise PinSourceUnreadable("the PIN is not text") from None
        if not 1 <= size <= MAX_PIN_BYTES:
            raise PinSourceUnreadable("a PIN has 1 to 255 bytes")
        self._value = value

    def reveal(self) -> str:
        """The PIN itself, for the call that hands it to the token."""
        return self._value

    def login_argument(self, token_flags: int) -> object:
        """What C_Login gets, in the binding's terms: the PIN itself.

        Args:
            token_flags: CK_TOKEN_INFO.flags.
        """
        del token_flags
        return self._value

    def __repr__(self) -> str:
        return "Pin(hidden)"

    def __reduce__(self) -> Never:
        raise TypeError("a PIN cannot be pickled")


class PinpadEntry(Pin):
    """A PIN that a person types on the token's own pinpad: no program ever sees it.

    All entries are one PIN to the latch, which thus holds after a wrong one until a person
    removes it: nothing here can tell that another PIN would be typed.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("typed on the pinpad")

    def login_argument(self, token_flags: int) -> object:
        """Have C_Login get no PIN (PKCS#11 2.40 section 5.6).

        Raises:
            Misconfigured: the token has no CKF_PROTECTED_AUTHENTICATION_PATH.
        """
        if not token_flags & _PROTECTED_AUTHENTICATION_PATH:
            raise Misconfigured("the token has no pinpad of its own: name another PIN source")
        return PROTECTED_AUTH


class PinSource(Protocol):
    """Where the PIN comes from, asked at the moment of use."""

    def read(self) -> Pin:
        """The PIN; raises Misconfigured or NeedsPerson when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class FilePinSource:
    """A file that holds the PIN and nothing else (one trailing newline is dropped)."""

    path: Path

    def read(self) -> Pin:
        """Read the PIN.

        Raises:
            PinSourceUnreadable: no file, not UTF-8, empty or too long.
            UnsafePinSource: not a plain file, another owner, or group or others may touch it.
        """
        return read_pin_file(self.path, self._refuse_unsafe)

    def _refuse_unsafe(self, status: os.stat_result) -> None:
        if status.st_uid != os.geteuid():
            raise UnsafePinSource(f"{self.path} belongs to another user")
        if status.st_mode & 0o077:
            raise UnsafePinSource(f"{self.path} may be touched by group or others; use mode 600")


@dataclass(frozen=True, slots=True)
class PromptPinSource:
    """A person, asked by the given function (which returns what was typed)."""

    ask: Callable[[], str]

    def read(self) -> Pin:
        """Ask once; raises PinSourceUnreadable when nothing was typed."""
        return Pin(self.ask())


def read_pin_file(path: Path, refuse_unsafe: Callable[[os.stat_result], None]) -> Pin:
    """The PIN that a file holds.

    Args:
        path: opened first and judged by its descriptor: no other file can slip in between.
        refuse_unsafe: raises UnsafePinSource where owner or mode are wrong.

    Raises:
        PinSourceUnreadable: no file, not UTF-8, empty or too long.
        UnsafePinSource: as told, or not a plain file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        raise PinSourceUnreadable(f"the PIN file {path} cannot be opened") from e
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnsafePinSource(f"{path} is not a plain file")
        refuse_unsafe(status)
        content = os.read(descriptor, MAX_PIN_BYTES + 2)
    finally:
        os.close(descriptor)
    try:
        return Pin(content.decode("utf-8").removesuffix("\n"))
    except UnicodeDecodeError:
        # Without the cause: its text would show the bytes.
        raise PinSourceUnreadable(f"the PIN file {path} is not UTF-8") from None


def tries_left(token_flags: int, *, count_low_means_two: bool) -> int | None:
    """How many PIN tries the token's flags admit to.

    Args:
        token_flags: CK_TOKEN_INFO.flags.
        count_low_means_two: the module sets COUNT_LOW for exactly two of three tries (ykcs11);
            elsewhere the flag says only that a wrong PIN was seen.

    Returns:
        0, 1 or 2 where the token tells; None for "unknown", never a guess.
    """
    if token_flags & _LOCKED:
        return 0
    if token_flags & _FINAL_TRY:
        return 1
    if token_flags & _COUNT_LOW and count_low_means_two:
        return 2
    return None


def pin_was_refused_before(token_flags: int) -> bool:
    """Whether the flags tell of a wrong PIN since the last right one."""
    return bool(token_flags & (_COUNT_LOW | _FINAL_TRY | _LOCKED))
