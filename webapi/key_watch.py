"""Looks after the keys that this process holds: a part of the wiring.

Every half minute each key signs its health text, never because somebody asked. The result goes into
its file (`webapi.key_health`) and into the metrics.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache, partial

import structlog

from signer.backend import SigningBackend
from signer.health import PAUSE, HealthCheck, KeyHealth
from signer.payload import Purpose
from webapi import clock
from webapi.operations.metrics import Metrics
from webapi.settings_model import Settings
from webapi.token_keys import TokenKeys

_log = structlog.get_logger(__name__)


class HealthWatch:
    """Checks keys by turns on a thread of its own, so that one that hangs holds up nothing else.

    Args:
        checks: one for each key.
        tell: is given each result; may raise OSError.
        clock: gives aware UTC.
        pause: between two rounds.
    """

    def __init__(
        self,
        checks: Sequence[HealthCheck],
        tell: Callable[[KeyHealth], None],
        clock: Callable[[], datetime],
        *,
        pause: timedelta = PAUSE,
    ) -> None:
        self._checks = checks
        self._tell = tell
        self._clock = clock
        self._pause = pause
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="key-health", daemon=True)

    def start(self) -> None:
        """Begin; the first round is now."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further check; one that is under way ends by itself."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for check in self._checks:
                if self._stopping.is_set():
                    return
                health = check.run(self._clock())
                # What ended a check together with everything else says nothing of the key.
                if not self._stopping.is_set():
                    self._keep(health)
            self._stopping.wait(self._pause.total_seconds())

    def _keep(self, health: KeyHealth) -> None:
        try:
            self._tell(health)
        except OSError as error:
            _log.error("key_health_not_kept", error_class=type(error).__qualname__)


def watch_keys(keys: TokenKeys, metrics: Metrics, purposes: Iterable[Purpose]) -> HealthWatch:
    """The watch over these keys, to be started."""

    def tell(health: KeyHealth) -> None:
        metrics.key_checked(health.purpose, is_well=health.is_well)
        keys.health_folder(health.purpose).write(health)

    checks = [HealthCheck(purpose, _current_backend(keys, purpose)) for purpose in purposes]
    return HealthWatch(checks, tell, clock.now)


def responder_purposes(settings: Settings) -> list[Purpose]:
    """Whose keys the OCSP listener's process holds."""
    listener = settings.ocsp_listener
    lists = listener is not None and listener.crl_certificate is not None
    return [Purpose.OCSP_CITIZEN_CA, *([Purpose.CRL_CITIZEN_CA] if lists else [])]


def _current_backend(keys: TokenKeys, purpose: Purpose) -> Callable[[datetime], SigningBackend]:
    """What signs for a purpose by the key that is current; the keys are looked up once."""
    backends = cache(partial(keys.backends, purpose))
    return lambda at: backends().current(at)
