"""What `app.schedules` gives: what is called again and again, looked at and changed while it runs.

    app.schedules.add("nightly", "shop.sum_up", crontab(hour=2, minute=30), catch_up="last")
    app.schedules.pause("nightly")
    app.schedules.trigger("nightly")            # now, beside its schedule
    app.schedules.next("nightly", 5)

The plans lie in the broker's store. Whoever schedules (`celeriac beat`) sees a change within a second. Only
the words stand here; what does it is `celeriac.schedules.keeping`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

#: Words of an entry that are no options of apply_async.
OWN_WORDS = ("catch_up", "deadline", "jitter", "start", "end", "max_runs", "overlap", "enabled", "timezone")


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """An entry and how it stands."""

    name: str
    task: str
    #: In one line: `30 2 * * *`, `every 30.00 seconds`.
    schedule: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: Mapping[str, Any]
    #: None: it never comes again, or is paused.
    next: datetime | None
    last: datetime | None
    runs: int
    paused: bool
    #: Declared in code: it can be paused and triggered from outside, but not changed.
    static: bool


class Occurred(msgspec.Struct, frozen=True):
    """What became of an occurrence."""

    #: When it was due, by its schedule.
    at: datetime
    #: When it was sent or dropped.
    done: datetime
    #: sent, triggered (by hand), dropped (missed), overlap (the last one still ran) or failed (see the log).
    what: str
    task_id: str = ""


class Schedules(Protocol):
    """See the head of this file."""

    def add(
        self,
        name: str,
        task: Any,
        schedule: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        replace: bool = False,
        **said: Any,
    ) -> Planned:
        """A new entry; with `replace` also in place of one that is there.

        catch_up ("none", "last", "all"), deadline, jitter (seconds), start, end, max_runs, overlap, enabled,
        timezone, expires, options (of apply_async).
        """

    def update(self, name: str, **changes: Any) -> Planned:
        """Change some of what `add` takes; the next run is counted anew if its schedule is another."""

    def pause(self, name: str) -> Planned:
        """Send it no more, until `resume`. Entries that code declares too."""

    def resume(self, name: str) -> Planned:
        """Go on with the next occurrence; those of the pause are not made up for."""

    def trigger(self, name: str) -> str:
        """Send it now, beside its schedule; returns the task's id."""

    def remove(self, name: str) -> None:
        """Forget it and its history."""

    def list(self) -> list[Planned]:
        """All of them, by name."""

    def get(self, name: str) -> Planned:
        """One of them. KeyError, with the name that may be meant, if there is none."""

    def next(self, name: str, n: int = 5) -> Sequence[datetime]:
        """Its next n occurrences, in its time zone."""

    def history(self, name: str, n: int = 20) -> Sequence[Occurred]:
        """What became of its last occurrences, the newest first."""

    def leader(self) -> str:
        """Which scheduler sends now; empty if none runs."""

    def close(self) -> None:
        """Close its connection; may be called twice. The next use opens it again."""
