"""Crontab: at certain readings of the clock on the wall."""

from __future__ import annotations

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any, NamedTuple, Self

from celeriac.schedules.base import BaseSchedule
from celeriac.schedules.fields import ParseException, Spec, numbers, spelt
from celeriac.schedules.zones import moment_of, wall_clock

#: Leap days on a certain weekday may be forty years apart (around 2100).
FARTHEST = 41
MIDNIGHT = (0, 0, 0)


class _Sorted(NamedTuple):
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]


class crontab(BaseSchedule):
    """Whenever all fields match: `crontab(minute=0, hour="*/3", day_of_week="mon-fri")`.

    Day of month and day of week must both match. Sunday is 0. With `second` it may be as quick as a second.
    """

    has_deadline = True

    def __init__(
        self,
        minute: Spec = "*",
        hour: Spec = "*",
        day_of_week: Spec = "*",
        day_of_month: Spec = "*",
        month_of_year: Spec = "*",
        second: Spec = "0",
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        fields = (minute, hour, day_of_week, day_of_month, month_of_year, second)
        minute, hour, day_of_week, day_of_month, month_of_year, second = map(_lasting, fields)
        # What others read to store it, as it was given.
        self._orig_minute = minute
        self._orig_hour = hour
        self._orig_day_of_week = day_of_week
        self._orig_day_of_month = day_of_month
        self._orig_month_of_year = month_of_year
        self._orig_second = second
        self._orig_kwargs = kwargs
        self.second = numbers(second, 60, 0, "second")
        self.minute = numbers(minute, 60, 0, "minute")
        self.hour = numbers(hour, 24, 0, "hour")
        self.day_of_week = numbers(day_of_week, 7, 0, "day_of_week")
        self.day_of_month = numbers(day_of_month, 31, 1, "day_of_month")
        self.month_of_year = numbers(month_of_year, 12, 1, "month_of_year")
        self._must_be_possible()

    @classmethod
    def from_string(cls, text: str, **options: Any) -> Self:
        """From `minute hour day-of-month month day-of-week`; of six fields the first is the second."""
        fields = text.split()
        if len(fields) not in (5, 6):
            raise ParseException(
                f"{text!r} has {len(fields)} fields; a crontab has 5 (minute, hour, day of month, month, "
                "day of week), or 6 with the second before them"
            )
        second = fields.pop(0) if len(fields) == 6 else "0"
        minute, hour, day_of_month, month_of_year, day_of_week = fields
        return cls(
            minute=minute,
            hour=hour,
            day_of_month=day_of_month,
            month_of_year=month_of_year,
            day_of_week=day_of_week,
            second=second,
            **options,
        )

    def next_after(self, moment: float, zone: tzinfo | None = None) -> float | None:
        zone = self.tz if zone is None else zone
        for wall in self._matches(wall_clock(moment, zone)):
            found = moment_of(wall, zone)
            # Not so for what does not exist and was at the jump, and in the second of two equal hours.
            if found > moment:
                return found
        return None

    def _matches(self, wall: datetime) -> Iterator[datetime]:
        """Every matching wall-clock time from this one on."""
        today, earliest = (wall.year, wall.month, wall.day), (wall.hour, wall.minute, wall.second)
        for year in range(wall.year, min(wall.year + FARTHEST, 9999)):
            for month in self._sorted.months:
                if (year, month) < today[:2]:
                    continue
                for day in self._days(year, month, wall.day if (year, month) == today[:2] else 1):
                    for clock in self._times(earliest if (year, month, day) == today else MIDNIGHT):
                        yield datetime(year, month, day, *clock)  # noqa: DTZ001 - a wall has no offset

    def _days(self, year: int, month: int, first: int) -> Iterator[int]:
        weekday, length = monthrange(year, month)
        for day in self._sorted.days:
            # monthrange counts Monday as 0, crontab counts Sunday as 0.
            if first <= day <= length and (weekday + day) % 7 in self.day_of_week:
                yield day

    def _times(self, earliest: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
        hours, minutes, seconds = self._sorted.hours, self._sorted.minutes, self._sorted.seconds
        for hour in hours[bisect_left(hours, earliest[0]) :]:
            for minute in minutes if hour > earliest[0] else minutes[bisect_left(minutes, earliest[1]) :]:
                for second in seconds:
                    if (hour, minute, second) >= earliest:
                        yield hour, minute, second

    @cached_property
    def _sorted(self) -> _Sorted:
        fields = (self.second, self.minute, self.hour, self.day_of_month, self.month_of_year)
        return _Sorted(*(tuple(sorted(field)) for field in fields))

    def _must_be_possible(self) -> None:
        longest = max(29 if month == 2 else monthrange(2001, month)[1] for month in self.month_of_year)
        if min(self.day_of_month) > longest:
            raise ValueError(
                f"this crontab never is: there is no day {min(self.day_of_month)} in the months "
                f"{spelt(self._orig_month_of_year)}"
            )

    def remaining_delta(self, last_run_at: datetime, **_: Any) -> tuple[datetime, timedelta, datetime]:
        """The last run, from it to the next one, and now; all by the clock on the wall."""
        last = self.maybe_make_aware(last_run_at)
        due = self.next_after(last.timestamp())
        wait = timedelta.max if due is None else timedelta(seconds=due - last.timestamp())
        return self.to_local(last), wait, self.to_local(self.maybe_make_aware(self.now()))

    @property
    def text(self) -> str:
        """As from_string() takes it."""
        five = " ".join(
            spelt(field)
            for field in (
                self._orig_minute,
                self._orig_hour,
                self._orig_day_of_month,
                self._orig_month_of_year,
                self._orig_day_of_week,
            )
        )
        return five if self.second == {0} else f"{spelt(self._orig_second)} {five}"

    def identity(self) -> tuple[Any, ...]:
        fields = (
            self.minute,
            self.hour,
            self.day_of_week,
            self.day_of_month,
            self.month_of_year,
            self.second,
        )
        return tuple(map(frozenset, fields))

    def __reduce__(self) -> Any:
        fields = (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_week,
            self._orig_day_of_month,
            self._orig_month_of_year,
        )
        if self.second != {0}:
            fields = (*fields, self._orig_second)  # type: ignore[assignment]
        return type(self), fields, self._orig_kwargs or {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._orig_kwargs = dict(state)

    def __repr__(self) -> str:
        second = "" if self.second == {0} else f"{self._orig_second} "
        return (
            f"<crontab: {second}{self._orig_minute} {self._orig_hour} {self._orig_day_of_month} "
            f"{self._orig_month_of_year} {self._orig_day_of_week} (m/h/dM/MY/d)>"
        )

    def __json__(self) -> dict[str, Any]:
        return {"crontab": self.text}


def _lasting(spec: Spec) -> Spec:
    """What can be read once only is read now: it is looked at again where the crontab is shown or stored."""
    return tuple(spec) if isinstance(spec, Iterator) else spec
