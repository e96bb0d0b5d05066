"""`celery.utils.time`: what other schedulers use of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

__all__ = ["humanize_seconds", "is_naive", "make_aware", "maybe_make_aware", "maybe_timedelta"]

_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0))


def maybe_timedelta(delta: Any) -> Any:
    """Seconds as a timedelta; anything else as it is."""
    return timedelta(seconds=delta) if isinstance(delta, int | float) else delta


def is_naive(dt: datetime) -> bool:
    return dt.utcoffset() is None


def make_aware(dt: datetime, tz: tzinfo) -> datetime:
    """The same reading of the clock, in this zone."""
    return dt.replace(tzinfo=tz)


def maybe_make_aware(dt: datetime, tz: tzinfo | None = None, naive_as_utc: bool = True) -> datetime:
    """The same moment with an offset: one without was UTC; with `tz` as that zone's clock shows it."""
    if is_naive(dt):
        dt = dt.replace(tzinfo=UTC if naive_as_utc or tz is None else tz)
        return dt if tz is None else dt.astimezone(tz)
    return dt


def humanize_seconds(
    secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False
) -> str:
    """`1.50 hours`."""
    seconds = float(secs)
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{prefix}{sep}{seconds / size:.2f} {unit}{'' if seconds == size else 's'}"
    if seconds >= 1 or (microseconds and seconds > 0):
        return f"{prefix}{sep}{seconds:.2f} second{'' if seconds == 1 else 's'}"
    return now
