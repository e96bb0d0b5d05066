"""Runs queued tasks one by one in this process, on the memory driver, by a clock that stands still.

The messages are true ones: they are packed and unpacked, claimed and settled, and what runs them is what a
worker runs them with. What is left out is what only processes have: time limits, pools, death.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any

from celeriac import current, signals, states
from celeriac.app import Celery
from celeriac.beat.leading import Scheduler
from celeriac.canvas.breaking import BREAK
from celeriac.connections import Ground
from celeriac.drivers.memory.broker import MemoryBroker
from celeriac.drivers.memory.bus import MemoryBus
from celeriac.drivers.memory.results import MemoryResults
from celeriac.drivers.memory.schedules import MemorySchedules
from celeriac.drivers.memory.store import MemoryStore
from celeriac.exceptions import CeleriacError, DecodeError, ImproperlyConfigured, TimeoutError
from celeriac.message import Claim, Fate, Outcome
from celeriac.ports import ResultStore
from celeriac.stepping import Queued, Ran
from celeriac.waiting import Put, Waiting
from celeriac.wire.result import decode_result
from celeriac.wire.task import TaskMessage, unpack
from celeriac.worker.execute import Executor, Job
from celeriac.worker.limits import Limits

#: Tasks that one call may run. Who sends or retries without end would keep the test for ever.
MOST = 10_000

_OWNER, _NODE = "stepper", "testing"
#: Of the scheduler within, and the seconds for which it leads.
_GROUP, _LEASE = "testing", 86400.0
_HOSTNAME = "celery@testing"


class MemoryStepper:
    """See `celeriac.stepping.Stepper`."""

    def __init__(self, app: Celery, now: datetime | float | None = None, throw: bool = False) -> None:
        self._app = app
        self._throw = throw
        self._time = _whole(
            app.time() if now is None else now if isinstance(now, int | float) else _epoch(now)
        )
        self._store = MemoryStore(now=self._clock)
        self._broker = MemoryBroker(self._store, with_results=app.result_url is not None)
        self._executor: Executor | None = None
        self._limits: Limits | None = None
        self._ran: list[Ran] = []
        self._foreign: list[Queued] = []
        #: Task id -> (state, value) of the run that has just ended.
        self._endings: dict[str, tuple[str, Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduler: Scheduler | None = None
        self._undo = ExitStack()
        self._over = False

    # --- the test's side ----------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self._time, UTC)

    @property
    def ran(self) -> list[Ran]:
        return list(self._ran)

    @property
    def foreign(self) -> list[Queued]:
        return list(self._foreign)

    def waiting(self, queue: str | None = None) -> list[Queued]:
        return [
            self._queued(unpack(payload), name, eta)
            for name, payload, eta in self._lying()
            if queue in (None, name)
        ]

    def step(self) -> Ran | None:
        job = self._next_job()
        return self._settle(job, job.run()) if isinstance(job, Job) else job

    def run(self) -> list[Ran]:
        return self._run_until(self._time)

    def advance(self, seconds: float | timedelta) -> list[Ran]:
        until = _whole(self._time + _seconds(seconds))
        ran = self._run_until(until)
        self._time = until
        return ran

    def finish(self) -> list[Ran]:
        return self._run_until(float("inf"))

    async def astep(self) -> Ran | None:
        job = self._next_job()
        if not isinstance(job, Job):
            return job
        # A plain function may do what no coroutine may, such as asyncio.run(): it is not run in the loop.
        outcome = await job.arun() if job.is_async else await asyncio.to_thread(job.run)
        return self._settle(job, outcome)

    async def arun(self) -> list[Ran]:
        return await self._arun_until(self._time)

    async def aadvance(self, seconds: float | timedelta) -> list[Ran]:
        until = _whole(self._time + _seconds(seconds))
        ran = await self._arun_until(until)
        self._time = until
        return ran

    async def afinish(self) -> list[Ran]:
        return await self._arun_until(float("inf"))

    def clear(self) -> None:
        for queue in self._store.queues():
            self._broker.purge(queue)
        self._ran.clear()
        self._foreign.clear()

    def __repr__(self) -> str:
        return f"<stepper of {self._app!r} at {self.now}: {len(self._ran)} ran, {len(self.waiting())} wait>"

    # --- its life -----------------------------------------------------------------------------------------

    def __enter__(self) -> MemoryStepper:
        app = self._app
        if app.conf.task_always_eager:
            raise ImproperlyConfigured(
                "task_always_eager is on, so nothing would be queued. app.testing() takes its place: unset it"
            )
        app.import_modules()
        app.finalize()
        self._limits = Limits(sorted(app.tasks))
        self._undo.callback(self._limits.close)
        self._loop = _running_loop()
        self._broker.enlist(_OWNER, _NODE, float("inf"))
        self._undo.enter_context(app.standing_on(self._ground()))
        self._undo.enter_context(current.only(app))
        self._schedule()  # from now on its intervals count
        for signal, receiver in (
            (signals.task_postrun, self._on_end),
            (signals.task_revoked, self._on_revoked),
        ):
            signal.connect(receiver)
            self._undo.callback(signal.disconnect, receiver)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._undo.close()
        self._broker.close()

    async def __aenter__(self) -> MemoryStepper:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _ground(self) -> Ground:
        store, conf = self._store, self._app.conf
        accept = conf.result_accept_content or conf.accept_content
        return Ground(
            broker=lambda: MemoryBroker(store, with_results=self._app.result_url is not None),
            results=lambda: MemoryResults(store),
            waiting=lambda results: SteppedWaiting(results, self, accept),
            schedules=lambda: MemorySchedules(store, _GROUP),
            bus=lambda: MemoryBus(store.air),
            time=self._clock,
        )

    # --- for who waits for a result -----------------------------------------------------------------------

    def bring(self, ids: Sequence[str], is_here: Callable[[], bool], timeout: float | None) -> None:
        """Run tasks until the result is here. TimeoutError if it cannot come, or not in time."""
        loop = self._loop
        if loop is not None and loop.is_running() and loop is not _running_loop():
            # The test's loop is free while it waits for us: its coroutines belong there.
            asyncio.run_coroutine_threadsafe(self._abring(ids, is_here, timeout), loop).result()
            return
        for until in self._until(ids, is_here, timeout):
            if self.step() is None:
                self._jump(until)

    async def _abring(self, ids: Sequence[str], is_here: Callable[[], bool], timeout: float | None) -> None:
        for until in self._until(ids, is_here, timeout):
            if await self.astep() is None:
                self._jump(until)

    def _until(
        self, ids: Sequence[str], is_here: Callable[[], bool], timeout: float | None
    ) -> Iterator[float]:
        """Goes on while something is left to be done that may bring the result."""
        until = float("inf") if timeout is None else self._time + timeout
        for _ in _bounded():
            if is_here():
                return
            due = self._next_due()
            if due is None or due > until:
                raise self._never(ids[0], timeout)
            yield until

    def _never(self, task_id: str, timeout: float | None) -> TimeoutError:
        waiting = next((call for call in self.waiting() if call.id == task_id), None)
        if waiting is not None and waiting.eta is not None:
            return TimeoutError(
                f"no result of task {task_id} within {timeout:g} s of the test's clock: {waiting.name} "
                f"waits until {waiting.eta:%Y-%m-%d %H:%M:%S} UTC (it is {self.now:%H:%M:%S})"
            )
        if any(call.id == task_id for call in self._foreign):
            return TimeoutError(
                f"no result of task {task_id}: this app does not know its task, so nobody runs it"
            )
        return TimeoutError(
            f"no result of task {task_id}, and nothing waits that could bring it: was it sent by this app, "
            "within app.testing(), and does it keep its result?"
        )

    # --- inside -------------------------------------------------------------------------------------------

    def _clock(self) -> float:
        return self._time

    def _run_until(self, until: float) -> list[Ran]:
        ran = []
        for _ in _bounded():
            one = self.step()
            if one is not None:
                ran.append(one)
            elif not self._jump(until):
                break
        return ran

    async def _arun_until(self, until: float) -> list[Ran]:
        ran = []
        for _ in _bounded():
            one = await self.astep()
            if one is not None:
                ran.append(one)
            elif not self._jump(until):
                break
        return ran

    def _jump(self, until: float) -> bool:
        """Forward to the moment at which the next message is due, if that is not after `until`."""
        due = self._next_due()
        scheduled = self._next_scheduled() if until < float("inf") else None
        due = min((one for one in (due, scheduled) if one is not None), default=None)
        if due is None or due > until:
            return False
        self._time = max(self._time, due)
        if scheduled is not None:
            self._schedule()
        return True

    def _schedule(self) -> None:
        """Send what periodic tasks are due, as a scheduler would."""
        if self._scheduler is None:
            if not self._app.conf.beat_schedule and not self._store.planned:
                return
            self._scheduler = Scheduler(self._app, MemorySchedules(self._store, _GROUP), _OWNER, _LEASE)
        self._scheduler.tick()

    def _next_scheduled(self) -> float | None:
        self._schedule()
        group = self._store.planned.get(_GROUP)
        plans = group.plans.values() if group is not None else ()
        due = min((plan.due for plan in plans if plan.due), default=None)
        return None if due is None else due / 1000

    def _next_due(self) -> float | None:
        return min((self._time if eta is None else eta for _, _, eta in self._lying()), default=None)

    def _next_job(self) -> Job | Ran | None:
        """The next job; or what became of a message that must not run; or None."""
        if self._over:
            raise RuntimeError("this app.testing() is over: run what is queued within its `with` block")
        while (claim := self._claim()) is not None:
            message = _opened(claim)
            if message is not None and message.name not in self._app.tasks and message.name != BREAK:
                self._foreign.append(self._queued(message, claim.queue, None))
                self._tell(Outcome(claim.number))
                continue
            if self._executor is None:
                self._executor = self._new_executor()
            job = self._executor.prepare(claim)
            if isinstance(job, Job):
                return job
            self._tell(job)
            if message is not None and (message.id in self._endings or job.fate is Fate.DEAD):
                return self._note(message, claim.queue, job.reason)
        return None

    def _new_executor(self) -> Executor:
        results = self._app.results
        return Executor(
            self._app,
            _HOSTNAME,
            now=self._clock,
            save=None if results is None else lambda result: results.update(result, self._app.is_end),
            revoked=self._broker.revoked,
            limits=self._limits,
        )

    def _claim(self) -> Claim | None:
        self._broker.consume(self._store.queues())
        claims = self._broker.turn(_OWNER, (), 1)
        return claims[0] if claims else None

    def _tell(self, outcome: Outcome) -> None:
        self._broker.turn(_OWNER, (outcome,), 0)

    def _settle(self, job: Job, outcome: Outcome) -> Ran:
        self._tell(outcome)
        message = job.request.message
        assert message is not None
        return self._note(message, job.claim.queue, outcome.reason)

    def _note(self, message: TaskMessage, queue: str, reason: str = "") -> Ran:
        state, value = self._endings.pop(message.id, (states.FAILURE, RuntimeError(reason)))
        call = self._queued(message, queue, None)
        ran = Ran(call.id, call.name, call.args, call.kwargs, queue, state, value, call.retries, self.now)
        self._ran.append(ran)
        if self._throw and state == states.FAILURE:
            raise value
        return ran

    def _on_end(self, task_id: str, retval: Any, state: str, **_: Any) -> None:
        self._endings[task_id] = (state, retval)

    def _on_revoked(self, request: Any, expired: bool, **_: Any) -> None:
        self._endings[request.id] = (states.REVOKED, "expired" if expired else "revoked")

    def _lying(self) -> list[tuple[str, bytes, float | None]]:
        """(queue, payload, eta) of all that waits, of each queue in its order."""
        found: list[tuple[str, bytes, float | None]] = []
        with self._store.lock:
            for queue in self._store.queues():
                line = self._store.line(queue)
                found += [(queue, parcel.message.payload, None) for parcel in line.in_order()]
                found += [(queue, parcel.message.payload, eta) for eta, _, parcel in sorted(line.delayed)]
        return found

    def _queued(self, message: TaskMessage, queue: str, eta: float | None) -> Queued:
        try:
            args, kwargs, _ = message.arguments(self._app.conf.accept_content)
        except CeleriacError:  # it will fail when it runs, and says why
            args, kwargs = [], {}
        return Queued(
            message.id,
            message.name,
            args,
            kwargs,
            queue,
            None if eta is None else datetime.fromtimestamp(eta, UTC),
            message.priority,
            message.retries,
        )


class SteppedWaiting(Waiting):
    """Who waits for a result has the tasks run that bring it: `get()` works, and never waits for nothing."""

    def __init__(self, store: ResultStore, stepper: MemoryStepper, accept: Collection[str]) -> None:
        super().__init__(store)
        self._stepper = stepper
        self._accept = accept

    def enter(self, ids: Sequence[str], put: Put, timeout: float | None = None, every: bool = False) -> None:
        for awaited in ([task_id] for task_id in ids) if every else [ids]:
            self._stepper.bring(awaited, partial(self._is_here, awaited), timeout)
        for task_id, payload in zip(ids, self._store.load(ids), strict=True):
            if payload is not None:
                put(task_id, payload)

    def _is_here(self, ids: Sequence[str]) -> bool:
        """The first one ended, or one of those before it in the chain did so badly."""
        for position, payload in enumerate(self._store.load(ids)):
            status = None if payload is None else decode_result(payload, self._accept)["status"]
            if status in (states.PROPAGATE_STATES if position else states.READY_STATES):
                return True
        return False


def _bounded() -> Iterator[int]:
    yield from range(MOST)
    raise RuntimeError(
        f"{MOST} tasks ran and there is no end: does a task send or retry itself for ever? "
        "Run less at a time, with step() or advance()"
    )


def _opened(claim: Claim) -> TaskMessage | None:
    try:
        return unpack(claim.payload)
    except DecodeError:
        return None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _epoch(moment: datetime) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _whole(seconds: float) -> float:
    """The next whole millisecond: schedules count in these, and two that are due at once shall be equal."""
    return math.ceil(round(seconds * 1000, 3)) / 1000


def _seconds(span: float | timedelta) -> float:
    if not isinstance(span, int | float | timedelta):
        raise TypeError(f"advance() takes seconds or a timedelta, not {span!r}")
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    if seconds < 0:
        raise ValueError(f"time does not go back: advance({span!r})")
    return seconds
