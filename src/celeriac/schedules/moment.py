"""One moment: a schedule that happens once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

from celeriac.schedules.base import BaseSchedule
from celeriac.schedules.zones import moment_of


class once(BaseSchedule):
    """At this moment and never again; without an offset it is of the entry's or the app's time zone."""

    def __init__(
        self, at: datetime | str, nowfun: Callable[[], datetime] | None = None, app: Any = None
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        try:
            self.at = datetime.fromisoformat(at) if isinstance(at, str) else at
        except ValueError:
            raise ValueError(f"{at!r} is no moment: give it as in 2027-01-31T08:30:00+01:00") from None
        if not isinstance(self.at, datetime):
            raise TypeError(f"once() takes a datetime or its ISO text, not {at!r}")

    def next_after(self, moment: float, zone: tzinfo | None = None) -> float | None:
        at = self.at
        due = at.timestamp() if at.tzinfo is not None else moment_of(at, self.tz if zone is None else zone)
        return due if due > moment else None

    def identity(self) -> tuple[Any, ...]:
        at = self.at
        return (at if at.tzinfo is None else at.astimezone(UTC),)

    def __reduce__(self) -> Any:
        return type(self), (self.at,)

    def __repr__(self) -> str:
        return f"<once: {self.at.isoformat(sep=' ')}>"

    def __json__(self) -> dict[str, Any]:
        return {"once": self.at.isoformat()}
