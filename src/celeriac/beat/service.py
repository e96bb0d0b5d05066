"""The life of a scheduler in its process or thread: starts, ticks, tries again, stops."""

from __future__ import annotations

import logging
import socket
import time
from contextlib import suppress
from os import getpid
from queue import Empty, SimpleQueue

from celeriac import signals
from celeriac.app import Celery
from celeriac.beat.answering import Answering
from celeriac.beat.leading import LOOK, Scheduler
from celeriac.exceptions import OperationalError
from celeriac.schedules.keeping import check_overlap, declared_entries

#: Seconds until the next try while the store is away.
PAUSE = 1.0
#: No tick for so many leases is a stuck scheduler, where no setting says otherwise.
STALE = 3.0

STARTING = "beat: Starting..."
SHUTTING_DOWN = "beat: Shutting down..."
AWAY = "beat: Connection error: %s. Trying again in %s seconds..."

logger = logging.getLogger("celery.beat")


class Beat:
    """`start()` schedules until `stop()` is called, from any thread or from a signal handler."""

    def __init__(
        self,
        app: Celery,
        max_interval: float | None = None,
        name: str | None = None,
        hostname: str | None = None,
    ) -> None:
        self.app = app
        self.hostname = hostname or f"celerybeat@{socket.gethostname()}"
        asked = max_interval or app.conf.seconds("beat_max_loop_interval") or LOOK
        #: Longer than this it never sleeps; a change must be seen within a second.
        self.max_interval = min(asked, LOOK)
        self._name = name
        #: The one primitive whose `put` a signal handler may call at any moment.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._stopped = False
        #: Monotonic seconds of the last tick that was done.
        self.ticked = time.monotonic()

    def start(self, embedded: bool = False) -> None:
        logger.info(STARTING)
        logger.debug("beat: Ticking with max interval->%g seconds", self.max_interval)
        for entry in declared_entries(self.app).values():  # what is wrong in it is said before anything runs
            if not entry.overlap:
                check_overlap(self.app, entry)
        signals.beat_init.send(self)
        if embedded:
            signals.beat_embedded_init.send(self)
        store = None
        scheduler = None
        answering = None
        if self.app.conf.beat_enable_remote_control:
            answering = Answering(self.app, self.hostname, self.is_stale)
            answering.start()
        try:
            while not self._stopped:
                try:
                    if scheduler is None:
                        store = self.app.open_schedules()
                        scheduler = Scheduler(
                            self.app,
                            store,
                            self._name or f"{socket.gethostname()}:{getpid()}",
                            self.app.conf.seconds("beat_lease") or 10.0,
                            look=self.max_interval,
                        )
                    pause = scheduler.tick()
                    self.ticked = time.monotonic()
                except OperationalError as error:
                    logger.error(AWAY, error, PAUSE)
                    pause = PAUSE
                self._sleep(pause)
        finally:
            logger.info(SHUTTING_DOWN)
            if answering is not None:
                answering.stop()
            if scheduler is not None and store is not None:
                with suppress(OperationalError):
                    scheduler.resign()
                store.close()

    def stop(self) -> None:
        """May be called twice."""
        self._stopped = True
        self._bell.put(None)

    def is_stale(self) -> bool:
        """Whether it has not ticked for so long that something holds it up."""
        limit = self.app.conf.seconds("beat_remote_control_max_tick_age")
        lease = self.app.conf.seconds("beat_lease") or 10.0
        return time.monotonic() - self.ticked > (limit or STALE * lease)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and not self._stopped:
            with suppress(Empty):
                self._bell.get(timeout=seconds)
