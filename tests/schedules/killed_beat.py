"""A scheduler that kills itself at one place: `python killed_beat.py URL PLACE`, with an entry that is due.

Nothing of celeriac knows of it; the wrapped methods do what they always do until the place is reached.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from celeriac import Celery
from celeriac.beat.leading import Scheduler
from celeriac.beat.service import Beat
from celeriac.drivers.redis.schedules import RedisSchedules
from celeriac.drivers.sqlite.schedules import SqliteSchedules

URL, PLACE = sys.argv[1:]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(kind: type, method: str, when: Callable[..., bool] = lambda *_: True) -> None:
    original = getattr(kind, method)

    def wrapped(self: Any, *arguments: Any) -> Any:
        if when(*arguments):
            die()
        return original(self, *arguments)

    setattr(kind, method, wrapped)


def after(kind: type, method: str, when: Callable[..., bool]) -> None:
    original = getattr(kind, method)

    def wrapped(self: Any, *arguments: Any) -> Any:
        answer = original(self, *arguments)
        if when(*arguments):
            die()
        return answer

    setattr(kind, method, wrapped)


def sends(changes: Any, *_: Any) -> bool:
    return any(change.messages for change in changes)


match PLACE:
    case "looked":
        before(Scheduler, "_send")
    case "judged":
        before(RedisSchedules, "write", sends)
        before(SqliteSchedules, "write", sends)
    case "written":
        after(RedisSchedules, "write", sends)
        after(SqliteSchedules, "write", sends)
    case "said":
        after(Scheduler, "_say", lambda *_: True)
    case "merged":
        after(Scheduler, "_merge", lambda *_: True)

app = Celery("killed", broker=URL)
app.conf.beat_lease = 1.0
app.conf.beat_schedule = {"static": {"task": "static", "schedule": 3600.0}} if PLACE == "merged" else {}
Beat(app, name="killed").start()
