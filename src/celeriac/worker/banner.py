"""What a worker says about itself: the banner at its start, and the lines that operators wait for."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote, urlsplit

import msgspec

#: Scripts wait for these lines; they are Celery's, to the letter.
READY = "%s ready."
CONNECTED = "Connected to %s"
WARM_SHUTDOWN = "worker: Warm shutdown (MainProcess)"
COLD_SHUTDOWN = "worker: Cold shutdown (MainProcess)"
SOFT_SHUTDOWN = "worker: Soft shutdown (MainProcess): what runs gets %g s, then it goes back"
PRESS_AGAIN_FOR_COLD = (
    "worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!"
)
RESTARTING = "Restarting celery worker (%s)"
CANNOT_CONNECT = "consumer: Cannot connect to %s: %s."
RESTORING = "Restoring %d unacknowledged message(s)"
PROCESS_EXITED = "Process %r pid:%s exited with %r"

#: A root with its leaves; seven lines for the seven lines of [config], 15 columns wide.
_ART = (
    r"   \  | |  /   ",
    r"    \ | | /    ",
    r"   .-'---'-.   ",
    r"  /  o   .  \  ",
    r" (  .  o    .) ",
    r"  \   .   o /  ",
    r"   `-.___.-'   ",
    r"     '/|\'     ",
)
_MARGIN = " " * 15


class Station(msgspec.Struct, frozen=True, kw_only=True):
    """All that the banner tells of a worker."""

    nodename: str
    version: str
    app_name: str
    #: An id of the app object, as in `proj:0x7f...`; 0 leaves it out.
    app_id: int = 0
    transport: str
    #: None: results are off.
    results: str | None
    #: Rooms in all, and the pool that has them.
    concurrency: int
    #: The most and the fewest of them, where they change by need.
    autoscale: tuple[int, int] | None = None
    pool: str
    task_events: bool = False
    acks_late: bool = True
    #: Deliveries after which a message that kills its workers is a dead letter.
    max_deliveries: int = 3
    queues: tuple[str, ...] = ("celery",)
    #: Local time, YYYY-MM-DD HH:MM:SS.
    started: str = ""


def banner(station: Station, tasks: Iterable[str] | None = None) -> str:
    """The text at the start; with `tasks` (at INFO and below) their list is part of it."""
    lines = [
        f" -------------- {station.nodename} v{station.version} (celeriac)",
        f"{_MARGIN} {platform.platform()} {station.started}".rstrip(),
        *_beside_the_art(_config(station)),
        " -------------- [queues]",
        *_queues(station.queues),
        "",
    ]
    if tasks is not None:
        lines += ["", "[tasks]", *_tasks(tasks)]
    return "\n" + "\n".join(lines) + "\n"


def show(text: str) -> None:
    """Print it, past a redirected standard output; signs that the terminal's encoding lacks as escapes."""
    stream = sys.__stdout__
    if stream is not None:
        print(
            text.encode(stream.encoding, "backslashreplace").decode(stream.encoding), file=stream, flush=True
        )


def say(text: str, stream: TextIO | None = None) -> None:
    """A line straight to the terminal, past the log; safe in a handler of an OS signal."""
    stream = stream or sys.__stdout__
    if stream is None:
        return
    try:
        os.write(stream.fileno(), f"\n{text}\n".encode())
    except (OSError, ValueError):
        return  # nobody reads any more: no reason to stop stopping


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    url = re.sub(r"(://[^:/@]*):[^;]*@", r"\1:**@", url)
    return re.sub(r"(password=)[^&;]*", r"\1**", url)


def shown_store(url: str) -> str:
    """The URL without its password; of an SQLite file the full path, for one must find it."""
    scheme, _, rest = url.partition("://")
    if scheme == "rediss":
        # Which files TLS uses is said in the settings, and makes a long line.
        return without_password(re.sub(r"ssl_\w+=[^&]*&?", "", url).rstrip("?&"))
    if scheme != "sqlite" or not rest.strip("/"):
        return without_password(url)
    path = unquote(urlsplit(url).path).removeprefix("/")
    return f"sqlite:///{Path(path).absolute()}"


def _config(station: Station) -> list[str]:
    app = f"{station.app_name}:{station.app_id:#x}" if station.app_id else station.app_name
    return [
        "[config]",
        f".> app:         {app}",
        f".> transport:   {shown_store(station.transport)}",
        f".> results:     {'disabled://' if station.results is None else shown_store(station.results)}",
        f".> concurrency: {_concurrency(station)} ({station.pool})",
        f".> task events: {_events(station.task_events)}",
        f".> delivery:    {_delivery(station)}",
    ]


def _concurrency(station: Station) -> str:
    if station.autoscale is None:
        return str(station.concurrency)
    most, least = station.autoscale
    return f"{{min={least}, max={most}}}"


def _events(on: bool) -> str:
    return "ON" if on else "OFF (enable -E to monitor tasks in this worker)"


def _delivery(station: Station) -> str:
    if not station.acks_late:
        return "at most once (task_acks_late=False: never runs again when its process dies)"
    times = station.max_deliveries
    return f"at least once (task_acks_late: runs again when its process dies, {times} times at most)"


def _beside_the_art(config: list[str]) -> list[str]:
    padded = config + [""] * (len(_ART) - len(config))
    return [f"{art} {line}".rstrip() for art, line in zip(_ART, padded, strict=True)]


def _queues(queues: Collection[str]) -> list[str]:
    return [f"{_MARGIN} .> {name:<16} exchange={name}(direct) key={name}" for name in queues]


def _tasks(tasks: Iterable[str]) -> list[str]:
    # The library's own tasks are no news to anybody.
    return [f"  . {name}" for name in sorted(tasks) if not name.startswith("celery.")]
