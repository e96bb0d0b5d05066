"""The scheduler of a worker (-B). Any number of workers may have one: one of them all sends."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable

from celeriac.app import Celery
from celeriac.beat.service import Beat
from celeriac.worker import originals
from celeriac.worker.companion import Companion

#: Seconds between two looks at the parent.
LOOK = 0.5


class EmbeddedBeat(Companion):
    """The process that schedules."""

    title = "scheduler of this worker"
    process_name = "Beat"
    #: A signal that nobody sends but the parent: the scheduler gives back its lease before it ends.
    ended_by = signal.SIGUSR2

    def __init__(self, app: Celery, hostname: str) -> None:
        super().__init__()
        self._app = app
        self._hostname = hostname

    def live(self, is_orphan: Callable[[], bool]) -> None:
        beat = Beat(self._app, hostname=self._hostname)
        originals.handle(self.ended_by, lambda *_: beat.stop())

        def look() -> None:
            while not is_orphan():
                time.sleep(LOOK)
            beat.stop()

        threading.Thread(target=look, name="celeriac-parent", daemon=True).start()
        beat.start(embedded=True)
        for handler in logging.getLogger().handlers:
            handler.flush()
