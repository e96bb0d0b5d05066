"""Tells monitors what becomes of the tasks of one child, while somebody wants to know.

It listens to the signals around a task, so that where nobody wants to know it costs nothing at all. What it
has to tell it gathers, and a thread of its own sends it, a few milliseconds later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from celeriac import request, signals
from celeriac.app import Celery
from celeriac.events.dispatcher import EventDispatcher
from celeriac.events.event import Fields
from celeriac.exceptions import Reject
from celeriac.request import Request
from celeriac.signals import Signal
from celeriac.wire.saferepr import safe_repr
from celeriac.worker.slots import Slot

#: Seconds for which events are gathered before they are sent together.
GATHER = 0.02
#: Seconds until the next try while the store is away.
PAUSE = 1.0


class Announcer:
    """`start` and `stop` as often as you like."""

    def __init__(self, app: Celery, hostname: str, pid: int, slot: Slot | None = None) -> None:
        self._app = app
        self._slot = slot
        self._dispatcher = EventDispatcher(
            app=app, hostname=hostname, pid=pid, buffer_group={"task"}, buffer_limit=1_000_000
        )
        self._news = threading.Event()
        self._over = True
        self._thread: threading.Thread | None = None
        self._receivers: list[tuple[Signal, Callable[..., None]]] = [
            (signals.task_received, self._received),
            (signals.task_prerun, self._started),
            (signals.task_success, self._succeeded),
            (signals.task_failure, self._failed),
            (signals.task_retry, self._retried),
            (signals.task_revoked, self._revoked),
            (signals.task_rejected, self._rejected),
        ]

    def start(self) -> None:
        """Tell from now on."""
        if not self._over:
            return
        self._over = False
        for signal, receiver in self._receivers:
            signal.connect(receiver, weak=False)
        self._thread = threading.Thread(target=self._send, name="celeriac-events", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Tell what there is to tell yet, and no more."""
        if self._over:
            return
        self._over = True
        for signal, receiver in self._receivers:
            signal.disconnect(receiver)
        self._news.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def tell(self, type: str, **fields: Any) -> None:
        """Something that no signal tells."""
        self._dispatcher.send(type, **fields)
        self._news.set()

    def _send(self) -> None:
        while not self._over:
            self._news.wait()
            if not self._over:
                time.sleep(GATHER)
            self._news.clear()
            lost = self._dispatcher.lost
            self._dispatcher.flush()
            if self._dispatcher.lost > lost and self._slot is not None:
                self._slot.events_lost = self._dispatcher.lost
            if self._dispatcher.waiting and not self._over:
                time.sleep(PAUSE)
                self._news.set()

    # -- receivers

    def _received(self, request: Request, **_named: Any) -> None:
        if _is_told(self._app.tasks.get(request.task or "")):
            self.tell("task-received", **received(request))

    def _started(self, sender: Any, task_id: str, **_named: Any) -> None:
        self._task("task-started", sender, task_id)

    def _succeeded(self, sender: Any, result: Any, runtime: float = 0.0, **_named: Any) -> None:
        made = request.current()
        if made is not None:
            self._task("task-succeeded", sender, made.id, result=safe_repr(result), runtime=runtime)

    def _failed(
        self, sender: Any, task_id: str, exception: BaseException, einfo: Any = None, **_named: Any
    ) -> None:
        traceback = "" if einfo is None else str(einfo.traceback)
        self._task("task-failed", sender, task_id, exception=safe_repr(exception), traceback=traceback)

    def _retried(self, sender: Any, request: Request, reason: Any, einfo: Any = None, **_named: Any) -> None:
        cause = getattr(reason, "exc", None) or reason
        traceback = "" if einfo is None else str(einfo.traceback)
        self._task("task-retried", sender, request.id, exception=safe_repr(cause), traceback=traceback)

    def _revoked(
        self, sender: Any, request: Request, terminated: bool, signum: object, expired: bool, **_named: Any
    ) -> None:
        told = {"terminated": terminated, "signum": signum, "expired": expired}
        self._task("task-revoked", sender, request.id, **told)

    def _rejected(self, message: Any, exc: BaseException, **_named: Any) -> None:
        id = getattr(message, "id", None)
        if id is not None:
            requeue = bool(exc.requeue) if isinstance(exc, Reject) else False
            self._task("task-rejected", self._app.tasks.get(message.name), id, requeue=requeue)

    def _task(self, type: str, task: Any, id: str | None, **fields: Any) -> None:
        if _is_told(task):
            self.tell(type, uuid=id, **fields)


def _is_told(task: Any) -> bool:
    """Nobody but its author knows that a task is of no interest; one that is not known here is told of."""
    return task is None or bool(task.send_events)


def received(made: Request) -> Fields:
    """What the first event of a task tells."""
    return {
        "uuid": made.id,
        "name": made.task,
        "args": made.argsrepr,
        "kwargs": made.kwargsrepr,
        "root_id": made.root_id,
        "parent_id": made.parent_id,
        "retries": made.retries,
        "eta": made.eta,
        "expires": made.expires,
    }
