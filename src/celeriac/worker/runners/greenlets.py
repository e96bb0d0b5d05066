"""Rooms that are greenlets; the process was monkey-patched before the app was imported."""

from __future__ import annotations

import gevent
from gevent import Greenlet

from celeriac.worker.execute import Job
from celeriac.worker.runners.loop import Loop
from celeriac.worker.runners.port import Finished, run


class GreenletRunner:
    """See `Runner`. One greenlet a job."""

    def __init__(self, rooms: int, finished: Finished) -> None:
        self._rooms = rooms
        self._finished = finished
        self._running: dict[Job, Greenlet[..., None]] = {}
        self._loop = Loop()

    def start(self) -> None:
        pass

    def free(self) -> int:
        return self._rooms - len(self._running)

    def submit(self, job: Job) -> None:
        self._running[job] = gevent.spawn(self._live, job)

    def interrupt(self, job: Job, error: type[BaseException]) -> None:
        if job.is_async:
            self._loop.interrupt(job, error)
        else:
            gevent.get_hub().loop.run_callback(self._throw, job, error)

    def stop(self) -> None:
        self._loop.stop()

    def _throw(self, job: Job, error: type[BaseException]) -> None:
        # In the hub, where the greenlet waits: while the job runs, that is in the task's own code.
        greenlet = self._running.get(job)
        if greenlet is not None and job.running:
            greenlet.throw(error)

    def _live(self, job: Job) -> None:
        outcome = self._loop.run(job) if job.is_async else run(job)
        del self._running[job]
        self._finished(job, outcome)
