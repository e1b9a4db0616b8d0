"""How often one source may ask: token buckets in this process, bounded in number.

The limit is per worker process. It keeps one source from draining the stock of signed
challenges; what many sources together may take is bounded by the stock itself.
"""

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

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


@lru_cache(maxsize=MAX_SOURCES)
def source_of(address: str | None) -> str:
    """Who counts as one source: an IPv4 address, or an IPv6 /64, which one household has."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)  # how a dual-stack listener names an IPv4 client
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class SourceLimiter:
    """Token buckets by source; safe for threads.

    A bucket is one instant: when it will be full again (the generic cell rate algorithm of
    ITU-T I.371). A refused request leaves it as it is.
    """

    def __init__(self, limit: RateLimit, *, max_sources: int = MAX_SOURCES) -> None:
        self._interval = timedelta(minutes=1) / limit.per_minute
        self._capacity = self._interval * limit.burst
        self._max_sources = max_sources
        self._lock = threading.Lock()
        self._full_at: OrderedDict[str, datetime] = OrderedDict()

    @classmethod
    def of(cls, burst: int, per_minute: float) -> "SourceLimiter":
        """The limiter of a limit."""
        return cls(RateLimit(burst=burst, per_minute=per_minute))

    def spend(self, source: str, at: datetime, *, tokens: int = 1) -> None:
        """Take tokens out of the source's bucket, all of them or none.

        Raises:
            TooManyRequests: the bucket does not hold so many.
        """
        with self._lock:
            full_at = max(self._full_at.pop(source, at), at)
            if full_at > at + self._capacity:
                # No bucket takes so long to fill: the clock was set back, and nobody pays for it.
                full_at = at
            spent = full_at + self._interval * tokens
            allowed = spent <= at + self._capacity
            self._full_at[source] = spent if allowed else full_at
            if len(self._full_at) > self._max_sources:
                self._full_at.popitem(last=False)
        if not allowed:
            raise TooManyRequests("the source asked too often")
