"""The scheduler of a worker (-B): a process of its own beside the children, so that the supervisor keeps its
one thread. Any number of workers may have one: one of them all sends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Sequence

from celeriac.app import Celery
from celeriac.beat.service import Beat
from celeriac.worker import originals
from celeriac.worker.log import name_process

#: Seconds between two looks at the parent, and that one may take to end.
LOOK, PATIENCE = 0.5, 2.0
#: Ends it, said by its parent alone.
STOP = signal.SIGUSR2

logger = logging.getLogger("celery.beat")


class EmbeddedBeat:
    """In the parent: the process that schedules."""

    def __init__(self, app: Celery, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._pid = 0

    def start(self, to_close: Sequence[int] = ()) -> None:
        """Fork the process; `to_close` are descriptors that it must not keep."""
        self._pid = originals.fork()
        if self._pid:
            return
        try:
            for descriptor in to_close:
                os.close(descriptor)
            self._live()
        except BaseException:  # the last frame of this process
            traceback.print_exc()
        finally:
            os._exit(0)

    def tend(self, to_close: Sequence[int]) -> None:
        """Start it anew if it has died."""
        if self._pid and originals.wait_for(self._pid)[0]:
            logger.error("The scheduler of this worker (pid %d) has died and is started anew", self._pid)
            self.start(to_close)

    def stop(self) -> None:
        """May be called twice."""
        pid, self._pid = self._pid, 0
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, STOP)
            deadline = time.monotonic() + PATIENCE
            while not originals.wait_for(pid)[0]:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)

    def _live(self) -> None:
        parent = os.getppid()
        beat = Beat(self._app, hostname=self._hostname)
        # What these mean is for the parent to decide, also where a whole group of processes is sent them.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
            originals.handle(number, signal.SIG_IGN)
        originals.handle(STOP, lambda *_: beat.stop())
        signal.set_wakeup_fd(-1)
        name_process("Beat")

        def look() -> None:
            while os.getppid() == parent:
                time.sleep(LOOK)
            beat.stop()

        threading.Thread(target=look, name="celeriac-parent", daemon=True).start()
        beat.start(embedded=True)
        for handler in logging.getLogger().handlers:
            handler.flush()
