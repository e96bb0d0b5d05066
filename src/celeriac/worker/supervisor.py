"""The parent of a node's children: starts, replaces and stops them, renews the lease, and runs no task."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from celeriac import signals
from celeriac.exceptions import OperationalError
from celeriac.ports import Broker
from celeriac.wire.task import age_of
from celeriac.worker import autoscale, banner, births, originals, stacks
from celeriac.worker.autoscale import Autoscaler
from celeriac.worker.child import Plan
from celeriac.worker.health import Health
from celeriac.worker.heartbeat import PAUSE, Heartbeat, Judge
from celeriac.worker.household import RESTART, Household, meaning_of
from celeriac.worker.kin import Kin
from celeriac.worker.living import FENCED, LIMITS, READY, live
from celeriac.worker.lost import words_of_death
from celeriac.worker.names import node_name, owner_name
from celeriac.worker.node import Place, Running
from celeriac.worker.orders import DISTRUST, STACKS, packed
from celeriac.worker.os_signals import ReceivedSignals
from celeriac.worker.presence import Presence
from celeriac.worker.slots import State
from celeriac.worker.stacks import Inquiry

#: Seconds between two looks at hard limits, once a task with one has run.
TICK = 0.05
#: Seconds that a child has, before it is killed for one task, to settle what it did before.
SETTLED = 0.25
#: Seconds until a child that died before it was ready is replaced: doubled each time, up to the second one.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0

logger = logging.getLogger("celery.worker")
pool_logger = logging.getLogger("celery.pool")


def pause_after(stillborn: int) -> float:
    """Seconds until the next try, after so many in a row that failed."""
    doubled = 1 << min(stillborn - 1, 16)  # the power of a large count fits into no float
    return min(LONGEST_PAUSE, FIRST_PAUSE * doubled)


class Supervisor:
    """Single-threaded: one loop that waits for signals, pipes, the lookout and the clock."""

    def __init__(
        self, household: Household, broker: Broker, queues: tuple[str, ...], children: int, rooms: int
    ) -> None:
        self._household = household
        self._options = household.options
        self._broker = broker
        self._queues = queues
        self._rooms = rooms
        self._node = node_name(self._options.hostname)
        self._heartbeat = Heartbeat(
            broker,
            self._node,
            self._options.lease,
            household.postmortem.judge,
            household.served,
            self._tell_distrust,
            self._owners,
        )
        self._count = children
        bounds = household.options.autoscale
        #: Where the size follows what there is to do; remote control may change its bounds.
        self.autoscaler = None if bounds is None else Autoscaler(*bounds)
        self._next_look = 0.0
        self._kin: dict[int, Kin] = {}
        #: The dead whose claims are still to be settled: (child, how it died).
        self._estates: list[tuple[Kin, str]] = []
        #: Index -> monotonic seconds at which a new child moves in.
        self._vacant: dict[int, float] = {}
        self._next_settling = 0.0
        #: The first process of a container.
        self._is_first = os.getpid() == 1
        self._births = 0
        self._deaths = 0
        self._stillborn = 0
        self._stopping = False
        self._restarting = False
        self._inquiry: Inquiry | None = None
        self._cold = False
        #: The children are killed for a cold stop, perhaps before anybody is told of it.
        self._killed = False
        #: Of the process that supervises, once it does.
        self._pid = 0
        #: Monotonic seconds at which a soft shutdown turns cold.
        self._cold_at: float | None = None
        self._limits_in_use = False
        self._said_ready = False
        self._signals: list[int] = []
        self._exit_code = 0
        #: By its name, the last order that children who come must hear too.
        self._standing: dict[str, bytes] = {}
        self._events = household.options.task_events
        self.app = household.app
        self.options = household.options
        self.broker = broker
        self.totals = household.totals
        self.started_at = time.time()
        self._presence = Presence(self)
        household.postmortem.lost = self._presence.tell_of_lost
        household.postmortem.terminated = self._presence.tell_of_terminated

    def run(self) -> int:
        """Supervise until told to stop; returns the exit code."""
        self._broker.consume(self._queues)
        self._heartbeat.start()
        self._pid = os.getpid()
        # What exists now is shared with the children page by page: to look through it for garbage, here or
        # there, would copy it.
        gc.freeze()
        with ReceivedSignals(self._signals, self._at_once) as wake:
            self._vacant = dict.fromkeys(range(self._count), 0.0)
            while True:
                self._fill_vacancies()
                self._obey_signals()
                self._end_patience()
                self._reap()
                if self._is_first:
                    self._reap_strangers()
                self._settle_estates()
                if not self._goes_on():
                    break  # a silent store must not be asked once more before the end
                pause = min(self._heartbeat.beat(), self._presence.serve())
                self._enforce_limits()
                pause = min(pause, self._relieve())
                self._ask_on()
                if self.autoscaler is not None:
                    self._scale(self.autoscaler)
                self._household.step()
                if self._household.health is not None:
                    self._tell_health(self._household.health)
                for companion in self._household.companions:
                    companion.tend(self._lines())
                self._wait(min(pause, self._until_next_duty()), wake)
        self._presence.stop()
        self._heartbeat.stop()
        self._broker.close()
        return self._exit_code or (RESTART if self._restarting else 0)

    # -- size, for remote control and autoscaling

    def _scale(self, autoscaler: Autoscaler) -> None:
        now = time.monotonic()
        if now < self._next_look or self._stopping or self._heartbeat.is_away:
            return  # while the store is away nobody but the lease asks for it
        self._next_look = now + autoscale.LOOK
        try:
            ready, age = self._waiting()
        except OperationalError:
            return
        change = autoscaler.change(self._count, self.busy, ready, age, now)
        if change > 0:
            logger.info("Scaling up %d processes.", self.pool_grow(change))
        elif change < 0 and (gone := self.pool_shrink(-change, only_idle=True)):
            logger.info("Scaling down %d processes.", gone)

    def _waiting(self) -> tuple[int, float]:
        """How many messages are ready, and for how many seconds the first has been so."""
        firsts = {queue: payload for queue in self._queues for payload in self._broker.peek(queue, 1)}
        for paused in self._broker.paused() if firsts else ():
            firsts.pop(paused, None)
        if not firsts:
            return 0, 0.0
        ready = sum(depth.ready for depth in self._broker.depth(list(firsts)).values())
        return ready, max(age_of(payload, time.time()) for payload in firsts.values())

    @property
    def size(self) -> int:
        """How many children there shall be."""
        return self._count

    @property
    def busy(self) -> int:
        """How many of them run something."""
        return sum(kin.slot.busy for kin in self._kin.values() if not kin.leaving)

    def pool_grow(self, n: int = 1) -> int:
        """So many children more; returns how many there is room for."""
        taken = {kin.index for kin in self._kin.values()} | self._vacant.keys()
        free = [index for index in range(self._household.slots.most) if index not in taken][: max(n, 0)]
        self._vacant |= dict.fromkeys(free, 0.0)
        self._count += len(free)
        return len(free)

    def pool_shrink(self, n: int = 1, *, only_idle: bool = False) -> int:
        """So many children less, the idle ones first; returns how many will go.

        A busy one finishes what it runs. One child always stays: a worker that can do nothing would look
        alive and serve nobody.
        """
        n = min(n, self._count - 1)
        gone = 0
        for index in list(self._vacant)[: max(n, 0)]:
            del self._vacant[index]
            gone += 1
        staying = [kin for kin in self._kin.values() if not kin.leaving]
        # Of those that are alike the last ones, so that the first places stay taken.
        for kin in sorted(staying, key=lambda kin: (kin.slot.busy, -kin.index)):
            if gone >= n or (only_idle and kin.slot.busy):
                break
            kin.leaving = True
            kin.stop()
            gone += 1
        self._count -= gone
        return gone

    def pool_restart(self) -> None:
        """Every child ends when what it runs is done, and another takes its place."""
        for kin in self._kin.values():
            kin.stop()

    def _tell_distrust(self) -> None:
        for kin in self._kin.values():
            kin.tell(DISTRUST)

    # -- for remote control, see node.py

    @property
    def hostname(self) -> str:
        return self._options.hostname

    @property
    def queues(self) -> tuple[str, ...]:
        return self._queues

    @property
    def store_is_away(self) -> bool:
        return self._heartbeat.is_away

    def places(self) -> list[Place]:
        return [Place(kin.plan.owner, kin.pid, kin.slot, self._rooms) for kin in self._kin.values()]

    def tell(self, *order: Any, name: str) -> None:
        self._standing[name] = word = packed(*order)
        for kin in self._kin.values():
            kin.tell(word)

    def serve(self, queues: Sequence[str]) -> None:
        self._queues = tuple(queues)
        self.tell("queues", self._queues, name="queues")
        # The lookout looks after the same queues.
        self._heartbeat.stop()
        self._broker.consume(self._queues)
        self._heartbeat.start()

    def terminate(self, running: Running, signum: int) -> None:
        kin = self._kin.get(running.place.pid)
        if kin is None:
            return
        if self._rooms > 1 or self._options.pool != "prefork":
            kin.tell(packed("strike", running.claim.number))
            return
        number = running.claim.number
        self._wait_for_settling(kin, number)
        with contextlib.suppress(ProcessLookupError):
            if kin.strike(lambda: kin.slot.begun == number):
                kin.terminated = signum

    def _wait_for_settling(self, kin: Kin, number: int) -> None:
        """While this claim runs, what was done before it is settled within milliseconds, and then it need not
        be done again because of our killing. A task that holds the GIL keeps its child from that."""
        deadline = time.monotonic() + SETTLED
        with contextlib.suppress(OperationalError):
            while kin.slot.begun == number and time.monotonic() < deadline:
                if all(claim.number >= number for claim in self._broker.held(kin.plan.owner)):
                    return
                time.sleep(0.002)

    def shut_down(self) -> None:
        if not self._stopping:
            self._stop_warm(signal.SIGTERM)

    @property
    def tells_events(self) -> bool:
        return self._events

    def tell_events(self, on: bool) -> None:
        self._events = on
        self.tell("events", on, name="events")

    def tell_of_itself(self) -> None:
        self._presence.answer_with_beat()

    def more_stats(self) -> Mapping[str, Any]:
        stats: dict[str, Any] = {"events_ever_lost": sum(kin.slot.events_lost for kin in self._kin.values())}
        scaler = self.autoscaler
        if scaler is not None:
            range_now = {"max": scaler.most, "min": scaler.least, "current": self._count, "qty": self.busy}
            stats["autoscaler"] = range_now
        return stats

    def _goes_on(self) -> bool:
        return bool(self._kin or self._estates) or not self._stopping

    # -- birth

    def _fill_vacancies(self) -> None:
        if self._stopping:
            self._vacant.clear()
        now = time.monotonic()
        for index in [index for index, due in self._vacant.items() if due <= now]:
            del self._vacant[index]
            if not self._give_birth(index):
                # Nor would there be one for the others.
                again = self._vacant[index]
                self._vacant = {one: max(due, again) for one, due in self._vacant.items()}
                break

    def _give_birth(self, index: int) -> bool:
        """False: the system gives us no process or no pipe now; it is asked again later, and the others work
        on."""
        options, household = self._options, self._household
        self._births += 1
        plan = Plan(
            node=self._node,
            owner=owner_name(self._node, f"{index + 1}.{self._births}", self._rooms),
            hostname=options.hostname,
            queues=self._queues,
            lease=options.lease,
            pool=options.pool,
            rooms=self._rooms,
            max_tasks=options.max_tasks_per_child,
            max_memory=options.max_memory_per_child,
            events=self._events,
        )
        household.totals.take(index)
        slot = household.slots.slot(index)
        slot.clear()
        if signals.worker_before_create_process.receivers:
            signals.worker_before_create_process.send(household.worker)
        try:
            pid, ours = self._born(plan, index)
        except OSError as error:
            pause = self._longer_pause()
            logger.error("A child cannot be started (%s); the next try comes in %.1f s", error, pause)
            self._vacant[index] = time.monotonic() + pause
            return False
        self._kin[pid] = kin = Kin(pid, index, plan, slot, ours)
        for word in self._standing.values():
            kin.tell(word)
        return True

    def _born(self, plan: Plan, index: int) -> tuple[int, births.Lines]:
        """The pid of a new child, and our lines to it."""
        theirs, ours = births.open_lines()
        try:
            return self._process(plan, index, theirs, ours), ours
        except OSError:
            for line in (ours.down, ours.up, ours.sheet):
                os.close(line)
            raise
        finally:
            os.close(theirs.down)
            os.close(theirs.up)

    def _process(self, plan: Plan, index: int, theirs: births.Lines, ours: births.Lines) -> int:
        options, household = self._options, self._household
        if options.start_method == "spawn":
            return births.spawn(
                plan,
                options,
                index,
                theirs,
                household.slots,
                household.limits.descriptor,
                None if household.meters is None else household.meters.descriptor,
                household.totals.descriptor,
            )
        inherited = [ours.down, ours.up, *self._lines()]
        if household.health is not None:
            inherited.append(household.health.descriptor)
        return births.fork(partial(live, household), plan, index, theirs, inherited)

    def _longer_pause(self) -> float:
        """Seconds until the next try, after one more in vain."""
        self._stillborn += 1
        return pause_after(self._stillborn)

    # -- orders

    def _obey_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGCHLD:
                continue
            number = meaning_of(number)
            if number == signal.SIGQUIT or (number == signal.SIGINT and self._stopping):
                if self._cold_at is None and self._household.soft_shutdown and not self._cold:
                    self._stop_soft(number, self._household.soft_shutdown)
                else:
                    self._stop_cold(number)
            elif number == signal.SIGUSR1:
                self._ask_for_stacks()
            elif not self._stopping:
                self._restarting = number == signal.SIGHUP
                self._stop_warm(number)
            elif self._restarting and number != signal.SIGHUP:
                self._restarting = False
                self._household.say_stopping(number, "Warm")
                banner.say(banner.WARM_SHUTDOWN)

    def _stop_warm(self, number: int) -> None:
        self._stopping = True
        self._tell_to_stop()
        self._household.say_stopping(number, "Warm")
        banner.say(banner.WARM_SHUTDOWN)
        if number == signal.SIGINT:
            banner.say(banner.PRESS_AGAIN_FOR_COLD)

    def _stop_soft(self, number: int, seconds: float) -> None:
        """As warm, but only for so long."""
        self._stopping = True
        self._cold_at = time.monotonic() + seconds
        self._tick()
        self._tell_to_stop()
        self._household.say_stopping(number, "Soft")
        banner.say(banner.SOFT_SHUTDOWN % seconds)

    def _end_patience(self) -> None:
        if self._cold_at is not None and self._kin and time.monotonic() >= self._cold_at:
            self._stop_cold(signal.SIGQUIT)

    def _tell_to_stop(self) -> None:
        """Before anybody is told that we stop."""
        for kin in self._kin.values():
            kin.stop()

    def _stop_cold(self, number: int) -> None:
        if self._cold:
            return
        self._stopping = self._cold = self._killed = True
        self._exit_code = 1
        self._household.say_stopping(number, "Cold")
        banner.say(banner.COLD_SHUTDOWN)
        for pid in self._kin:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # -- death

    def _reap(self) -> None:
        for pid in list(self._kin):
            try:
                ended, status = originals.wait_for(pid)
            except ChildProcessError:
                ended, status = pid, 0
            if ended:
                self._bury(self._kin.pop(pid), status)

    def _reap_strangers(self) -> None:
        originals.reap_strangers({*self._kin, *(companion.pid for companion in self._household.companions)})

    def _bury(self, kin: Kin, status: int) -> None:
        self._hear(kin)
        kin.bury()
        state, code = kin.slot.state, os.waitstatus_to_exitcode(status)
        orderly = state in (State.STOPPED, State.RETIRING) and code == 0
        if not orderly:
            self._deaths += 1
            kin.fenced = code == FENCED
            how = words_of_death(code)
            self._estates.append((kin, how))
            if not kin.fenced and not self._killed and kin.overran is None and kin.terminated is None:
                pool_logger.error(banner.PROCESS_EXITED, f"Worker-{kin.index + 1}", kin.pid, how)
        if self._stopping or kin.leaving:
            return
        pause = 0.0
        if not kin.ready and not orderly:
            pause = self._longer_pause()
            logger.error("A child died before it was ready; the next one starts in %.1f s", pause)
        self._vacant[kin.index] = time.monotonic() + pause

    def _owners(self) -> list[str]:
        """Those that live, and those whose claims are still to be settled."""
        return [kin.plan.owner for kin in (*self._kin.values(), *(kin for kin, _ in self._estates))]

    def _settle_estates(self) -> None:
        """What the dead held goes back at once, or is judged; a store that is away is tried again."""
        while self._estates and time.monotonic() >= self._next_settling:
            kin, how = self._estates[0]
            try:
                self._settle(kin, how)
            except OperationalError as error:
                logger.error("The messages of a dead child could not be returned yet: %s", error)
                self._next_settling = time.monotonic() + PAUSE
                if self._stopping:
                    self._estates.clear()  # the end of the lease brings them back
                return
            self._estates.pop(0)

    def _settle(self, kin: Kin, how: str) -> None:
        judge = self._judge_of(kin)
        count = self._heartbeat.take_over(kin.plan.owner, kin.begun, how, judge)
        if count and judge is None:
            logger.warning(banner.RESTORING, count)

    def _judge_of(self, kin: Kin) -> Judge | None:
        """Who judges the claims of one that we killed; None if it died by itself."""
        postmortem = self._household.postmortem
        if kin.overran is not None:
            return postmortem.judge_overrun(kin.overran)
        if kin.terminated is not None:
            return postmortem.judge_terminated(kin.terminated)
        return postmortem.judge_stopped if self._killed or kin.fenced else None

    def _relieve(self) -> float:
        """Seconds until the next look at who may be held up."""
        looks = [kin.relief.look(self._broker) for kin in self._kin.values() if kin.ready]
        return min(looks, default=float("inf"))

    # -- hard limits

    def _enforce_limits(self) -> None:
        if not self._limits_in_use:
            return
        now = time.monotonic()
        for kin in list(self._kin.values()):
            deadline = kin.slot.deadline
            if deadline and now >= deadline and kin.overran is None:
                self._strike(kin, deadline)

    def _strike(self, kin: Kin, deadline: float) -> None:
        with contextlib.suppress(ProcessLookupError):
            if kin.strike(lambda: kin.slot.deadline == deadline):
                kin.overran = kin.slot.time_limit

    # -- what waits for nothing

    def _at_once(self, number: int) -> None:
        """Limits and a cold stop, while the loop may stand in a call to a store that is silent. Every signal
        calls it, those of the timer too, between any two lines: so it neither logs nor asks anybody."""
        if os.getpid() != self._pid:
            return  # forked a moment ago
        self._enforce_limits()
        number = meaning_of(number)
        quits = number == signal.SIGQUIT or (
            number == signal.SIGINT and (self._stopping or signal.SIGINT in self._signals)
        )
        soft = self._household.soft_shutdown and self._cold_at is None
        if (quits and not soft) or (self._cold_at is not None and time.monotonic() >= self._cold_at):
            self._killed = True
            for pid in list(self._kin):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _tick(self) -> None:
        """From now on `_at_once` is called again and again."""
        signal.setitimer(signal.ITIMER_REAL, TICK, TICK)

    # -- watching

    def _ask_for_stacks(self) -> None:
        logger.warning("Stacks of the supervisor (pid %d):\n%s", os.getpid(), stacks.here())
        for kin in self._kin.values():
            kin.tell(STACKS)
        self._inquiry = Inquiry(
            (f"Worker-{kin.index + 1}", kin.pid, kin.lines.sheet) for kin in self._kin.values()
        )

    def _ask_on(self) -> None:
        if self._inquiry is not None and not self._inquiry.gather():
            self._inquiry = None

    def _tell_health(self, health: Health) -> None:
        health.vitals.note(
            renewed=self._heartbeat.renewed,
            ready=sum(kin.ready for kin in self._kin.values()),
            wanted=self._count,
            births=self._births,
            deaths=self._deaths,
            stillborn=self._stillborn,
            stopping=self._stopping,
            places=self._household.totals.taken,
        )

    def _lines(self) -> list[int]:
        """Our ends of the pipes to all children: nobody else may hold them."""
        return [line for kin in self._kin.values() for line in (kin.lines.down, kin.lines.up)]

    # -- waiting

    def _wait(self, seconds: float, wake: int) -> None:
        if self._inquiry is not None:
            seconds = min(seconds, stacks.QUIET)
        if self._household.systemd is not None and self._household.systemd.pause:
            seconds = min(seconds, self._household.systemd.pause)
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        lookout = self._heartbeat.fileno()
        if lookout is not None:
            poll.register(lookout, select.POLLIN)
        control = self._presence.fileno()
        if control is not None:
            poll.register(control, select.POLLIN)
        heard = {kin.lines.up: kin for kin in self._kin.values()}
        for descriptor in heard:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(max(0.0, seconds) * 1000):
            if descriptor == wake:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
            elif descriptor in heard:
                self._hear(heard[descriptor])

    def _hear(self, kin: Kin) -> None:
        words = kin.hear()
        if READY in words:
            kin.ready = True
            self._stillborn = 0
            self._say_ready()
        if LIMITS in words:
            self._limits_in_use = True
            self._tick()

    def _say_ready(self) -> None:
        if not self._said_ready and all(kin.ready for kin in self._kin.values()) and not self._vacant:
            self._said_ready = True
            self._household.say_ready()

    def _until_next_duty(self) -> float:
        duties = list(self._vacant.values())
        if self._cold_at is not None and not self._cold:
            duties.append(self._cold_at)
        if self.autoscaler is not None and not self._stopping and not self._heartbeat.is_away:
            duties.append(self._next_look)
        if self._estates:
            duties.append(self._next_settling)
        return min(duties, default=float("inf")) - time.monotonic()
