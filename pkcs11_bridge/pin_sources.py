"""PIN sources as settings name them, after RFC 7512's `pin-source` (section 2.4).

    file:/etc/tamga/pins/login      a file, its owner's alone
    credential:login-pin            a systemd credential: a file in $CREDENTIALS_DIRECTORY
    env:LOGIN_PIN                   a variable, taken out of the environment at the first reading
    prompt                          a person at the terminal; for commands alone
    pinpad                          a person at the token's own pinpad

A command after a vertical bar, which the RFC allows as well, is refused: what it prints
would pass through a pipe, and whoever can change the program has the PIN.
"""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pkcs11_bridge.errors import PinSourceUnreadable, UnsafePinSource
from pkcs11_bridge.pin import (
    FilePinSource,
    Pin,
    PinpadEntry,
    PinSource,
    PromptPinSource,
    read_pin_file,
)

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Where systemd leaves a unit's credentials (systemd.exec(5), LoadCredential=)."""

PROMPT, PINPAD = "prompt", "pinpad"
_CREDENTIAL = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")

_taken: dict[str, Pin] = {}
_taken_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class EnvironmentPinSource:
    """A variable of the environment.

    The first reading takes it out of this process's environment, so that no program started from
    here inherits it; the PIN is kept in memory for later logins. What the kernel shows of
    the process's beginning (/proc/<pid>/environ) cannot be taken back: a process that reads
    PINs must not be dumpable.
    """

    variable: str

    def read(self) -> Pin:
        """The PIN; raises PinSourceUnreadable where the variable is not set, or holds none."""
        with _taken_lock:
            value = os.environ.pop(self.variable, None)
            if value is not None:
                _taken[self.variable] = Pin(value)
            pin = _taken.get(self.variable)
        if pin is None:
            raise PinSourceUnreadable(f"the variable {self.variable} is not set")
        return pin

    def forget(self) -> None:
        """Take the PIN out of the environment of a process that is not to have it."""
        os.environ.pop(self.variable, None)


@dataclass(frozen=True, slots=True)
class CredentialPinSource:
    """A credential that systemd hands to the unit."""

    name: str

    def read(self) -> Pin:
        """Read the PIN.

        Raises:
            PinSourceUnreadable: the unit was given no such credential, or it holds no PIN.
            UnsafePinSource: others than systemd and this user may touch it.
        """
        directory = os.environ.get(CREDENTIALS_VARIABLE)
        if directory is None or not Path(directory).is_absolute():
            raise PinSourceUnreadable(
                f"systemd gave this process no credentials: add LoadCredential={self.name}:…"
            )
        return read_pin_file(Path(directory) / self.name, self._refuse_unsafe)

    def _refuse_unsafe(self, status: os.stat_result) -> None:
        if status.st_uid not in {0, os.geteuid()}:
            raise UnsafePinSource(f"the credential {self.name} belongs to another user")
        # systemd lets the unit's user read a file of root by an access list, whose mask stands
        # where the group's rights do: such a file has mode 0440.
        allowed = 0o440 if status.st_uid == 0 else 0o400
        if status.st_mode & 0o277 & ~allowed:
            raise UnsafePinSource(f"the credential {self.name} may be touched by others")


@dataclass(frozen=True, slots=True)
class PinpadSource:
    """The token's own pinpad (CKF_PROTECTED_AUTHENTICATION_PATH)."""

    def read(self) -> Pin:
        """Stands for the PIN that will be typed there."""
        return PinpadEntry()


def parse_pin_source(text: str, ask: Callable[[], str]) -> PinSource:
    """The source that a setting names.

    Args:
        text: as above.
        ask: returns what a person typed, for `prompt`; raises a TokenError where nobody can be
            asked.

    Raises:
        PinSourceUnreadable: the text names no source.
    """
    if text == PROMPT:
        return PromptPinSource(ask)
    if text == PINPAD:
        return PinpadSource()
    kind, _, name = text.partition(":")
    if kind == "file" and name.startswith("/"):
        return FilePinSource(Path(name))
    if kind == "credential" and _CREDENTIAL.fullmatch(name) and name not in {".", ".."}:
        return CredentialPinSource(name)
    if kind == "env" and _VARIABLE.fullmatch(name):
        return EnvironmentPinSource(name)
    # The text is not repeated: somebody may have written the PIN itself.
    raise PinSourceUnreadable(
        "a PIN source is file:/path, credential:name, env:NAME, prompt or pinpad"
    )


def nobody_to_ask() -> str:
    """What processes without a terminal ask with; raises PinSourceUnreadable."""
    raise PinSourceUnreadable("only a command at a terminal can ask for this PIN")
