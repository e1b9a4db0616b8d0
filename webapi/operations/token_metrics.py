"""What is measured of token sessions, by zone."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

WAIT_SECONDS = (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0)


class TokenMetrics:
    """The measurements of this process's token sessions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Make the metrics in `registry`."""
        self._registry = registry
        self._in_use = self._level("tamga_token_sessions_in_use", "Token sessions in use")
        self._waiting = self._level(
            "tamga_token_sessions_waiting", "Threads that wait for a token session"
        )
        self._hung = self._level(
            "tamga_token_sessions_hung", "Token sessions whose call does not return"
        )
        self._refused = self._counter(
            "tamga_token_busy_total", "Threads that got no token session", "error"
        )
        self._waits = Histogram(
            "tamga_token_wait_duration_seconds",
            "Time until a token session was free",
            ["zone"],
            buckets=WAIT_SECONDS,
            registry=registry,
        )
        self._losses = self._counter(
            "tamga_token_logins_lost_total", "Logins that an error ended", "cause"
        )
        self._logins = self._counter(
            "tamga_token_logins_total", "Logins, by what had ended the one before", "after"
        )

    def pool(self, zone: str, stuck: Callable[[], None]) -> "TokenPool":
        """The observer of a zone's token sessions.

        Args:
            zone: which.
            stuck: called whenever a thread was told that a call hangs.
        """
        return TokenPool(
            zone=zone,
            stuck=stuck,
            in_use=self._in_use.labels(zone),
            queue=self._waiting.labels(zone),
            hung=self._hung.labels(zone),
            wait=self._waits.labels(zone),
            busy=self._refused,
            losses=self._losses,
            logins=self._logins,
        )

    def _level(self, name: str, text: str) -> Gauge:
        """A level of which every process has its part."""
        return Gauge(name, text, ["zone"], registry=self._registry, multiprocess_mode="livesum")

    def _counter(self, name: str, text: str, label: str) -> Counter:
        return Counter(name, text, ["zone", label], registry=self._registry)


@dataclass(frozen=True, slots=True)
class TokenPool:
    """`pkcs11_bridge.pool_observer.PoolObserver` of one zone.

    Attributes:
        zone: which.
        stuck: called whenever a thread was told that a call hangs.
        in_use: sessions in use.
        queue: threads that wait.
        hung: sessions whose call does not return.
        wait: seconds until a session was free.
        busy: threads that got none, by zone and error.
        losses: logins lost, by zone and error.
        logins: logins, by zone and what had ended the one before.
    """

    zone: str
    stuck: Callable[[], None]
    in_use: Gauge
    queue: Gauge
    hung: Gauge
    wait: Histogram
    busy: Counter
    losses: Counter
    logins: Counter

    def waiting(self) -> None:
        """See PoolObserver."""
        self.queue.inc()

    def taken(self, seconds: float) -> None:
        """See PoolObserver."""
        self.queue.dec()
        self.in_use.inc()
        self.wait.observe(seconds)

    def refused(self, error: str) -> None:
        """See PoolObserver."""
        self.queue.dec()
        self.busy.labels(self.zone, error).inc()

    def returned(self) -> None:
        """See PoolObserver."""
        self.in_use.dec()

    def given_up(self, left: int) -> None:
        """See PoolObserver."""
        del left
        self.hung.inc()

    def met_hung(self) -> None:
        """See PoolObserver."""
        self.stuck()

    def came_back(self) -> None:
        """See PoolObserver."""
        self.hung.dec()

    def login_lost(self, cause: str) -> None:
        """See PoolObserver."""
        self.losses.labels(self.zone, cause).inc()

    def logged_in(self, lost_before: str) -> None:
        """See PoolObserver."""
        self.logins.labels(self.zone, lost_before or "start").inc()
