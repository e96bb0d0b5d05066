"""Prints every event as a line."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TextIO

from celeriac.conversation import Speaker
from celeriac.events.event import Fields
from celeriac.events.receiver import EventReceiver

#: Events by the words that a person reads.
WORDS = {"worker-offline": "shutdown", "worker-online": "started", "worker-heartbeat": "heartbeat"}
#: Tasks whose names are remembered for their later events; after so many it begins anew.
MEMORY = 10_000


class Dumper:
    """Remembers the names of tasks, which only their first events tell."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self._tasks: dict[str, str] = {}

    def say(self, line: str) -> None:
        """Write a line, at once."""
        print(line, file=self.out, flush=True)

    def on_event(self, event: Fields) -> None:
        """Print one event."""
        rest = dict(event)
        when = datetime.fromtimestamp(rest.pop("timestamp"), UTC).astimezone()
        kind, hostname = rest.pop("type"), rest.pop("hostname", "")
        if kind.startswith("task-"):
            uuid = rest.pop("uuid", "")
            if len(self._tasks) > MEMORY:
                self._tasks.clear()
            if kind in ("task-received", "task-sent"):
                name, args, kwargs = (rest.pop(key, "") for key in ("name", "args", "kwargs"))
                self._tasks[uuid] = f"{name}({uuid}) args={args} kwargs={kwargs}"
            said = f"{self._tasks.get(uuid, uuid)} {as_words(rest)}"
        else:
            said = as_words(rest)
        self.say(f"{hostname} [{when}] {humanize(kind)}: {said}".rstrip())


def humanize(kind: str) -> str:
    """A type as words.

    >>> humanize("worker-online"), humanize("task-sent")
    ('started', 'task sent')
    """
    return WORDS.get(kind.lower(), kind.lower().replace("-", " "))


def as_words(fields: Fields) -> str:
    """Fields as `name=value`."""
    return ", ".join(f"{name}={fields[name]}" for name in sorted(fields))


def evdump(app: Speaker, out: TextIO = sys.stdout) -> None:
    """Print all events, for ever."""
    dumper = Dumper(out)
    EventReceiver(handlers={"*": dumper.on_event}, app=app).capture()
