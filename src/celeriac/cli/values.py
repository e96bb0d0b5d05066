"""The kinds of value that options take, each refusing a bad one with a sentence that names the cure."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

import click

from celeriac.queues import check_queue_name

#: Celery's names and ours for the five pools.
POOLS = {
    "prefork": "prefork",
    "processes": "prefork",
    "threads": "threads",
    "thread": "threads",
    "gevent": "gevent",
    "asyncio": "asyncio",
    "solo": "solo",
}
_TAKE = "take prefork, threads, gevent, asyncio or solo."
_POOL_CURES = {
    "eventlet": "eventlet is not offered, its time is over: use -P gevent (or -P asyncio).",
    "custom": f"pools of your own are not offered: {_TAKE}",
}
_ISO = "ISO 8601, as in 2026-01-31T08:30:00+00:00"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")


def pool_name(text: str) -> str:
    """One of our five, by any of its names."""
    word = text.lower()
    if word not in POOLS:
        raise click.BadParameter(_POOL_CURES.get(word) or f"{text!r} is no pool: {_TAKE}")
    return POOLS[word]


def concurrency(text: str) -> int | None:
    """A number from 1; `auto` is the same as leaving the option out."""
    if text.lower() == "auto":
        return None
    try:
        number = int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no whole number.") from None
    if number < 1:
        cores = len(os.sched_getaffinity(0))
        raise click.BadParameter(
            f"a worker with room for {number} tasks can do nothing: give 1 or more, or leave it out to fit "
            f"the {cores} cores of this machine."
        )
    return number


def autoscale(text: str) -> tuple[int, int]:
    """`max` or `max,min`."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 2 or min(numbers) < 0 or max(numbers) < 1:
        raise click.BadParameter(f"{text!r} is not of the form max or max,min, as in 10,2.")
    return max(numbers), min(numbers) if len(numbers) == 2 else 0


def address(text: str) -> str:
    """`port` or `host:port`; without a host on all addresses, as a container's probes need it."""
    host, colon, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or (colon and not host):
        raise click.BadParameter(
            f"{text!r} is not of the form port or host:port, as in 8080 or 127.0.0.1:8080."
        )
    return f"{host or '0.0.0.0'}:{port}"  # noqa: S104 - a container's probes come from outside


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them, each once, in the order given."""
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not found:
        raise click.BadParameter("no name is given: names stand with commas between them, as in high,low.")
    return found


def queue_name(text: str) -> str:
    """A name that a queue can have."""
    try:
        return check_queue_name(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def json_array(text: str) -> Any:
    """A task's positional arguments."""
    return _json(text, list, "array")


def json_object(text: str) -> Any:
    """A task's keyword arguments."""
    return _json(text, dict, "object")


def moment(text: str) -> datetime:
    """A date and time in ISO 8601."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time: give {_ISO}.") from None


def moment_or_seconds(text: str) -> datetime | float:
    """The same, or seconds from now."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time: give seconds or {_ISO}.") from None


def level(text: str) -> str:
    """A log level, in capitals or not."""
    if text.upper() not in LEVELS:
        raise click.BadParameter(f"{text!r} is not one of {', '.join(LEVELS)}.")
    return text.upper()


def _json(text: str, expected: type, name: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no JSON ({error}).") from None
    if not isinstance(found, expected):
        raise click.BadParameter(f"{text!r} is JSON, but no {name}.")
    return found
