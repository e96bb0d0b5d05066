"""A true worker in a thread of the test's process: for tests of what happens between processes' ends.

    with start_worker(app):
        assert add.delay(1, 2).get(timeout=10) == 3

`app.testing()` is quicker and exact; this is for code that waits for results by itself, or for a true broker.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from celeriac import signals
from celeriac.app import Celery
from celeriac.exceptions import Fenced, ImproperlyConfigured
from celeriac.polling import readable
from celeriac.routing import Router
from celeriac.signals import Signal
from celeriac.testing.tasks import ping
from celeriac.worker.child import Child, Plan
from celeriac.worker.heartbeat import Heartbeat
from celeriac.worker.household import Household
from celeriac.worker.making import make_child, make_life
from celeriac.worker.names import node_name, owner_name
from celeriac.worker.options import WorkerOptions
from celeriac.worker.slots import Slots

test_worker_starting = Signal(name="test_worker_starting")
test_worker_started = Signal(("worker", "consumer"), name="test_worker_started")
test_worker_stopped = Signal(("worker",), name="test_worker_stopped")

logger = logging.getLogger("celery.worker")

#: Pools that a thread can have. What Celery's tests name, solo or prefork, becomes threads.
_POOLS: dict[str, Literal["threads", "asyncio"]] = {
    "solo": "threads",
    "prefork": "threads",
    "threads": "threads",
    "asyncio": "asyncio",
}


class ThreadWorker:
    """A worker without a process of its own; start it, stop it, both as often as you like."""

    __test__ = False  # under its name of Celery's, pytest would take it for a class of tests

    def __init__(
        self,
        app: Celery,
        concurrency: int = 1,
        pool: str = "solo",
        queues: str | Iterable[str] | None = None,
        hostname: str | None = None,
    ) -> None:
        if pool not in _POOLS:
            raise ImproperlyConfigured(
                f"a worker in a thread has no pool {pool!r}; take one of {', '.join(_POOLS)}"
            )
        self.app = app
        self.hostname = hostname or f"test-{os.urandom(3).hex()}@thread"
        self._options = WorkerOptions(hostname=self.hostname, pool=_POOLS[pool], concurrency=concurrency)
        self._rooms = concurrency
        self._asked = queues.split(",") if isinstance(queues, str) else queues
        #: What it serves, once it has started.
        self.queues: tuple[str, ...] = ()
        self._ready = threading.Event()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._child: Child | None = None
        self._changing = threading.Lock()
        self._lives = 0
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin to serve its queues; returns when it does."""
        if self._threads:
            return
        self._household = household = Household(self.app, self._options, Slots(1, self._rooms))
        household.import_app(alone=True)
        household.served = Router(self.app.conf).served(self._asked, (), self.hostname)
        self.queues = queues = tuple(household.served.queues)
        node = node_name(self.hostname)
        self._broker = broker = self.app.open_worker_broker()
        broker.consume(queues)
        judge, lease = household.postmortem.judge, household.options.lease
        heartbeat = Heartbeat(broker, node, lease, judge, household.served)
        heartbeat.start()
        heartbeat.beat()
        self._child = child = self._born()
        self._threads = [
            threading.Thread(target=self._live, args=(child,), name="celeriac-test-worker", daemon=True),
            threading.Thread(target=self._keep, args=(heartbeat,), name="celeriac-test-lease", daemon=True),
        ]
        for signal in (signals.worker_init, signals.worker_process_init):
            signal.send(household.worker)
        for thread in self._threads:
            thread.start()
        self.ensure_started()
        household.say_ready()

    def ensure_started(self, timeout: float = 10.0) -> None:
        """Wait until it serves its queues; raises what kept it from that."""
        if not self._ready.wait(timeout):
            raise RuntimeError(f"the worker did not start within {timeout:g} s: is its broker away?")
        if self._error is not None:
            raise self._error

    def reload(self, modules: Iterable[str] | None = None, reload: bool = False) -> None:
        """Import these modules, with `reload` once more. Celery's tests say it for tasks that were declared
        since it started; it knows those by itself."""
        for name in modules or ():
            module = importlib.import_module(name)
            if reload:
                importlib.reload(module)

    def stop(self, timeout: float = 10.0) -> None:
        """Finish what runs, and end. RuntimeError if a task does not let it."""
        with self._changing:
            child, self._child = self._child, None
        if child is None:
            return
        child.stop()
        self._over.set()
        signals.worker_shutdown.send(self._household.worker)
        for thread in self._threads:
            thread.join(timeout)
            if thread.is_alive():
                raise RuntimeError(
                    f"the worker did not end within {timeout:g} s: a task still runs in it. "
                    "Give the test's worker a longer shutdown_timeout, or the task a shorter time"
                )
        os.close(self._household.slots.descriptor)
        self._household.limits.close()
        self._threads.clear()
        self._ready.clear()
        self._over.clear()

    def _born(self) -> Child:
        """Its child, under a name that the store has not heard."""
        household, node = self._household, node_name(self.hostname)
        self._lives += 1
        plan = Plan(
            node=node,
            owner=owner_name(node, f"thread.{self._lives}", self._rooms),
            hostname=self.hostname,
            queues=self.queues,
            lease=household.options.lease,
            pool=household.options.pool,
            rooms=self._rooms,
        )
        slot = household.slots.slot(0)
        slot.clear()
        slot.pid = os.getpid()
        self._life = make_life(household, plan, slot, ready=self._ready.set)
        return make_child(self._life)

    def _live(self, child: Child) -> None:
        try:
            while not self._is_through(child):
                with self._changing:
                    if self._child is None:
                        return
                    self._child = child = self._born()
        except BaseException as error:  # it is raised again in the thread of the test
            self._error = error
        finally:
            self._ready.set()

    def _is_through(self, child: Child) -> bool:
        """Whether it ended as it should: who empties the store between two tests takes away what it is."""
        try:
            child.run()
        except Fenced:
            logger.warning(
                "The store does not know this worker any more (it was emptied, or the lease ran out): "
                "it starts anew"
            )
            self._life.broker.close()
            return False
        return True

    def _keep(self, heartbeat: Heartbeat) -> None:
        while not self._over.is_set():
            pause = min(heartbeat.beat(), 0.2)
            descriptor = heartbeat.fileno()
            if descriptor is None:
                self._over.wait(pause)
            else:
                with contextlib.suppress(ValueError, OSError):
                    readable(descriptor, seconds=pause)
        heartbeat.stop()
        self._broker.close()


