"""The one place that reads the clock; everything else is told the time."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present, aware UTC."""
    return datetime.now(UTC)
