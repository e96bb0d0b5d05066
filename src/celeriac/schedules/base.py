"""What a schedule is: a rule that names the next moment after any other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any, NamedTuple

from celeriac.current import get_current_app


class schedstate(NamedTuple):
    """Whether it is time, and in how many seconds to ask again."""

    is_due: bool
    next: float


class BaseSchedule:
    """The base of every schedule, and of your own.

    Give it `next_after`: with that alone it is exact, and `celeriac schedule next` shows what comes.

        class on_the_hour(BaseSchedule):
            def next_after(self, moment, zone=None):
                return (moment // 3600 + 1) * 3600

    Celery's way works too: override `is_due(last_run_at)`, and it is asked at the moments that it names.
    """

    def __init__(self, nowfun: Callable[[], datetime] | None = None, app: Any = None) -> None:
        self.nowfun = nowfun
        self._app = app

    def next_after(self, moment: float, zone: tzinfo | None = None) -> float | None:
        """The first moment after this one (epoch seconds), None if there is none; `zone` is whose wall
        clock counts, by itself the app's."""
        raise NotImplementedError(f"{type(self).__name__} has no next_after(moment, zone)")

    def latest(self, first: float, now: float, zone: tzinfo | None = None) -> float:
        """Of the occurrence `first` and those that follow it, the last one that is not after `now`."""
        # By halves and not one by one: a schedule of every second may have been asleep for a year.
        low, high = first, now
        while high - low > 0.0005:
            middle = (low + high) / 2
            following = self.next_after(middle, zone)
            if following is not None and following <= now:
                low = following
            else:
                high = middle
        following = self.next_after(low, zone)
        return following if following is not None and following <= now else low

    # --- what Celery asks ---------------------------------------------------------------------------------

    @property
    def app(self) -> Any:
        return self._app if self._app is not None else get_current_app()

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @cached_property
    def tz(self) -> tzinfo:
        zone: tzinfo = self.app.timezone
        return zone

    @property
    def utc_enabled(self) -> bool:
        return bool(self.app.conf.enable_utc)

    def now(self) -> datetime:
        now: datetime = (self.nowfun or self.app.now)()
        return now

    def maybe_make_aware(self, moment: datetime, naive_as_utc: bool = True) -> datetime:
        """The same moment in the app's time zone; without an offset it was UTC, or else of that zone."""
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC if naive_as_utc else self.tz)
        return moment.astimezone(self.tz)

    def to_local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.tz)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta | None:
        """From now until the run after the last one; negative if it is overdue, None if there is none."""
        due = self.next_after(_epoch(last_run_at))
        return None if due is None else timedelta(seconds=due - _epoch(self.now()))

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether it is time to run again, and the seconds until the next look."""
        rest = self.remaining_estimate(last_run_at)
        if rest is None:
            return schedstate(False, float("inf"))
        if rest.total_seconds() > 0:
            return schedstate(False, rest.total_seconds())
        following = self.remaining_estimate(self.now())
        wait = float("inf") if following is None else max(0.0, following.total_seconds())
        now = _epoch(self.now())
        due = now + rest.total_seconds()
        deadline = self.app.conf.beat_cron_starting_deadline if self.has_deadline else None
        if deadline is not None and now - self.latest(due, now) > deadline:
            return schedstate(False, wait)
        return schedstate(True, wait)

    #: Whether `beat_cron_starting_deadline` holds for it.
    has_deadline = False

    def identity(self) -> tuple[Any, ...]:
        """What makes two of them the same."""
        return (id(self),)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BaseSchedule):
            return type(self) is type(other) and self.identity() == other.identity()
        return NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.identity()))


def _epoch(moment: datetime) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
