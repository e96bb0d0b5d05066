"""A child's life from its first line to its last: made of the plan, the app and its lines to the parent."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Literal

from celeriac import signals, states
from celeriac.app import Celery
from celeriac.exceptions import (
    DecodeError,
    Fenced,
    ImproperlyConfigured,
    TimeLimitExceeded,
    WorkerShutdown,
    WorkerTerminate,
)
from celeriac.message import Claim, Fate, Outcome, Result
from celeriac.request import Request
from celeriac.routing import Served
from celeriac.wire.task import unpack
from celeriac.worker import banner, originals, stacks, telemetry
from celeriac.worker.births import Lines
from celeriac.worker.child import Child, Life, Plan
from celeriac.worker.companion import Companion
from celeriac.worker.endings import Endings
from celeriac.worker.execute import Executor
from celeriac.worker.health import Health
from celeriac.worker.heartbeat import Judge
from celeriac.worker.inline import InlineChild
from celeriac.worker.instance import Worker
from celeriac.worker.job import LOG_HARD_LIMIT
from celeriac.worker.limits import Limits
from celeriac.worker.log import WorkerLogging
from celeriac.worker.lost import judge_lost, lost_error
from celeriac.worker.meters import Meters
from celeriac.worker.options import WorkerOptions
from celeriac.worker.orders import Obedience
from celeriac.worker.rooms import RoomsChild
from celeriac.worker.runners.port import Finished, Runner
from celeriac.worker.slots import Slot, Slots
from celeriac.worker.systemd import Systemd
from celeriac.worker.telling import Telling
from celeriac.worker.totals import Totals

#: What a child says upward.
READY, LIMITS = b"R", b"L"

#: Returned by the main process in place of an exit code: it shall begin again from its first line.
RESTART = -1
#: Exit codes: lost its node's lease to others; its parent is gone.
FENCED, ORPHANED = 3, 4

logger = logging.getLogger("celery.worker")


class Household:
    """What supervisor and children of one node have in common."""

    def __init__(
        self,
        app: Celery,
        options: WorkerOptions,
        slots: Slots,
        limits_descriptor: int | None = None,
        meters_descriptor: int | None = None,
        totals_descriptor: int | None = None,
    ) -> None:
        self.app = app
        self.options = options
        self.slots = slots
        self._limits_descriptor = limits_descriptor
        self._meters_descriptor = meters_descriptor
        self._totals_descriptor = totals_descriptor
        #: What children count for /metrics; None where nobody asks.
        self.meters: Meters | None = None
        #: Answers /livez, /readyz and /metrics in the node's main process; None where nobody asks.
        self.health: Health | None = None
        #: The processes beside the children: health, and the scheduler of -B.
        self.companions: list[Companion] = []
        #: The service manager, in the node's main process; None where there is none.
        self.systemd: Systemd | None = None
        #: What the node serves, once its settings are read.
        self.served = Served([], [], [])
        #: Told of tasks whose end the main process had to say, for monitors: lost ones, terminated ones.
        self.lost: Callable[[Request, BaseException], None] | None = None
        self.terminated: Callable[[Request, int], None] | None = None
        #: As the receivers of its signals see it.
        self.worker = Worker(app, options)
        self.logging = WorkerLogging(
            app.conf,
            options.hostname,
            loglevel=options.loglevel,
            logfile=options.logfile,
            log_format=options.log_format,
            no_color=options.no_color,
        )

    def import_app(self, *, alone: bool = False) -> None:
        """Import what declares tasks; an ImportError of the user's goes on as it is. With `alone`, tasks that
        other apps share are not taken in."""
        app, options = self.app, self.options
        if options.time_limit is not None:
            app.conf.pin("task_time_limit", options.time_limit)
        if options.soft_time_limit is not None:
            app.conf.pin("task_soft_time_limit", options.soft_time_limit)
        if options.include:
            app.conf.pin("include", (*(app.conf.include or ()), *options.include))
        app.import_modules()
        app.finalize()
        if not alone:
            app.adopt_shared()
        if any(task.is_async for task in app.tasks.values()):
            import_module("asyncio")  # once here, and not in every child
        #: Of all children together; it needs the names of the tasks.
        self.limits = Limits(sorted(app.tasks), self._limits_descriptor)
        self.totals = Totals(sorted(app.tasks), self.slots.most, self._totals_descriptor)
        if options.health is not None:
            self.meters = Meters(sorted(app.tasks), self._meters_descriptor)

    def say_ready(self) -> None:
        """The node serves its queues."""
        logger.info(banner.READY, self.options.hostname)
        if self.systemd is not None:
            self.systemd.ready()
        if signals.worker_ready.receivers:
            signals.worker_ready.send(self.worker)

    @property
    def soft_shutdown(self) -> float:
        """Seconds that running tasks get before a cold shutdown; 0 is none."""
        return self.app.conf.seconds("worker_soft_shutdown_timeout") or 0.0

    def say_stopping(self, number: int, how: Literal["Warm", "Soft", "Cold"]) -> None:
        """A signal was heard that ends the node, or starts it anew."""
        if self.systemd is not None:
            if number == signal.SIGHUP:
                self.systemd.reloading()
            else:
                self.systemd.stopping()
        if signals.worker_shutting_down.receivers:
            signals.worker_shutting_down.send(
                self.options.hostname, sig=signal.Signals(number).name, how=how, exitcode=int(how == "Cold")
            )

    def step(self) -> None:
        """The main process goes on: for those who watch whether it does."""
        if self.systemd is not None:
            self.systemd.alive()
        if self.health is not None:
            self.health.vitals.step()

    def start_logging(self) -> None:
        """For this process, and for those forked from it."""
        self.logging.start()

    def life(
        self,
        plan: Plan,
        slot: Slot,
        *,
        index: int = 0,
        ready: Callable[[], None] = lambda: None,
        limits_in_use: Callable[[], None] = lambda: None,
    ) -> Life:
        """The common part of a child, with a broker of its own."""

        app = self.app
        broker, results = app.open_worker_broker(), app.results
        app.works_as(plan.owner)

        def executor(save: Callable[[Result], None] | None) -> Executor:
            made = Executor(self.app, plan.hostname, save=save, revoked=broker.revoked, limits=self.limits)
            made.counts.update(self.totals.before(index))
            return made

        life = Life(
            plan,
            broker,
            None if results is None else lambda result: results.update(result, app.is_end, app.owner),
            executor,
            slot,
            judge=lambda claims, begun, how: self.judge(claims, begun, plan.rooms, how),
            ready=ready,
            limits_in_use=limits_in_use,
            note=lambda: self.totals.note(index, life.executor.counts),
        )
        return life

    def child(self, life: Life) -> Child:
        """The child that fits the pool."""
        if life.plan.pool in ("prefork", "solo"):
            return InlineChild(life)
        return RoomsChild(life, partial(_open_runner, life.plan.pool))

    def _endings(self) -> Endings:
        """For the dead, in the main process."""
        lost = self._tell_of_lost
        return Endings(self.app, self.options.hostname, time.time, runs_user_code=False, lost=lost)

    def _tell_of_lost(self, request: Request, error: BaseException) -> None:
        if self.meters is not None:
            self.meters.count(request.task or "", states.FAILURE)
        if self.lost is not None:
            self.lost(request, error)

    def _tell_of_terminated(self, request: Request, signum: int) -> None:
        if self.meters is not None:
            self.meters.count(request.task or "", states.REVOKED)
        if self.terminated is not None:
            self.terminated(request, signum)

    def judge(self, claims: list[Claim], begun: int | None, rooms: int, how: str) -> list[Outcome]:
        """What becomes of the claims of a dead owner; all up to the number `begun` had begun."""
        endings = self._endings()
        return judge_lost(
            claims,
            begun=None if begun is None else {claim.number for claim in claims if claim.number <= begun},
            rooms=rooms,
            max_deliveries=self.app.conf.task_max_deliveries,
            how=how,
            fail=endings.fail,
        )

    def judge_overrun(self, limit: float) -> Judge:
        """As `judge`, for a child that was killed because its task overran its hard time limit."""
        endings = self._endings()

        def overran(claim: Claim) -> Outcome:
            with contextlib.suppress(DecodeError):
                message = unpack(claim.payload)
                name = message.shadow or message.name
                logging.getLogger("celery.worker.request").error(LOG_HARD_LIMIT, limit, name, message.id)
            return endings.fail(claim, TimeLimitExceeded(limit))

        def judge(claims: list[Claim], begun: int | None, rooms: int, how: str) -> list[Outcome]:
            return [
                overran(claim) if claim.number == begun else _unless_begun(endings, claim, how)
                for claim in claims
            ]

        return judge

    def judge_terminated(self, signum: int) -> Judge:
        """As `judge`, for a child that was killed because somebody wished the end of its task."""
        endings = self._endings()

        def judge(claims: list[Claim], begun: int | None, rooms: int, how: str) -> list[Outcome]:
            return [
                endings.terminated(claim, signum, self._tell_of_terminated)
                if claim.number == begun
                else _unless_begun(endings, claim, how)
                for claim in claims
            ]

        return judge

    def judge_stopped(self, claims: list[Claim], begun: int | None, rooms: int, how: str) -> list[Outcome]:
        """As `judge`, for a child that we killed to stop: that is no fault of what it ran, so nothing is
        counted."""
        endings = self._endings()
        return [_unless_begun(endings, claim, how) for claim in claims]

    # -- in a child's own process

    def live(self, plan: Plan, index: int, lines: Lines) -> int:
        """The whole life of a child; returns its exit code."""
        slot = self.slots.slot(index)
        slot.pid = os.getpid()
        stacks.listen(lines.sheet)
        _leave_signals_to_the_parent()
        self.logging.enter_child(process_name(plan, index, self.options), index + 1)
        if self.meters is not None:
            self.meters.listen(index)
        life = self.life(
            plan,
            slot,
            index=index,
            ready=lambda: _write(lines.up, READY),
            limits_in_use=lambda: _write(lines.up, LIMITS),
        )
        child = self.child(life)
        telling = Telling(self.app, plan.hostname, os.getppid(), slot)
        if plan.events:
            telling.turn(True)
        obedience = Obedience(self.app, child, life, telling.turn)
        threading.Thread(
            target=_hear, args=(lines.down, child, obedience), name="celeriac-parent", daemon=True
        ).start()
        if signals.worker_process_init.receivers:
            signals.worker_process_init.send(plan.hostname)
        # What the parent made is shared with it page by page: collecting it would copy them all.
        gc.freeze()
        code = 0
        try:
            child.run()
        except Fenced:
            logger.error(
                "The store does not know this child any more (the lease of its node ran out and others took "
                "over, or the store was emptied or lost its last moments): outcomes of %s are refused, it "
                "starts anew",
                plan.owner,
            )
            code = FENCED
        except (WorkerShutdown, WorkerTerminate) as wish:
            with contextlib.suppress(Fenced):
                life.leave()
            code = wish.code if isinstance(wish.code, int) else 0
        finally:
            if signals.worker_process_shutdown.receivers:
                signals.worker_process_shutdown.send(plan.hostname, pid=os.getpid(), exitcode=code)
            telemetry.hand_over()
            life.note()
            telling.turn(False)
            logging.shutdown()
        return code


def _unless_begun(endings: Endings, claim: Claim, how: str) -> Outcome:
    """Back to its queue; but what was acknowledged early has failed, for it must not run again."""
    if claim.begun:
        return endings.fail(claim, lost_error(how))
    return Outcome(claim.number, Fate.GIVEN_BACK)


def meaning_of(number: int) -> int:
    """SIGTERM means SIGQUIT where the environment says REMAP_SIGTERM=SIGQUIT: for those who send only TERM
    before they kill. SIGHUP means SIGTERM at a terminal, which says so that it is closed."""
    if number == signal.SIGHUP and sys.__stdout__ is not None and sys.__stdout__.isatty():
        number = signal.SIGTERM
    remapped = number == signal.SIGTERM and os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
    return signal.SIGQUIT if remapped else number


def process_name(plan: Plan, index: int, options: WorkerOptions) -> str:
    """As operators know it: the one process of a threads or gevent pool is the main one for them."""
    alone = plan.pool != "prefork" and (options.processes or 1) == 1
    kind = "SpawnPoolWorker" if options.start_method == "spawn" else "ForkPoolWorker"
    return "MainProcess" if alone else f"{kind}-{index + 1}"


def _open_runner(pool: str, rooms: int, finished: Finished) -> Runner:
    if pool == "threads":
        from celeriac.worker.runners.threads import ThreadRunner

        return ThreadRunner(rooms, finished)
    if pool == "asyncio":
        from celeriac.worker.runners.aio import CoroutineRunner

        return CoroutineRunner(rooms, finished)
    try:
        from celeriac.worker.runners.greenlets import GreenletRunner
    except ModuleNotFoundError as missing:
        raise ImproperlyConfigured("-P gevent needs gevent: pip install 'celeriac[gevent]'") from missing
    return GreenletRunner(rooms, finished)


def _leave_signals_to_the_parent() -> None:
    """Ctrl-C reaches the whole process group; the parent decides what it means.

    Handlers that do nothing, and not SIG_IGN: that would be inherited by the programs that tasks start.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
        originals.handle_here(number, lambda *_: None)
    originals.handle(signal.SIGCHLD, signal.SIG_DFL)
    originals.handle(signal.SIGALRM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)


def _hear(down: int, child: Child, obedience: Obedience) -> None:
    """Listen to the parent's words, on a thread of its own."""
    heard, ours = b"", os.getpid()
    while True:
        # select, since under gevent it lets other greenlets run while os.read would stop them all.
        select.select([down], [], [])
        if os.getpid() != ours:
            return  # a task forked, and this is the copy of a greenlet: the words are not for it
        try:
            part = os.read(down, 65536)
        except OSError:
            part = b""
        if not part:
            break
        *words, heard = (heard + part).split(b"\n")
        for word in words:
            obedience.obey(word)
    # Nobody renews our lease any more. Return all and end, before others run what we hold.
    with contextlib.suppress(Exception):
        child.abandon()
    sys.stderr.write("worker: the supervisor is gone, this child returned its messages and ends\n")
    os._exit(ORPHANED)


def _write(descriptor: int, word: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, word)
