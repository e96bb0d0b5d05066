"""A child with k rooms: its main thread stands at the door; threads, greenlets or coroutines run tasks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from celeriac.exceptions import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from celeriac.message import Claim, Outcome
from celeriac.worker.child import PATIENCE, WAIT, Life
from celeriac.worker.execute import Job
from celeriac.worker.pace import MOST
from celeriac.worker.runners.port import Finished, Runner, Wish

#: Seconds between two looks at the time limits of the running tasks.
TICK = 0.05


class RoomsChild:
    """See `Child`."""

    def __init__(self, life: Life, open_runner: Callable[[int, Finished], Runner]) -> None:
        self._life = life
        self._intake = life.intake
        self._runner = open_runner(life.plan.rooms, self._finished)
        self._running: dict[Job, Claim] = {}
        #: Numbers of empty rooms, as the slot tells of them, and where each job is.
        self._empty = deque(range(life.plan.rooms))
        self._rooms: dict[Job, int] = {}
        self._changed = threading.Event()
        #: Whether the main thread may be waiting at the store.
        self._at_the_door = False
        #: Running jobs with limits -> [soft, hard] in seconds, 0 where there is none or it has struck.
        self._limited: dict[Job, list[float]] = {}
        self._limits: threading.Thread | None = None

    def run(self) -> None:
        life = self._life
        life.enter()
        self._runner.start()
        try:
            while life.goes_on():
                self._serve()
            self._finish()
            life.leave()
        finally:
            self._runner.stop()

    def stop(self) -> None:
        self._life.stopping = True
        self._changed.set()
        self._intake.broker.wake()

    def strike(self, number: int) -> None:
        for job, claim in list(self._running.items()):
            if claim.number == number:
                self._runner.interrupt(job, Terminated)

    def abandon(self) -> None:
        self.stop()
        self._life.abandon(list(self._running.values()))

    def _serve(self) -> None:
        intake, life = self._intake, self._life
        self._changed.clear()
        self._fill()
        life.note()
        free = self._runner.free()
        if free:
            self._at_the_door = True
            try:
                intake.turn(min(free, MOST), WAIT)
            finally:
                self._at_the_door = False
            return
        # All rooms are taken. What we hold without a room goes back soon, so that others may run it.
        if not self._changed.wait(PATIENCE if intake.waiting or intake.unsettled else WAIT):
            intake.give_back()
        if intake.unsettled and not life.stopping:
            intake.turn()

    def _fill(self) -> None:
        while self._runner.free() and (claim := self._intake.take()) is not None:
            job = self._life.prepared(claim)
            if job is None:
                continue
            self._running[job] = claim
            self._life.slot.begin(claim.number)
            # A thread is free a moment before its room is swept; then this one is not told of.
            if self._empty:
                self._rooms[job] = room = self._empty.pop()
                self._life.slot.occupy(room, claim.number, time.time())
            self._limit(job)
            self._runner.submit(job)

    def _finished(self, job: Job, outcome: Outcome | Wish) -> None:
        self._limited.pop(job, None)
        room = self._rooms.pop(job, None)
        if room is not None:
            self._life.slot.vacate(room)
            self._empty.append(room)
        if not isinstance(outcome, Outcome):
            outcome = self._life.wished(self._running[job], outcome)
        self._life.finished(outcome)
        # Last, since a child whose rooms are empty may leave at once: by now its outcome is at the door.
        del self._running[job]
        self._changed.set()
        if self._at_the_door:
            self._intake.broker.wake()

    def _finish(self) -> None:
        """Give back what has not begun, and let the rooms finish."""
        self._intake.give_back()
        while self._running:
            self._changed.clear()
            if self._intake.unsettled:
                self._intake.turn()
            if self._running:
                self._changed.wait(PATIENCE if self._intake.unsettled else WAIT)

    # -- time limits

    def _limit(self, job: Job) -> None:
        soft, hard = job.time_limits
        if not soft and not hard:
            return
        self._limited[job] = [soft or 0.0, hard or 0.0]
        if self._limits is None:
            self._limits = threading.Thread(target=self._watch_limits, name="celeriac-limits", daemon=True)
            self._limits.start()

    def _watch_limits(self) -> None:
        while True:
            time.sleep(TICK)
            now = time.perf_counter()
            for job, limits in list(self._limited.items()):
                if not job.running:
                    continue  # it waits for a thread (asyncio has fewer of these than rooms), or is over
                soft, hard = limits
                ran = now - job.started
                if hard and ran >= hard:
                    limits[:] = 0.0, 0.0
                    self._strike(job, TimeLimitExceeded)
                elif soft and ran >= soft:
                    limits[0] = 0.0
                    self._strike(job, SoftTimeLimitExceeded)

    def _strike(self, job: Job, error: type[BaseException]) -> None:
        job.tell_of_limit(hard=error is TimeLimitExceeded)
        self._runner.interrupt(job, error)
