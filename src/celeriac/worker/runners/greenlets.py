"""Rooms that are greenlets; the process was monkey-patched before the app was imported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple, Unpack

import gevent
from gevent import Greenlet, getcurrent

from celeriac.worker.execute import Job
from celeriac.worker.runners.loop import Loop
from celeriac.worker.runners.port import Finished, run

Ts = TypeVarTuple("Ts")


class GreenletRunner:
    """See `Runner`. One greenlet a job."""

    def __init__(self, rooms: int, finished: Finished) -> None:
        self._rooms = rooms
        self._finished = finished
        self._running: dict[Job, Greenlet[..., None]] = {}
        self._loop = Loop(GreenLoop)

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


class GreenLoop(asyncio.SelectorEventLoop):
    """A loop whose greenlet shares its thread with others.

    asyncio tells who calls by the thread. Since Python 3.14 a future that is made good on the loop's own
    thread does not wake the loop, and all greenlets are there: who awaits `run_in_executor` would wait until
    the loop wakes for something else.
    """

    _greenlet: object = None

    def run_forever(self) -> None:
        self._greenlet = getcurrent()
        super().run_forever()

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if getcurrent() is self._greenlet:
            return super().call_soon(callback, *args, context=context)
        return self.call_soon_threadsafe(callback, *args, context=context)
