"""The PIN latch: a service PIN that the token refused is not tried again, by anybody.

Respawned workers would burn a real token's few tries in seconds. So before C_Login a latch file
is written, under the lock that all processes share, and taken away when the login succeeded. The
file keeps a salted scrypt of the PIN, never the PIN: a process that reads another PIN from its
source may try that one.

    no file      free
    refused      the token refused this PIN: PinLatched, without touching the token
    attempting   between writing the latch and learning the answer the process died or the
                 device failed

After such an end nobody knows whether a try was spent. The same PIN is tried once more if the
token's flags tell of no wrong PIN; a second unknown end, or a flag, latches. So a wrong PIN is
tried once, or twice if its first end was unknown on a token that tells nothing.
A latch file that cannot be read latches too.
"""

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pkcs11_bridge.errors import PinLatched
from pkcs11_bridge.pin import Pin

MAX_UNKNOWN_ENDS = 1
_MAX_FILE_BYTES = 4096
_SCRYPT_COST = 2**14  # 16 MB and some tens of milliseconds


class LatchState(StrEnum):
    """What the file says of the last attempt."""

    ATTEMPTING = "attempting"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class _Record:
    state: LatchState
    salt: bytes
    pin_hash: bytes
    unknown_ends: int


@dataclass(frozen=True, slots=True)
class PinLatch:
    """The latch of one token. Every call is made under the file lock of the module's start."""

    path: Path

    @classmethod
    def of(cls, directory: Path, module: Path, label: str, serial: str) -> "PinLatch":
        """The latch of a token: one file per module, label and serial number."""
        name = hashlib.sha256("\0".join((str(module), label, serial)).encode("utf-8")).hexdigest()
        return cls(directory / f"{name[:32]}.latch")

    def standing(self, pin: Pin) -> LatchState | None:
        """What stands against a PIN now; changes nothing.

        Raises:
            PinLatched: the file cannot be read.
        """
        record = self._read()
        return record.state if record is not None and _is_of(pin, record) else None

    def arm(self, pin: Pin, *, refused_before: bool) -> None:
        """Write that this PIN is about to be tried; durable when it returns.

        Args:
            pin: what the source holds now.
            refused_before: the token's flags tell of a wrong PIN since the last right one.

        Raises:
            PinLatched: this PIN was refused before, or its end is unknown once too often.
        """
        previous = self._read()
        unknown_ends = 0
        if previous is not None and _is_of(pin, previous):
            unknown_ends = previous.unknown_ends + 1
            if (
                previous.state is LatchState.REFUSED
                or refused_before
                or unknown_ends > MAX_UNKNOWN_ENDS
            ):
                raise PinLatched(f"the PIN may be wrong: correct its source, or remove {self.path}")
        salt = secrets.token_bytes(16)
        self._write(_Record(LatchState.ATTEMPTING, salt, _pin_hash(pin, salt), unknown_ends))

    def refused(self) -> None:
        """The token refused the PIN of the last ``arm``: latch."""
        armed = self._read()
        if armed is None:
            raise PinLatched(f"the latch {self.path} vanished during a login")
        self._write(_Record(LatchState.REFUSED, armed.salt, armed.pin_hash, armed.unknown_ends))

    def release(self) -> None:
        """The login succeeded: nothing is held against the PIN any more."""
        self.path.unlink(missing_ok=True)
        self._sync_directory()

    def disarm(self) -> None:
        """The token said for certain that no try was spent: as before the last ``arm``.

        An earlier unknown end of the same PIN still counts.
        """
        armed = self._read()
        if armed is None or armed.unknown_ends == 0:
            self.release()
        else:
            self._write(replace(armed, unknown_ends=armed.unknown_ends - 1))

    def _read(self) -> _Record | None:
        try:
            with self.path.open("rb") as file:
                content = json.loads(file.read(_MAX_FILE_BYTES))
            return _Record(
                state=LatchState(content["state"]),
                salt=bytes.fromhex(content["salt"]),
                pin_hash=bytes.fromhex(content["pin_hash"]),
                unknown_ends=int(content["unknown_ends"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as e:
            raise PinLatched(f"the latch {self.path} cannot be read; a person must look") from e

    def _write(self, record: _Record) -> None:
        content = {
            "state": record.state.value,
            "salt": record.salt.hex(),
            "pin_hash": record.pin_hash.hex(),
            "unknown_ends": record.unknown_ends,
        }
        temporary = self.path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _pin_hash(pin: Pin, salt: bytes) -> bytes:
    return hashlib.scrypt(pin.reveal().encode("utf-8"), salt=salt, n=_SCRYPT_COST, r=8, p=1)


def _is_of(pin: Pin, record: _Record) -> bool:
    return hmac.compare_digest(_pin_hash(pin, record.salt), record.pin_hash)
