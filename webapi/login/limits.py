"""How often one source may ask: token buckets in this process, bounded in number.

The limit is per worker process. It keeps one source from draining the stock of signed
challenges; what many sources together may take is bounded by the stock itself.
"""

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

MAX_SOURCES = 10_000
"""Buckets kept; the least recently used one makes room."""


class TooManyRequests(Exception):
    """The source has used up what it may ask for now."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `burst` at once and `per_minute` in the long run."""

    burst: int
    per_minute: float

    def __post_init__(self) -> None:
        if self.burst < 1 or self.per_minute <= 0:
            raise ValueError("a rate limit that allows nothing is a mistake")


def source_of(address: str | None) -> str:
    """Who counts as one source: an IPv4 address, or an IPv6 /64, which one household has."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class SourceLimiter:
    """Token buckets by source; safe for threads."""

    def __init__(self, limit: RateLimit, *, max_sources: int = MAX_SOURCES) -> None:
        self._limit = limit
        self._max_sources = max_sources
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def spend(self, source: str, at: datetime) -> None:
        """Take one token out of the source's bucket.

        Raises:
            TooManyRequests: the bucket is empty.
        """
        with self._lock:
            tokens, since = self._buckets.pop(source, (float(self._limit.burst), at))
            # A clock set back must not take tokens away.
            minutes = max(0.0, (at - since).total_seconds()) / 60
            tokens = min(float(self._limit.burst), tokens + minutes * self._limit.per_minute)
            allowed = tokens >= 1
            self._buckets[source] = (tokens - 1 if allowed else tokens, at)
            if len(self._buckets) > self._max_sources:
                self._buckets.popitem(last=False)
        if not allowed:
            raise TooManyRequests("the source asked too often")
