"""What supervisor and children of one node have in common, or a solo worker with its one child."""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib import import_module
from typing import Literal

from celeriac import signals
from celeriac.app import Celery
from celeriac.routing import Served
from celeriac.worker import banner
from celeriac.worker.companion import Companion
from celeriac.worker.health import Health
from celeriac.worker.instance import Worker
from celeriac.worker.limits import Limits
from celeriac.worker.log import WorkerLogging
from celeriac.worker.meters import Meters
from celeriac.worker.options import WorkerOptions
from celeriac.worker.postmortem import Postmortem
from celeriac.worker.slots import Slots
from celeriac.worker.systemd import Systemd
from celeriac.worker.totals import Totals

#: Returned by the main process in place of an exit code: it shall begin again from its first line.
RESTART = -1

logger = logging.getLogger("celery.worker")


class Household:
    """One for a node; each process has its copy."""

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
        self.postmortem = Postmortem(app, options.hostname, self.meters)

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


def meaning_of(number: int) -> int:
    """SIGTERM means SIGQUIT where the environment says REMAP_SIGTERM=SIGQUIT: for those who send only TERM
    before they kill. SIGHUP means SIGTERM at a terminal, which says so that it is closed."""
    if number == signal.SIGHUP and sys.__stdout__ is not None and sys.__stdout__.isatty():
        number = signal.SIGTERM
    remapped = number == signal.SIGTERM and os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
    return signal.SIGQUIT if remapped else number
