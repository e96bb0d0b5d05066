"""A camera that runs as a service: its log, its pidfile, in the background if asked for."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import msgspec

from celeriac.app import Celery
from celeriac.events.snapshot import camera_named, evcam
from celeriac.rates import interval_of
from celeriac.worker.log import WorkerLogging
from celeriac.worker.pidfile import pidfile

logger = logging.getLogger("celery.evcam")


class CameraOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a camera was asked to be."""

    #: The class, as module.Class.
    camera: str
    frequency: float
    maxrate: str | None
    loglevel: str
    logfile: str | None
    pidfile: str | None
    no_color: bool


def run(app: Celery, options: CameraOptions, settled: Callable[[], None]) -> None:
    """Take pictures until told to stop; `settled` is called when all is well."""
    app.import_modules()
    kind = camera_named(options.camera)
    interval_of(options.maxrate)  # what is wrong is told while somebody can read it
    log = WorkerLogging(
        app.conf, "camera", loglevel=options.loglevel, logfile=options.logfile, no_color=options.no_color
    )
    log.start()
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        with pidfile(options.pidfile, "camera"):
            logger.info("%s takes a picture every %g s", options.camera, options.frequency)
            settled()
            evcam(kind, freq=options.frequency, maxrate=options.maxrate, app=app)
    finally:
        signal.signal(signal.SIGTERM, before)
        log.stop()


def _leave(number: int, _frame: object) -> NoReturn:
    sys.exit(0)