#: The name of its cousin in Celery.
TestWorkController = ThreadWorker


@contextlib.contextmanager
def start_worker(
    app: Celery,
    concurrency: int = 1,
    pool: str = "solo",
    loglevel: object = None,
    logfile: object = None,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0,
    queues: str | Iterable[str] | None = None,
    hostname: str | None = None,
    **_options: Any,
) -> Iterator[ThreadWorker]:
    """A worker while the block runs. It first runs one task of its own, if the app keeps results.

    `loglevel`, `logfile` and other options of Celery's worker have no effect: the log is the test runner's.
    """
    test_worker_starting.send(app)
    worker = ThreadWorker(app, concurrency, pool, queues, hostname)
    worker.start()
    try:
        test_worker_started.send(app, worker=worker, consumer=worker)
        is_heard = app.results is not None and app.conf.task_default_queue in worker.queues
        if perform_ping_check and is_heard:
            answer = app.tasks[ping.name].delay().get(timeout=ping_task_timeout)
            assert answer == "pong"
        yield worker
    finally:
        test_worker_stopped.send(app, worker=worker)
        worker.stop(shutdown_timeout)


def setup_app_for_worker(app: Celery, loglevel: object = None, logfile: object = None) -> None:
    """Make the app ready, as a worker does at its start."""
    app.finalize()
    app.set_current()
    app.set_default()
