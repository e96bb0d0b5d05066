"""Time as a value: now, the moments that users give, and their ISO text on the wire.

Where time matters the clock comes in as an argument (`Clock`), so that a test can hold it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

#: Gives epoch seconds.
Clock = Callable[[], float]

#: Epoch seconds.
now: Clock = time.time


def zone_named(name: str) -> tzinfo:
    """The time zone of that name. ValueError, OSError or KeyError if there is none."""
    # Only here: with its search for the files of all zones it takes a quarter of a MiB.
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def utc_now() -> datetime:
    return datetime.now(UTC)


def to_datetime(moment: float | timedelta | datetime | str, now: float | None = None) -> datetime:
    """The moment that a user means: seconds or a timedelta from now, a datetime, or an ISO text.

    This is the one reading of countdown, eta and expires. A datetime or text without an offset is UTC.
    """
    if isinstance(moment, datetime):
        return aware(moment)
    if isinstance(moment, str):
        try:
            return aware(datetime.fromisoformat(moment))
        except ValueError:
            raise ValueError(
                f"{moment!r} is no time: give seconds from now as a number, a timedelta, a datetime, or a "
                "text in ISO 8601 such as 2026-01-31T08:30:00+00:00"
            ) from None
    if isinstance(moment, bool) or not isinstance(moment, int | float | timedelta):
        raise TypeError(
            f"a time is given as seconds, timedelta, datetime or ISO text, not {type(moment).__name__}"
        )
    start = utc_now() if now is None else datetime.fromtimestamp(now, UTC)
    try:
        return start + (moment if isinstance(moment, timedelta) else timedelta(seconds=moment))
    except (OverflowError, ValueError):
        raise ValueError(f"{moment} from now is no date that a calendar has") from None


def aware(moment: datetime) -> datetime:
    """The same moment with an offset; without one it was UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def to_epoch(text: str) -> float:
    """Epoch seconds of an ISO text (`eta` and `expires` of a message). ValueError if it is none."""
    moment = datetime.fromisoformat(text)
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()


def to_iso(moment: datetime) -> str:
    """Its text on the wire, always with an offset."""
    return aware(moment).isoformat()
