"""An interval: again and again after so many seconds of elapsed time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from celeriac.schedules.base import BaseSchedule
from celeriac.schedules.zones import moment_of, wall_clock

_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0))


class schedule(BaseSchedule):
    """Every `run_every` (seconds or timedelta). It counts elapsed time: no clock on a wall can stretch it.

    With `relative` it happens on the full day, hour or minute: every hour, on the hour.
    """

    def __init__(
        self,
        run_every: Any = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        if isinstance(run_every, bool) or not isinstance(run_every, int | float | timedelta):
            raise TypeError(f"an interval is given in seconds or as a timedelta, not as {run_every!r}")
        self.run_every = run_every if isinstance(run_every, timedelta) else timedelta(seconds=run_every)
        self.relative = relative

    @property
    def seconds(self) -> float:
        return max(self.run_every.total_seconds(), 0.0)

    @property
    def human_seconds(self) -> str:
        seconds = self.seconds
        for unit, size in _UNITS:
            if seconds >= size:
                return f"{seconds / size:.2f} {unit}{'' if seconds == size else 's'}"
        return f"{seconds:.2f} second{'' if seconds == 1 else 's'}" if seconds >= 1 else "now"

    def next_after(self, moment: float, zone: tzinfo | None = None) -> float:
        # A store counts in milliseconds, and something that happens must take some time.
        every = max(self.seconds, 0.001)
        if not self.relative or every < 60:
            return moment + every
        zone = self.tz if zone is None else zone
        wall = wall_clock(moment, zone)
        if every >= 86400:
            midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
            return moment_of(midnight + self.run_every, zone)
        into = wall.second + wall.microsecond / 1e6 + (wall.minute * 60 if every >= 3600 else 0)
        return moment - into + every

    def latest(self, first: float, now: float, zone: tzinfo | None = None) -> float:
        if self.relative:
            return super().latest(first, now, zone)
        every = max(self.seconds, 0.001)
        return first + (now - first) // every * every

    def identity(self) -> tuple[Any, ...]:
        return self.run_every, self.relative

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int | float | timedelta) and not isinstance(other, bool):
            other = other if isinstance(other, timedelta) else timedelta(seconds=other)
            return self.run_every == other
        return super().__eq__(other)

    __hash__ = BaseSchedule.__hash__

    def __reduce__(self) -> Any:
        return type(self), (self.run_every, self.relative)

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __json__(self) -> dict[str, Any]:
        return {"every": self.run_every.total_seconds(), **({"relative": True} if self.relative else {})}


def maybe_schedule(
    rule: float | timedelta | BaseSchedule | Any, relative: bool = False, app: Any = None
) -> Any:
    """The schedule that is meant: seconds and timedelta become an interval, the rest stays itself."""
    if rule is None:
        return None
    if isinstance(rule, bool):
        raise TypeError(f"{rule!r} is no schedule: give seconds, a timedelta, crontab(...), solar(...)")
    if isinstance(rule, int | float | timedelta):
        return schedule(rule, relative, app=app)
    if isinstance(rule, datetime):
        raise TypeError(f"a moment is no schedule by itself: once({rule.astimezone(UTC)!r}) is one")
    if hasattr(rule, "is_due") or hasattr(rule, "next_after"):
        if app is not None:
            rule.app = app
        return rule
    raise TypeError(
        f"{rule!r} is no schedule: give seconds, a timedelta, crontab(...), solar(...), once(...)"
    )
