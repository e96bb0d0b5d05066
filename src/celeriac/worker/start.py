"""Starts a worker: imports the app, says what it is, reaches the store, hands over to supervisor or solo."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from celeriac import __version__, signals
from celeriac.app import Celery
from celeriac.checking import findings
from celeriac.exceptions import OperationalError, SecurityError
from celeriac.ports import Broker
from celeriac.routing import Router
from celeriac.worker import banner, originals
from celeriac.worker.banner import Station
from celeriac.worker.companion import Companion
from celeriac.worker.health import Health
from celeriac.worker.household import Household
from celeriac.worker.options import WorkerOptions
from celeriac.worker.pidfile import pidfile
from celeriac.worker.slots import Slots
from celeriac.worker.solo import Solo
from celeriac.worker.supervisor import Supervisor
from celeriac.worker.systemd import Systemd

#: Rooms of a pool of threads and of one of greenlets or coroutines, where nobody says.
THREADS, GREEN = 16, 100
#: Seconds between two tries to reach the store at the start: grows by the first up to the second.
STEP, LONGEST = 2.0, 4.0

#: How loud a finding about the settings is.
_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "note": logging.INFO}

#: After what banner.CANNOT_CONNECT says.
TRYING_AGAIN = banner.CANNOT_CONNECT + "\nTrying again in %.2f seconds... (%d/%s)"

logger = logging.getLogger("celery.worker.consumer")


def run(app: Celery, options: WorkerOptions, settled: Callable[[], None] = lambda: None) -> int:
    """Work until told to stop; returns the exit code of the process, or RESTART.

    `settled` is called once nothing that concerns only this machine can fail any more.
    """
    _refuse_pickle_as_root(app)
    children, rooms = sizes(options)
    household = Household(app, options, Slots(children, rooms))
    household.import_app()
    worker = household.worker
    worker.concurrency = children * rooms
    # A receiver may still change settings, so nothing is read from them before.
    if signals.celeryd_init.receivers:
        signals.celeryd_init.send(options.hostname, instance=worker, conf=app.conf, options=worker.said())
    if signals.worker_init.receivers:
        signals.worker_init.send(worker)
    household.start_logging()
    try:
        chosen = app.serving if options.queues is None else options.queues
        household.served = Router(app.conf).served(chosen, options.exclude, options.hostname)
        app.serving = worker.queues = household.served.queues
        if signals.celeryd_after_setup.receivers:
            signals.celeryd_after_setup.send(options.hostname, instance=worker, conf=app.conf)
        for finding in findings(app):
            logger.log(_LEVELS[finding.grade], "%s: %s", finding.about, finding.says)
        if "NOTIFY_SOCKET" in os.environ:
            household.systemd = Systemd(os.environ)
        return _run(household, tuple(worker.queues), children, rooms, settled)
    finally:
        household.logging.stop()
        app.close()


def sizes(options: WorkerOptions) -> tuple[int, int]:
    """(children, rooms in each)."""
    if options.pool == "solo":
        return 1, 1
    if options.pool == "prefork":
        if options.autoscale is not None:
            return max(options.autoscale[1], 1), 1
        return options.concurrency or len(os.sched_getaffinity(0)), 1
    return options.processes or 1, options.concurrency or (THREADS if options.pool == "threads" else GREEN)


def _run(
    household: Household, queues: tuple[str, ...], children: int, rooms: int, settled: Callable[[], None]
) -> int:
    app, options = household.app, household.options
    if not options.quiet:
        _greet(household, queues, children * rooms)
    if (
        options.start_method == "fork"
        and options.pool not in ("solo", "gevent")
        and threading.active_count() > 1
    ):
        logger.warning(
            "The app has started %d thread(s) while it was imported. "
            "A process that forks with threads can hang: start them in worker_process_init, "
            "or use --pool-start-method spawn",
            threading.active_count() - 1,
        )
    if options.pool != "prefork" and _has_hard_limits(app):
        logger.warning(
            "-P %s cannot kill a process at its hard time limit: TimeLimitExceeded is raised in the task, "
            "which a call into C or a task that catches everything holds up. Only -P prefork ends any task",
            options.pool,
        )
    with pidfile(options.pidfile), _healthy(household, queues), _scheduling(household):
        settled()
        with _ended_by_signals():
            broker = _reach_store(household)
        if broker is None:
            return 1
        _tell_of_pauses(broker, queues)
        if options.purge:
            logger.warning("Purged %d message(s)", app.purge(queues))
        try:
            if options.pool == "solo":
                return Solo(household, broker, queues).run()
            return Supervisor(household, broker, queues, children, rooms).run()
        finally:
            if signals.worker_shutdown.receivers:
                signals.worker_shutdown.send(household.worker)


def _has_hard_limits(app: Celery) -> bool:
    return bool(app.conf.task_time_limit) or any(task.time_limit for task in app.tasks.values())


def _greet(household: Household, queues: tuple[str, ...], concurrency: int) -> None:
    app, options = household.app, household.options
    station = Station(
        nodename=options.hostname,
        version=__version__,
        app_name=app.main or "default",
        app_id=id(app),
        transport=app.broker_url,
        results=app.result_url,
        concurrency=concurrency,
        autoscale=options.autoscale,
        pool=options.pool,
        task_events=options.task_events,
        acks_late=app.conf.task_acks_late,
        max_deliveries=app.conf.task_max_deliveries,
        queues=queues,
        started=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S"),
    )
    told = logging.getLogger("celery.worker").isEnabledFor(logging.INFO)
    banner.show(banner.banner(station, app.tasks if told else None))


@contextlib.contextmanager
def _healthy(household: Household, queues: tuple[str, ...]) -> Iterator[None]:
    """With --health-port: from before the store is reached until the last child has gone."""
    if household.meters is None:
        yield
        return
    health = household.health = Health(household.app, household.options, queues, household.meters)
    with _beside(household, health):
        health.say()
        yield


@contextlib.contextmanager
def _scheduling(household: Household) -> Iterator[None]:
    """With -B: a scheduler beside the children."""
    if not household.options.beat:
        yield
        return
    # Only here: a worker without -B shall not pay for schedules.
    from celeriac.worker.embedded import EmbeddedBeat

    with _beside(household, EmbeddedBeat(household.app, household.options.hostname)):
        yield


@contextlib.contextmanager
def _beside(household: Household, companion: Companion) -> Iterator[None]:
    household.companions.append(companion)
    try:
        companion.start()
        yield
    finally:
        household.companions.remove(companion)
        companion.stop()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """For who waits for the store: nobody else hears the signals yet, and to process 1 of a container the
    kernel gives only those that are heard."""

    def leave(number: int, _: object) -> None:
        sys.exit(0 if number == signal.SIGTERM else 1)

    before = {number: originals.handle(number, leave) for number in (signal.SIGTERM, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            originals.handle(number, handler)


def _reach_store(household: Household) -> Broker | None:
    """A broker that answers; None if it does not and the settings forbid to wait."""
    app, conf = household.app, household.app.conf
    url = banner.shown_store(app.broker_url)
    retry = conf.broker_connection_retry_on_startup
    if retry is None:
        retry = conf.broker_connection_retry
    most = conf.broker_connection_max_retries
    # Without the results: the supervisor stores none but those of the dead, and does it in the turn.
    broker = app.open_worker_broker()
    tries = 0
    while True:
        try:
            broker.depth([])
            logger.info(banner.CONNECTED, url)
            return broker
        except OperationalError as error:
            tries += 1
            if not retry or (most and tries > most):
                logger.critical(banner.CANNOT_CONNECT, url, error)
                return None
            pause = min(LONGEST, STEP * tries)
            logger.error(
                TRYING_AGAIN,
                url,
                error,
                pause,
                tries,
                most or "-",
            )
            household.step()
            time.sleep(pause)


def _tell_of_pauses(broker: Broker, queues: tuple[str, ...]) -> None:
    """A worker that is ready and begins nothing shall say why."""
    with contextlib.suppress(OperationalError):
        for queue in sorted({*queues}.intersection(broker.paused())):
            logger.warning(
                "Queue %s is paused: nothing of it begins before `celeriac queue resume %s`", queue, queue
            )


def _refuse_pickle_as_root(app: Celery) -> None:
    accepted = {"pickle", "application/x-python-serialize"} & set(app.conf.accept_content)
    if accepted and os.geteuid() == 0 and not os.environ.get("C_FORCE_ROOT"):
        raise SecurityError(
            "this worker runs as root and accepts pickle, so whoever can write to the broker can become root "
            "here. Run it as another user (--uid), accept json only, or set C_FORCE_ROOT=1 if you know "
            "better"
        )
