"""The event loop of a child: one for all its tasks, so that a connection pool made by one task serves the
next."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from celeriac.message import Outcome
from celeriac.worker.execute import Job
from celeriac.worker.runners.port import WISHES, Wish


class Loop:
    """A loop on a thread of its own, for jobs that threads or greenlets wait for."""

    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[Job, asyncio.Task[Any]] = {}

    def run(self, job: Job) -> Outcome | Wish:
        """Run an async job to its end."""
        try:
            return asyncio.run_coroutine_threadsafe(self.live(job), self.opened()).result()
        except CancelledError:
            return cancelled(job)

    async def live(self, job: Job) -> Outcome | Wish:
        """The same, for those who are on the loop."""
        task = asyncio.current_task()
        assert task is not None
        self._running[job] = task
        try:
            return await job.arun()
        except WISHES as wish:
            # Caught here, since asyncio lets it end the loop.
            return wish
        finally:
            del self._running[job]

    def interrupt(self, job: Job, error: type[BaseException]) -> None:
        """Raise the error in an async job where it waits, if it still runs. From any thread."""
        self.opened().call_soon_threadsafe(self._interrupt, job, error)

    def opened(self) -> asyncio.AbstractEventLoop:
        """The loop, started at its first use: most children never need it."""
        with self._lock:
            if self._loop is None:
                self._loop = self._make()
                threading.Thread(
                    target=self._serve, args=(self._loop,), name="celeriac-loop", daemon=True
                ).start()
            return self._loop

    def stop(self) -> None:
        """Cancel what runs and end the loop; may be called twice."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # its thread has closed it already
                loop.call_soon_threadsafe(loop.stop)

    def _interrupt(self, job: Job, error: type[BaseException]) -> None:
        task = self._running.get(job)
        if task is not None and job.running:
            job.interruption = error()
            task.cancel()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            while self._loop is loop:
                # A coroutine that a task has started may leave (asyncio gives that to who awaits it, and ends
                # the loop too), or a task stop the loop: others live on it.
                with contextlib.suppress(SystemExit, KeyboardInterrupt):
                    loop.run_forever()
        finally:
            loop.close()


def cancelled(job: Job) -> Outcome:
    """Of a coroutine that itself or another one on its loop cancelled, perhaps before its first line: that
    ends its run, and no more."""
    return job.fail(asyncio.CancelledError())
