"""The worker as an object: what receivers of its signals get as sender and `instance`."""

from __future__ import annotations

import os

import msgspec

from celeriac.app import Celery
from celeriac.worker.options import WorkerOptions


class Worker:
    """One node in its main process.

    @worker_ready.connect
    def greet(sender, **kwargs):
        sender.app.send_task("shop.warm_up")
    """

    def __init__(self, app: Celery, options: WorkerOptions) -> None:
        self.app = app
        self.options = options
        #: The node's name.
        self.hostname = options.hostname
        #: prefork, threads, gevent, asyncio or solo.
        self.pool = options.pool
        #: Tasks at a time, in all children together.
        self.concurrency = options.concurrency or 0
        #: What it serves. A receiver of celeryd_after_setup may add names.
        self.queues: list[str] = []
        self.pid = os.getpid()

    def said(self) -> dict[str, object]:
        """What it was asked to be, by the names of the command line."""
        return msgspec.structs.asdict(self.options) | self.options.own

    def __str__(self) -> str:
        return self.hostname

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname}>"
