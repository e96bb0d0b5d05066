"""Rooms that are coroutines on one event loop; plain functions run in threads beside it."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

from celeriac.message import Outcome
from celeriac.worker.execute import Job
from celeriac.worker.runners.loop import Loop, cancelled
from celeriac.worker.runners.port import Finished, Wish
from celeriac.worker.runners.threads import ThreadRunner

#: Threads for the plain functions of a pool that is meant for coroutines.
MOST_THREADS = 32


class CoroutineRunner:
    """See `Runner`. Jobs cross into the loop's thread in crowds: one wake-up for all that came meanwhile."""

    def __init__(self, rooms: int, finished: Finished) -> None:
        self._finished = finished
        self._loop = Loop()
        self._threads = ThreadRunner(rooms, self._leave, MOST_THREADS)
        self._coming: deque[Job] = deque()
        self._called = False
        self._free: deque[None] = deque([None] * rooms)
        #: The loop itself holds its tasks only weakly.
        self._tasks: set[asyncio.Task[Outcome | Wish]] = set()

    def start(self) -> None:
        self._loop.opened()

    def free(self) -> int:
        return len(self._free)

    def submit(self, job: Job) -> None:
        self._free.pop()
        if not job.is_async:
            self._threads.submit(job)
            return
        self._coming.append(job)
        if not self._called:
            self._called = True
            self._loop.opened().call_soon_threadsafe(self._begin)

    def interrupt(self, job: Job, error: type[BaseException]) -> None:
        (self._loop if job.is_async else self._threads).interrupt(job, error)

    def stop(self) -> None:
        self._threads.stop()
        self._loop.stop()

    def _leave(self, job: Job, outcome: Outcome | Wish) -> None:
        self._free.append(None)
        self._finished(job, outcome)

    # -- on the loop's thread

    def _begin(self) -> None:
        self._called = False
        loop = asyncio.get_running_loop()
        while self._coming:
            job = self._coming.popleft()
            task = loop.create_task(self._loop.live(job))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, job))

    def _ended(self, job: Job, task: asyncio.Task[Outcome | Wish]) -> None:
        self._tasks.discard(task)
        self._leave(job, cancelled(job) if task.cancelled() else task.result())
