"""A worker of one process: a child without a supervisor. A thread keeps the lease, so a task that holds the
GIL too long loses it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celeriac import signals
from celeriac.exceptions import Fenced, OperationalError
from celeriac.polling import readable
from celeriac.ports import Broker
from celeriac.worker import banner, originals, stacks
from celeriac.worker.child import Child, ColdStop, Plan
from celeriac.worker.health import Health
from celeriac.worker.heartbeat import Heartbeat
from celeriac.worker.household import RESTART, Household, meaning_of
from celeriac.worker.making import make_child, make_life
from celeriac.worker.names import node_name, owner_name
from celeriac.worker.node import Place, Running
from celeriac.worker.orders import Obedience
from celeriac.worker.presence import Presence
from celeriac.worker.runners.port import WISHES
from celeriac.worker.telling import Telling

logger = logging.getLogger("celery.worker")

#: Seconds that it may take longer to be ready because nobody could ask it anything yet.
LONGEST_START = 2.0


class Solo:
    """The child runs in the main thread of this process."""

    def __init__(self, household: Household, broker: Broker, queues: tuple[str, ...]) -> None:
        self._household = household
        self._broker = broker
        self._queues = queues
        self._node = node_name(household.options.hostname)
        self._lives = 0
        self._ready = False
        #: Set when the keeper has gone round once, so that remote control is heard.
        self._listens = threading.Event()
        self._stopping = False
        self._restarting = False
        self._cold = False
        self._soft = False
        #: Ends a soft shutdown.
        self._patience: threading.Timer | None = None
        self._over = threading.Event()
        #: Ends the keeper's wait.
        self._over_reader, self._over_writer = os.pipe()
        #: The child's name in the store.
        self._owner = ""
        self._stop_child: Callable[[], None] = lambda: None
        self._child_broker: Broker | None = None
        self._child: Child | None = None
        self._heartbeat: Heartbeat | None = None
        self._obedience: Obedience | None = None
        #: By its name, the last order that the next life must hear too.
        self._standing: dict[str, tuple[Any, ...]] = {}
        self.app = household.app
        self.options = household.options
        self.broker = broker
        self.totals = household.totals
        self.started_at = time.time()
        self._telling = Telling(self.app, self.options.hostname, os.getpid(), household.slots.slot(0))
        self._events = False
        self._presence = Presence(self)
        household.postmortem.lost = self._presence.tell_of_lost

    def run(self) -> int:
        """Work until told to stop; returns the exit code."""
        options = self._household.options
        self._broker.consume(self._queues)
        heartbeat = Heartbeat(
            self._broker,
            self._node,
            options.lease,
            self._household.postmortem.judge,
            self._household.served,
            self._distrust,
            lambda: (self._owner,) if self._owner else (),
        )
        heartbeat.start()
        self._heartbeat = heartbeat
        keeper = threading.Thread(
            target=self._keep, args=(heartbeat,), name="celeriac-heartbeat", daemon=True
        )
        keeper.start()
        before = {
            number: originals.handle_here(number, self._on_signal)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)
        }
        if signals.worker_process_init.receivers:
            signals.worker_process_init.send(self._household.options.hostname)
        try:
            while not self._stopping:
                self._live()
        except ColdStop:
            with contextlib.suppress(OperationalError):
                self._broker.dismiss(self._owner)
        finally:
            if self._patience is not None:
                self._patience.cancel()
            self._over.set()
            os.close(self._over_writer)
            keeper.join(1.0)
            self._telling.turn(False)
            self._presence.stop()
            for number, handler in before.items():
                originals.handle(number, handler)
            heartbeat.stop()
            self._broker.close()
            os.close(self._over_reader)
        return 1 if self._cold else RESTART if self._restarting else 0

    def _live(self) -> None:
        options = self._household.options
        self._lives += 1
        plan = Plan(
            node=self._node,
            owner=owner_name(self._node, f"solo.{self._lives}", 1),
            hostname=options.hostname,
            queues=self._queues,
            lease=options.lease,
            pool="solo",
            rooms=1,
        )
        self._owner = plan.owner
        slot = self._household.slots.slot(0)
        slot.clear()
        slot.pid = os.getpid()
        if self._household.meters is not None and self._lives == 1:
            self._household.meters.listen(0)
        self.totals.take(0)
        life = make_life(self._household, plan, slot, ready=self._say_ready)
        child = make_child(life)
        self._child = child
        self._stop_child = child.stop
        self._child_broker = life.broker
        self._obedience = Obedience(self.app, child, life, self._telling.turn)
        for order in list(self._standing.values()):
            self._obedience.do(*order)
        if self.options.task_events and self._lives == 1:
            self.tell_events(True)
        if self._stopping:
            child.stop()
        try:
            child.run()
        except Fenced:
            logger.error(
                "The lease of this node ran out and others took over: "
                "late outcomes are refused, it starts anew"
            )
        except WISHES:
            # From a task, or ours for a cold stop; what ran was judged where it ran. If nothing ran, ours may
            # have fallen between two lines of a turn, and this broker is of no use any more.
            if life.retiring:
                with contextlib.suppress(Fenced):
                    life.leave()
            raise

    def _distrust(self) -> None:
        if self._child_broker is not None:
            self._child_broker.distrust()

    # -- for remote control, see node.py; on the keeper's thread

    @property
    def hostname(self) -> str:
        return self.options.hostname

    @property
    def queues(self) -> tuple[str, ...]:
        return self._queues

    @property
    def size(self) -> int:
        return 1

    @property
    def store_is_away(self) -> bool:
        return self._heartbeat is not None and self._heartbeat.is_away

    def places(self) -> list[Place]:
        return [Place(self._owner, os.getpid(), self._household.slots.slot(0), 1)] if self._owner else []

    def tell(self, *order: Any, name: str) -> None:
        self._standing[name] = order
        if self._obedience is not None:
            self._obedience.do(*order)

    def serve(self, queues: Sequence[str]) -> None:
        self._queues = tuple(queues)
        self.tell("queues", self._queues, name="queues")
        self._broker.consume(self._queues)
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat.start()

    def terminate(self, running: Running, signum: int) -> None:
        if self._child is not None:
            self._child.strike(running.claim.number)

    def pool_grow(self, n: int = 1) -> int:
        raise NotImplementedError("a solo worker is one process: take -P prefork or threads")

    def pool_shrink(self, n: int = 1) -> int:
        raise NotImplementedError("a solo worker is one process: stop it by `control shutdown`")

    def pool_restart(self) -> None:
        raise NotImplementedError("a solo worker has no pool: restart the whole worker")

    def shut_down(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    @property
    def tells_events(self) -> bool:
        return self._events

    def tell_events(self, on: bool) -> None:
        self._events = on
        self._telling.turn(on)

    def tell_of_itself(self) -> None:
        self._presence.answer_with_beat()

    def more_stats(self) -> Mapping[str, Any]:
        return {"events_ever_lost": self._household.slots.slot(0).events_lost}

    def _tell_health(self, health: Health, heartbeat: Heartbeat) -> None:
        health.vitals.note(
            renewed=heartbeat.renewed,
            ready=int(self._ready),
            wanted=1,
            births=self._lives,
            deaths=0,
            stillborn=0,
            stopping=self._stopping,
            places=1,
        )

    def _say_ready(self) -> None:
        self._ready = True
        if self._lives == 1:
            # Who reads that we are ready may ask by remote control at once.
            self._listens.wait(LONGEST_START)
            self._household.say_ready()

    def _on_signal(self, number: int, _frame: Any) -> None:
        number = meaning_of(number)
        if number == signal.SIGUSR1:
            # On a thread: the log's own code may be what was interrupted.
            threading.Thread(target=self._log_stacks, name="celeriac-stacks", daemon=True).start()
            return
        if number == signal.SIGQUIT or (number == signal.SIGINT and self._stopping):
            if self._cold:
                return
            if not self._soft and self._household.soft_shutdown:
                self._stop_soft(number, self._household.soft_shutdown)
                return
            self._stopping = self._cold = True
            self._household.say_stopping(number, "Cold")
            banner.say(banner.COLD_SHUTDOWN)
            # Not SystemExit: that would count as the end of the task that runs, and not as ours.
            raise ColdStop(1)
        if self._stopping:
            if self._restarting and number != signal.SIGHUP:
                self._restarting = False
                self._household.say_stopping(number, "Warm")
                banner.say(banner.WARM_SHUTDOWN)
        else:
            self._restarting = number == signal.SIGHUP
            self._stopping = True
            self._household.slots.slot(0).say_enough()
            self._household.say_stopping(number, "Warm")
            banner.say(banner.WARM_SHUTDOWN)
            if number == signal.SIGINT:
                banner.say(banner.PRESS_AGAIN_FOR_COLD)
            # Stopping talks to the store, which a handler must not do between two lines of somebody who does.
            threading.Thread(target=self._stop_child, name="celeriac-stop", daemon=True).start()

    def _log_stacks(self) -> None:
        logger.warning("Stacks of this process (pid %d):\n%s", os.getpid(), stacks.here())

    def _stop_soft(self, number: int, seconds: float) -> None:
        """As warm, but only for so long."""
        self._stopping = self._soft = True
        self._household.slots.slot(0).say_enough()
        self._household.say_stopping(number, "Soft")
        banner.say(banner.SOFT_SHUTDOWN % seconds)
        threading.Thread(target=self._stop_child, name="celeriac-stop", daemon=True).start()
        self._patience = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGQUIT))
        self._patience.daemon = True
        self._patience.start()

    def _keep(self, heartbeat: Heartbeat) -> None:
        while not self._over.is_set():
            systemd = self._household.systemd
            pause = min(
                heartbeat.beat(),
                self._presence.serve(),
                systemd.pause if systemd is not None and systemd.pause else 1.0,
                1.0,
            )
            self._listens.set()
            self._household.step()
            if self._household.health is not None:
                self._tell_health(self._household.health, heartbeat)
            for companion in self._household.companions:
                companion.tend(())
            heard = [self._over_reader]
            polled = (heartbeat.fileno(), self._presence.fileno())
            heard += [descriptor for descriptor in polled if descriptor is not None]
            with contextlib.suppress(ValueError, OSError):
                readable(*heard, seconds=pause)
