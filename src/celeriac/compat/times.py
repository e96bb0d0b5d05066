"""`celery.utils.time`: what other schedulers use of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from celeriac.rates import interval_of

__all__ = [
    "adjust_timestamp",
    "get_exponential_backoff_interval",
    "humanize_seconds",
    "is_naive",
    "localize",
    "make_aware",
    "maybe_iso8601",
    "maybe_make_aware",
    "maybe_timedelta",
    "parse_iso8601",
    "rate",
    "remaining",
    "timezone",
    "to_utc",
    "utcoffset",
    "weekday",
    "yearmonth",
]

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


def to_utc(dt: datetime) -> datetime:
    """The same moment as UTC shows it; one without offset was UTC."""
    return maybe_make_aware(dt, UTC)


def localize(dt: datetime, tz: tzinfo) -> datetime:
    """The same moment as this zone's clock shows it."""
    return dt.astimezone(tz)


def parse_iso8601(datestring: str) -> datetime:
    """A date, or a date and time; ValueError if it is none."""
    return datetime.fromisoformat(datestring)


def maybe_iso8601(dt: str | datetime | None) -> datetime | None:
    """The same; what is no text as it is."""
    return parse_iso8601(dt) if isinstance(dt, str) else dt


def rate(r: Any) -> float:
    """How often in a second: of `10/m`, `2/s`, or a number."""
    interval = interval_of(r)
    return 0 if not interval else 1 / interval


def remaining(start: datetime, ends_in: timedelta, now: Any = None, relative: bool = False) -> timedelta:
    """How long it is until `start` + `ends_in`; negative if that is over."""
    moment = now() if callable(now) else now or datetime.now(start.tzinfo)
    end = start + ends_in
    if relative:
        end = end.replace(hour=0, minute=0, second=0, microsecond=0)
    return end - moment


def get_exponential_backoff_interval(
    factor: int, retries: int, maximum: int, full_jitter: bool = False
) -> int:
    """Seconds before the next try: doubled each time, never over `maximum`."""
    seconds = min(maximum, factor * 2**retries)
    return max(0, random.randrange(seconds + 1) if full_jitter else seconds)


def weekday(name: str) -> int:
    """The number of a day: sunday is 0."""
    return _index("sun mon tue wed thu fri sat", name)


def yearmonth(name: str) -> int:
    """The number of a month: january is 1."""
    return _index("jan feb mar apr may jun jul aug sep oct nov dec", name) + 1


def _index(names: str, name: str) -> int:
    short = name[:3].lower()
    if short not in names.split():
        raise KeyError(name)
    return names.split().index(short)


def utcoffset() -> float:
    """Hours by which this machine's clock is behind UTC now."""
    return -(time.localtime().tm_gmtoff or 0) / 3600


def adjust_timestamp(ts: float, offset: float, here: Callable[[], float] = utcoffset) -> float:
    """The time of an event of a machine with this offset, as this machine's clock would have shown it."""
    return ts - (offset - here()) * 3600


class _Zones:
    """`timezone.utc`, `timezone.get_timezone("Europe/Berlin")`."""

    utc = UTC

    @property
    def local(self) -> tzinfo:
        """The one of this machine."""
        return datetime.now(UTC).astimezone().tzinfo or UTC

    def get_timezone(self, zone: str | tzinfo) -> tzinfo:
        return ZoneInfo(zone) if isinstance(zone, str) else zone

    def tz_or_local(self, tzinfo: str | tzinfo | None = None) -> tzinfo:
        return self.local if tzinfo is None else self.get_timezone(tzinfo)

    def to_local(self, dt: datetime, local: tzinfo | None = None, orig: tzinfo | None = None) -> datetime:
        """The same moment as this machine's clock, or that of `local`, shows it; else of UTC."""
        return maybe_make_aware(dt, orig or UTC).astimezone(local or self.local)

    def to_system(self, dt: datetime) -> datetime:
        return dt.astimezone()


timezone = _Zones()
