"""Instants as whole seconds, the form in which every table keeps them."""

from datetime import UTC, datetime


def to_unix(at: datetime) -> int:
    """Seconds since 1970, rounded down: what expires does so early, never late.

    Raises:
        ValueError: the datetime has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError("a datetime without time zone names no instant")
    return int(at.timestamp() // 1)


def from_unix(seconds: int) -> datetime:
    """The instant as aware UTC."""
    return datetime.fromtimestamp(seconds, tz=UTC)
