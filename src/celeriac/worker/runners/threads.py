"""Rooms that are threads."""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue

from celeriac.worker.execute import Job
from celeriac.worker.runners.loop import Loop
from celeriac.worker.runners.port import Finished, run
from celeriac.worker.runners.striking import strike


class ThreadRunner:
    """See `Runner`. Threads start when they are first needed.

    No ThreadPoolExecutor: in a process that a task forks, its farewell would end with an error.
    """

    def __init__(self, rooms: int, finished: Finished, most_threads: int | None = None) -> None:
        self._most_threads = most_threads or rooms
        self._finished = finished
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        #: One token a free room; a deque because its append and pop need no lock.
        self._free: deque[None] = deque([None] * rooms)
        self._idle: deque[None] = deque()
        self._threads: list[threading.Thread] = []
        self._running: dict[Job, int] = {}
        self._loop = Loop()

    def start(self) -> None:
        pass

    def free(self) -> int:
        return len(self._free)

    def submit(self, job: Job) -> None:
        self._free.pop()
        try:
            self._idle.pop()
        except IndexError:
            if len(self._threads) < self._most_threads:
                self._start_thread()
        self._jobs.put(job)

    def interrupt(self, job: Job, error: type[BaseException]) -> None:
        thread = self._running.get(job)
        if job.is_async:
            self._loop.interrupt(job, error)
        elif thread is not None:
            strike(job, thread, error)

    def stop(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        self._loop.stop()

    def _start_thread(self) -> None:
        name = f"celeriac-room-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _live(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._running[job] = threading.get_ident()
            outcome = self._loop.run(job) if job.is_async else run(job)
            del self._running[job]
            self._idle.append(None)
            self._free.append(None)
            self._finished(job, outcome)
