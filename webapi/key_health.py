"""The last result of each key's check, in files that processes of the same host read.

Readiness and the doctor are among them; nobody's request has a key checked.
"""

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from signer.health import KeyHealth
from signer.payload import Purpose

FRESH = timedelta(minutes=2)
"""What is older tells of a process that is gone, or of one that hangs in the key's token."""

_MAX_BYTES = 1_024


class KeyUnhealthy(Exception):
    """A key did not sign when it was checked last; the text is the class of the error."""


@dataclass(frozen=True, slots=True)
class HealthFolder:
    """Where the last results of keys lie, a file for each.

    Attributes:
        directory: owner-only.
    """

    directory: Path

    def write(self, health: KeyHealth) -> None:
        """Keep a result; raises OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        members = {"checked_at": health.checked_at.isoformat(), "failure": health.failure}
        # Two processes may hold the key while one takes over from the other.
        new = self.directory / f"{health.purpose}.{os.getpid()}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(members, file)
        new.replace(self._path(health.purpose))

    def read(self, purpose: Purpose) -> KeyHealth | None:
        """A key's last result; None where no process of this host has checked it.

        Raises:
            KeyUnhealthy: the file cannot be read.
        """
        try:
            with self._path(purpose).open("rb") as file:
                members = json.loads(file.read(_MAX_BYTES))
            checked_at = datetime.fromisoformat(members["checked_at"])
            return KeyHealth(purpose, checked_at, str(members["failure"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise KeyUnhealthy(type(error).__name__) from error

    def require(self, purpose: Purpose, at: datetime) -> None:
        """Raises KeyUnhealthy where a fresh result says that the key did not sign.

        No result, or an old one, is no reason: the key's process may run on another host.
        """
        health = self.read(purpose)
        if health is not None and not health.is_well and at - health.checked_at < FRESH:
            raise KeyUnhealthy(health.failure)

    def _path(self, purpose: Purpose) -> Path:
        return self.directory / f"{purpose}.health"
