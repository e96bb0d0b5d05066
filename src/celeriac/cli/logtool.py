"""`celeriac logtool`: what the log files of workers say about tasks."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

import click
import msgspec

from celeriac.cli.table import json_option, show

#: `[2026-01-31 08:30:00,123: INFO/MainProcess] Task shop.pay[9e1f...] received`
_HEAD = re.compile(
    r"^\[(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+): (?P<level>[A-Z]+)/(?P<process>[^]]+)\] (?P<text>.*)"
)
_TASK = re.compile(r"^(?:Discarding revoked task: |Task )(?P<name>[^\[\s]+)\[(?P<id>[^\]]+)\](?P<what>.*)")
_RUNTIME = re.compile(r"succeeded in ([\d.e-]+)s")


class Entry(msgspec.Struct):
    """One record of a log, with the lines that follow it."""

    time: str
    level: str
    text: str
    more: list[str]

    @property
    def whole(self) -> str:
        return "\n".join([f"[{self.time}: {self.level}] {self.text}", *self.more])


class Tale(msgspec.Struct):
    """What is told of the tasks of one name."""

    task: str
    received: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    revoked: int = 0
    seconds: float = 0.0


files = click.argument("logs", nargs=-1, type=click.File(errors="replace"), metavar="[FILE]...")


@click.group()
def logtool() -> None:
    """What the log files of workers say about tasks; without files the standard input is read.

    They must have been written at INFO, in the form text or json.
    """


@logtool.command(short_help="How often each task ended in which way.")
@files
@json_option
def stats(logs: tuple[TextIO, ...], as_json: bool) -> None:
    """How often each task was received, succeeded, failed and was retried, and how long it took."""
    tales: dict[str, Tale] = {}
    for entry in entries(logs):
        event = event_of(entry)
        if event is None:
            continue
        name, _, what = event
        tale = tales.setdefault(name, Tale(name))
        setattr(tale, what, getattr(tale, what) + 1)
        runtime = _RUNTIME.search(entry.text)
        if runtime:
            tale.seconds += float(runtime[1])
    rows = [
        msgspec.structs.asdict(tale) | {"seconds": round(tale.seconds, 3), "mean": _mean(tale)}
        for tale in sorted(tales.values(), key=lambda tale: -tale.received)
    ]
    columns = ("task", "received", "succeeded", "failed", "retried", "revoked", "seconds", "mean")
    show(columns, rows, as_json=as_json, nothing="No task is told of.")


@logtool.command()
@files
def traces(logs: tuple[TextIO, ...]) -> None:
    """The tracebacks."""
    for entry in entries(logs):
        if any(line.startswith("Traceback (most recent call last)") for line in entry.more):
            click.echo(entry.whole)


@logtool.command()
@files
def errors(logs: tuple[TextIO, ...]) -> None:
    """All that was logged as an error."""
    for entry in entries(logs):
        if entry.level in ("ERROR", "CRITICAL"):
            click.echo(entry.whole)


@logtool.command()
@files
@json_option
def incomplete(logs: tuple[TextIO, ...], as_json: bool) -> None:
    """Tasks that were received and of whose end nothing is told."""
    begun: dict[str, dict[str, object]] = {}
    for entry in entries(logs):
        event = event_of(entry)
        if event is None:
            continue
        name, task_id, what = event
        if what == "received":
            begun[task_id] = {"id": task_id, "task": name, "received": entry.time}
        else:
            begun.pop(task_id, None)
    show(("id", "task", "received"), list(begun.values()), as_json=as_json, nothing="All have ended.")


@logtool.command(short_help="Lines that belong to no record.")
@files
def debug(logs: tuple[TextIO, ...]) -> None:
    """Lines that belong to no record: printed by something that does not log."""
    for log in logs or (sys.stdin,):
        traceback = False
        for line in log:
            if line.startswith("Traceback (most recent call last)"):
                traceback = True
            elif traceback:
                traceback = line.startswith(" ")
            elif not _HEAD.match(line) and not line.startswith("{"):
                click.echo(line.rstrip("\n"))


def entries(logs: Iterable[TextIO]) -> Iterator[Entry]:
    """The records of all files, one after the other."""
    for log in logs or (sys.stdin,):
        entry: Entry | None = None
        for line in log:
            found = _begun(line.rstrip("\n"))
            if found is None:
                if entry is not None:
                    entry.more.append(line.rstrip("\n"))
                continue
            if entry is not None:
                yield entry
            entry = found
        if entry is not None:
            yield entry


def event_of(entry: Entry) -> tuple[str, str, str] | None:
    """(task, id, what happened) if the record tells of a step in a task's life."""
    found = _TASK.match(entry.text)
    if not found:
        return None
    what = found["what"]
    if entry.text.startswith("Discarding"):
        step = "revoked"
    elif what.startswith(" received"):
        step = "received"
    elif what.startswith(" succeeded in"):
        step = "succeeded"
    elif what.startswith(" retry"):
        step = "retried"
    elif what.startswith((" raised", " INTERNAL ERROR", " handler raised")):
        step = "failed"
    else:
        return None
    return found["name"], found["id"], step


def _begun(line: str) -> Entry | None:
    """The record that begins with this line."""
    if line.startswith("{"):
        try:
            said = json.loads(line)
            return Entry(
                str(said["time"]),
                said["level"],
                said["message"],
                str(said.get("exception") or "").splitlines(),
            )
        except (ValueError, KeyError, TypeError):
            return None
    found = _HEAD.match(line)
    return Entry(found["time"], found["level"], found["text"], []) if found else None


def _mean(tale: Tale) -> float | None:
    return round(tale.seconds / tale.succeeded, 3) if tale.succeeded else None
