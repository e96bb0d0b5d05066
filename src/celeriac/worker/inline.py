"""A child with one room: its main thread runs the tasks, a watchdog keeps the law of batches meanwhile."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import Any

from celeriac.exceptions import Fenced, SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from celeriac.message import Claim, Fate, Outcome
from celeriac.worker.child import PATIENCE, WAIT, Life
from celeriac.worker.execute import Job
from celeriac.worker.pace import Pace
from celeriac.worker.runners.port import WISHES
from celeriac.worker.stacks import ASK

#: Seconds without work after which the watchdog sleeps until there is some.
NAP = 0.1


class InlineChild:
    """See `Child`. Fetch a batch, run it, settle it."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._intake = life.intake
        self._pace = Pace()
        self._job: Job | None = None
        self._claim: Claim | None = None
        #: Number of the claim that is to be ended.
        self._to_strike = 0
        #: Number of the claim that the slot tells of as running.
        self._noted = 0
        #: How many tasks were done when the counts were noted last.
        self._counted = 0
        #: Monotonic seconds at which the oldest unsettled thing began.
        self._since = 0.0
        #: Monotonic, like all limits: clocks are set.
        self._soft_deadline = 0.0
        #: In a process without a parent the hard limit too is raised in the task: nobody could kill it.
        self._hard_deadline = 0.0
        #: Of which job's limit the log knows, and whether the hard one.
        self._told: tuple[Job, bool] | None = None
        self._busy = threading.Event()
        self._over = False
        #: Of asyncio, which is imported for the first job that needs it.
        self._loop: Any = None
        #: The coroutine that the loop runs for the present job.
        self._task: Any = None
        #: Wakes the task out of a call into C. A process without a parent is asked for its stacks by SIGUSR1.
        self._limit_signal = ASK if life.plan.pool == "solo" else signal.SIGUSR1
        self._signals = threading.current_thread() is threading.main_thread()

    def run(self) -> None:
        life = self._life
        life.enter()
        if self._signals:
            signal.signal(self._limit_signal, self._on_limit)
        watchdog = threading.Thread(target=self._watch, name="celeriac-watchdog", daemon=True)
        watchdog.start()
        try:
            while life.goes_on():
                self._run_batch()
            life.leave()
        finally:
            self._over = True
            self._busy.set()
            if self._loop is not None:
                self._loop.close()

    def stop(self) -> None:
        self._life.stopping = True
        self._intake.give_back()
        if self._job is None:
            self._intake.broker.wake()
        else:
            with contextlib.suppress(Fenced):  # the main thread finds it out by itself
                self._intake.turn()

    def strike(self, number: int) -> None:
        self._to_strike = number
        signal.pthread_kill(threading.main_thread().ident or 0, self._limit_signal)

    def abandon(self) -> None:
        self._life.stopping = True
        self._intake.broker.wake()
        claim = self._claim
        self._life.abandon([] if claim is None else [claim])

    def _run_batch(self) -> None:
        intake, life = self._intake, self._life
        if not intake.turn(self._pace.want(), WAIT):
            return
        count = intake.waiting
        if not count or not life.goes_on():
            return
        self._since = began = time.monotonic()
        if count > 1:
            life.slot.waiting = intake.last
        if not self._busy.is_set():
            self._busy.set()
        while not life.stopping and (claim := intake.take()) is not None:
            self._claim = claim
            if claim.deliveries and intake.unsettled:
                # It has killed a child before: what is done shall not be done again if it kills this one.
                intake.turn()
            job = life.prepared(claim)
            if job is not None:
                if not life.slot.begin(claim.number):
                    self._leave_it_to_others(claim)
                    break
                try:
                    outcome = self._run(job)
                except WISHES as wish:
                    self._job = None
                    life.finished(life.wished(claim, wish))
                    raise
                life.finished(outcome)
            self._claim = None
            now = time.monotonic()
            if now - self._since > PATIENCE and intake.waiting:
                intake.turn()
                self._since = now
        if count > 1:
            life.slot.waiting = 0
        self._pace.ran(time.monotonic() - began, count)

    def _leave_it_to_others(self, claim: Claim) -> None:
        """The parent took back what waited here, because a task kept even the watchdog from doing so. If it
        did not come to the store we do it now; what went back already is not ours any more."""
        self._intake.done(Outcome(claim.number, Fate.GIVEN_BACK))
        self._intake.give_back()
        self._claim = None
        self._life.slot.barred = 0

    def _run(self, job: Job) -> Outcome:
        slot = self._life.slot
        self._job = job
        soft, hard = job.time_limits
        if soft or hard:
            now = time.monotonic()
            self._soft_deadline = now + soft if soft else 0.0
            if hard and self._life.plan.pool == "solo":
                self._hard_deadline = now + hard
            elif hard:
                slot.limit(now + hard, hard)
        outcome = self._run_async(job) if job.is_async else job.run()
        self._job = None
        if soft or hard:
            self._soft_deadline = self._hard_deadline = 0.0
            slot.limit(0.0, 0.0)
        return outcome

    def _run_async(self, job: Job) -> Outcome:
        import asyncio

        if self._loop is None or self._loop.is_closed():
            # One loop for the whole life of the child: what a task leaves open on it serves the next. But a
            # plain function may have got it by asyncio.get_event_loop(), and closed it.
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(job.arun())
        while True:
            try:
                outcome: Outcome = self._loop.run_until_complete(self._task)
                return outcome
            except asyncio.CancelledError as error:
                # By itself, or by another one on its loop: that ends its run, and no more.
                return job.fail(error)
            except WISHES:
                raise
            except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
                # Of a coroutine that it has started: asyncio gives it to who awaits that one, and ends the
                # loop too. Or it has stopped the loop. The next round goes on, or gives what it came to.
                if self._loop.is_closed() or _gave(self._task, error):
                    raise

    # -- the watchdog

    def _watch(self) -> None:
        """While tasks run: settle what waits too long, give back what is not reached, raise the limits."""
        quiet = 0.0
        while not self._over:
            self._note_what_runs()
            if quiet >= NAP:
                self._busy.clear()
                if self._job is None:
                    self._busy.wait()
                quiet = 0.0
            time.sleep(PATIENCE)
            quiet = quiet + PATIENCE if self._job is None else 0.0
            self._relieve()
            now = time.monotonic()
            hard = bool(self._hard_deadline) and now >= self._hard_deadline
            if hard or (self._soft_deadline and now >= self._soft_deadline):
                self._tell_of_limit(hard)
                signal.pthread_kill(threading.main_thread().ident or 0, self._limit_signal)

    def _tell_of_limit(self, hard: bool) -> None:
        """Once: the signal that follows is sent until the task is struck."""
        job = self._job
        if job is not None and job.running and self._told != (job, hard):
            self._told = (job, hard)
            job.tell_of_limit(hard=hard)

    def _note_what_runs(self) -> None:
        """For those who look on. Here and not where tasks run: nobody wants to see what lasts no longer."""
        done = self._life.slot.done
        if done != self._counted:
            self._counted = done
            self._life.note()
        claim = self._claim if self._job is not None else None
        number = 0 if claim is None else claim.number
        if number == self._noted:
            return
        self._noted = number
        if number:
            self._life.note()  # it has begun, and may be killed before it ends
            self._life.slot.occupy(0, number, time.time())
        else:
            self._life.slot.vacate(0)

    def _relieve(self) -> None:
        intake = self._intake
        if self._job is None or time.monotonic() - self._since < PATIENCE:
            return
        if intake.waiting or intake.unsettled:
            self._life.slot.waiting = 0
            intake.give_back()
            with contextlib.suppress(Fenced):
                intake.turn()

    def _on_limit(self, *_: Any) -> None:
        # The next task is never hit: this one must be running still, and be the one that is late.
        job, now = self._job, time.monotonic()
        if job is None or not job.running:
            return
        if self._to_strike and self._claim is not None and self._claim.number == self._to_strike:
            self._to_strike = 0
            self._strike(job, Terminated())
            return
        soft, hard = job.time_limits
        if self._hard_deadline and now >= self._hard_deadline:
            self._soft_deadline = self._hard_deadline = 0.0
            self._strike(job, TimeLimitExceeded(hard))
        elif self._soft_deadline and now >= self._soft_deadline:
            self._soft_deadline = 0.0
            self._strike(job, SoftTimeLimitExceeded(soft))

    def _strike(self, job: Job, error: BaseException) -> None:
        """Raise where the task stands: here, or where its coroutine waits while the loop has the thread."""
        loop, task = self._loop, self._task
        if not job.is_async or loop is None or task is None:
            raise error
        import asyncio

        if asyncio.current_task(loop) is task:
            raise error
        job.interruption = error
        loop.call_soon_threadsafe(task.cancel)


def _gave(task: Any, error: BaseException) -> bool:
    """Whether this is the error by which the asyncio task itself ended."""
    return bool(task.done() and not task.cancelled() and task.exception() is error)
