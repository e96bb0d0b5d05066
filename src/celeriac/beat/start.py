"""Starts a scheduler as a program: imports the app, says what it is, schedules until told to stop."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec

from celeriac import __version__
from celeriac.app import Celery
from celeriac.beat.service import Beat
from celeriac.worker.banner import show, shown_store
from celeriac.worker.log import WorkerLogging
from celeriac.worker.pidfile import pidfile

logger = logging.getLogger("celery.beat")

_SECONDS = {1.0: "1.00 second"}


class BeatOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheduler was asked to be."""

    hostname: str
    loglevel: str = "WARNING"
    logfile: str | None = None
    no_color: bool = False
    quiet: bool = False
    pidfile: str | None = None
    max_interval: float | None = None
    #: The class of somebody else's scheduler; None is ours.
    scheduler: str | None = None
    schedule_filename: str | None = None


class Service(Protocol):
    """What is started here: ours, or one around somebody else's scheduler."""

    max_interval: float

    def start(self) -> None: ...

    def stop(self) -> None: ...


def run(
    app: Celery,
    options: BeatOptions,
    service: Service | None = None,
    settled: Callable[[], None] = lambda: None,
) -> int:
    """Schedule until told to stop; returns the exit code of the process. `settled` is called when all is
    well."""
    app.import_modules()
    app.finalize()
    service = service or Beat(app, options.max_interval, hostname=options.hostname)
    log = WorkerLogging(
        app.conf,
        options.hostname,
        loglevel=options.loglevel,
        logfile=options.logfile,
        no_color=options.no_color,
    )
    log.start()
    try:
        with pidfile(options.pidfile, "scheduler"), _stopped_by_signals(service):
            if not options.quiet:
                show(block(app, options, service))
            settled()
            service.start()
    finally:
        log.stop()
        app.close()
    return 0


def block(app: Celery, options: BeatOptions, service: Service) -> str:
    """The text at the start."""
    group = app.conf.beat_group or app.main or "celery"
    place = f"{shown_store(app.broker_url)} (group {group})"
    if options.scheduler:
        # Where somebody else's keeps its entries is its own business; some read the file that was named.
        place = options.schedule_filename or "its own"
    rows = {
        "broker": shown_store(app.broker_url),
        "loader": "celeriac.app.Celery",
        "scheduler": options.scheduler or "celeriac.beat.leading.Scheduler",
        "db": place,
        "logfile": f"{options.logfile or '[stderr]'}@%{options.loglevel}",
        "maxinterval": f"{service.max_interval:.2f} seconds ({service.max_interval:g}s)",
    }
    return "\n".join(
        (
            f"celeriac beat v{__version__} is starting.",
            "__    -    ... __   -        _",
            f"LocalTime -> {time.strftime('%Y-%m-%d %H:%M:%S')}",
            "Configuration ->",
            *(f"    . {name} -> {value}" for name, value in rows.items()),
        )
    )


@contextmanager
def _stopped_by_signals(service: Service) -> Iterator[None]:
    def stop(number: int, _: object) -> None:
        service.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
