"""Times in tests: text to ms since 1970 UTC and back."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ms(text: str) -> int:
    """`2026-01-15` or `2026-01-15T10:00:00Z` in ms since 1970 UTC."""
    time = datetime.fromisoformat(text)
    return in_ms(time.replace(tzinfo=time.tzinfo or UTC))


def at(time_ms: int) -> datetime:
    """A time in ms as a datetime."""
    return _EPOCH + timedelta(milliseconds=time_ms)


def in_ms(time: datetime) -> int:
    """A datetime in ms since 1970 UTC."""
    return (time - _EPOCH) // timedelta(milliseconds=1)
