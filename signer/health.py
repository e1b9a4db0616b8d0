"""A key's health: it signs one fixed text, and the signature is verified (design, section 4.3).

The text of each key is fixed and can be nothing else, so its permit is of a kind of its own: it
names key, owner, digest and end like any other, is good once, and needs no record.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from signer.backend import PERMIT_LIFE, SigningBackend
from signer.payload import Payload, Purpose, health_payload
from signer.permit import Deadline, SigningPermit, SingleUse, sealed_permit

PAUSE = timedelta(seconds=30)
"""A key is asked at most so often."""

OWNER = "health"


@dataclass(frozen=True, slots=True)
class KeyHealth:
    """What became of the last check of a key.

    Attributes:
        purpose: names the key.
        checked_at: when it began, aware UTC.
        failure: class of the error; empty where the key signed and the signature verified.
    """

    purpose: Purpose
    checked_at: datetime
    failure: str

    @property
    def is_well(self) -> bool:
        """Whether the key signed."""
        return not self.failure


class HealthCheck:
    """Checks one key, in the process that holds it; not for several threads.

    Args:
        purpose: names the key.
        backend: gives what holds the key that signs at a time; asked at each check, and may raise.
        stopwatch: monotonic seconds.
    """

    def __init__(
        self,
        purpose: Purpose,
        backend: Callable[[datetime], SigningBackend],
        *,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._purpose = purpose
        self._backend = backend
        self._stopwatch = stopwatch
        self._next = stopwatch()
        self._last: KeyHealth | None = None

    def run(self, at: datetime) -> KeyHealth:
        """Have the key sign; within 30 seconds of the last time, that time's result.

        Args:
            at: now, aware UTC.
        """
        now = self._stopwatch()
        if self._last is None or now >= self._next:
            self._next = now + PAUSE.total_seconds()
            self._last = KeyHealth(self._purpose, at, self._failure(at))
        return self._last

    def _failure(self, at: datetime) -> str:
        payload = health_payload(self._purpose)
        try:
            self._backend(at).sign(self._permit(payload, at), payload, at=at)
        except Exception as error:  # noqa: BLE001 - whatever it is, the key did not sign
            return type(error).__name__
        return ""

    def _permit(self, payload: Payload, at: datetime) -> SigningPermit:
        deadline = Deadline.after(PERMIT_LIFE, at=at, stopwatch=self._stopwatch)
        return sealed_permit(payload, owner=OWNER, deadline=deadline, use=SingleUse())
