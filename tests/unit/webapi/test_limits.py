"""Token buckets by source: refused when empty, refilled by time, bounded in number."""

from datetime import UTC, datetime, timedelta

import pytest

from webapi.limits import RateLimit, SourceLimiter, TooManyRequests, source_of

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
A = "192.0.2.1"


@pytest.mark.parametrize(("burst", "per_minute"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_a_limit_that_allows_nothing_is_refused(burst: int, per_minute: float) -> None:
    with pytest.raises(ValueError, match="allows nothing"):
        RateLimit(burst, per_minute)


def test_the_burst_then_nothing_then_one_per_interval() -> None:
    limiter = SourceLimiter(RateLimit(2, 6))
    limiter.spend(A, NOW)
    limiter.spend(A, NOW)
    with pytest.raises(TooManyRequests):
        limiter.spend(A, NOW + timedelta(seconds=9))
    limiter.spend(A, NOW + timedelta(seconds=10))
    with pytest.raises(TooManyRequests):
        limiter.spend(A, NOW + timedelta(seconds=11))


def test_refused_requests_do_not_postpone_the_next_allowed_one() -> None:
    limiter = SourceLimiter(RateLimit(1, 1))
    limiter.spend(A, NOW)
    for second in range(1, 60):
        with pytest.raises(TooManyRequests):
            limiter.spend(A, NOW + timedelta(seconds=second))
    limiter.spend(A, NOW + timedelta(seconds=61))


def test_sources_do_not_pay_for_each_other() -> None:
    limiter = SourceLimiter(RateLimit(1, 1))
    limiter.spend(A, NOW)
    limiter.spend("192.0.2.2", NOW)


def test_nobody_pays_for_a_clock_that_was_set_back() -> None:
    limiter = SourceLimiter(RateLimit(2, 1))
    limiter.spend(A, NOW)
    earlier = NOW - timedelta(hours=1)
    limiter.spend(A, earlier)
    limiter.spend(A, earlier)
    with pytest.raises(TooManyRequests):
        limiter.spend(A, earlier)


def test_the_number_of_sources_is_bounded() -> None:
    limiter = SourceLimiter(RateLimit(1, 1), max_sources=3)
    for number in range(10):
        limiter.spend(f"192.0.2.{number}", NOW)
    assert len(limiter._full_at) == 3


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        (None, "unknown"),
        ("unix:", "unknown"),
    ],
)
def test_what_counts_as_one_source(address: str | None, source: str) -> None:
    assert source_of(address) == source
