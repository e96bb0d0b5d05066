"""Rooms that are coroutines on one event loop; plain functions run in threads beside it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from celeriac.message import Outcome
from celeriac.worker.execute import Job
from celeriac.worker.runners.loop import Loop
from celeriac.worker.runners.port import Finished
from celeriac.worker.runners.striking import strike

#: Threads for the plain functions of a pool that is meant for coroutines.
MOST_THREADS = 32


class CoroutineRunner:
    """See `Runner`. Jobs cross into the loop's thread in crowds: one wake-up for all that came meanwhile."""

    def __init__(self, rooms: int, finished: Finished) -> None:
        self._rooms = rooms
        self._finished = finished
        self._loop = Loop()
        self._threads = ThreadPoolExecutor(min(rooms, MOST_THREADS), thread_name_prefix="celeriac-room")
        self._coming: deque[Job] = deque()
        self._called = False
        self._free: deque[None] = deque([None] * rooms)
        #: The loop itself holds its tasks only weakly.
        self._tasks: set[asyncio.Task[None]] = set()
        #: Plain functions -> the threads that run them.
        self._in_threads: dict[Job, int] = {}

    def start(self) -> None:
        self._loop.opened()

    def free(self) -> int:
        return len(self._free)

    def submit(self, job: Job) -> None:
        self._free.pop()
        self._coming.append(job)
        if not self._called:
            self._called = True
            self._loop.opened().call_soon_threadsafe(self._begin)

    def interrupt(self, job: Job, error: type[BaseException]) -> None:
        if job.is_async:
            self._loop.interrupt(job, error)
        elif (thread := self._in_threads.get(job)) is not None:
            strike(job, thread, error)

    def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._loop.stop()

    # -- on the loop's thread

    def _begin(self) -> None:
        self._called = False
        loop = asyncio.get_running_loop()
        while self._coming:
            job = self._coming.popleft()
            task = loop.create_task(self._live(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _live(self, job: Job) -> None:
        outcome = await self._outcome(job)
        self._free.append(None)
        self._finished(job, outcome)

    async def _outcome(self, job: Job) -> Outcome:
        if not job.is_async:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, job)
        return await self._loop.live(job)

    # -- on a thread beside it

    def _run(self, job: Job) -> Outcome:
        self._in_threads[job] = threading.get_ident()
        try:
            return job.run()
        finally:
            del self._in_threads[job]
