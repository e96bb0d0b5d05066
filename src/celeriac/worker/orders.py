"""What a child is told from above, as words on a line, and how it obeys.

["stop"]                          begin nothing more, end when what runs is done
["queues", [name, ...]]           serve these
["rate", task, rate limit]
["limits", task, soft, hard]
["events", on, pid of the node]   tell monitors of each task, or no longer
["distrust"]                      connect to the store anew: what is open may be dead
["stacks"]                        log where coroutines and greenlets stand
["strike", claim number]          end this one, if it still runs (where no process can be killed for it)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from celeriac.app import Celery
from celeriac.worker import stacks
from celeriac.worker.child import Child, Life

logger = logging.getLogger("celery.worker")


def packed(*order: Any) -> bytes:
    """An order as it goes down the pipe."""
    return msgspec.json.encode(order) + b"\n"


STOP = packed("stop")
DISTRUST = packed("distrust")
STACKS = packed("stacks")


class Obedience:
    """Obeys orders in the process of a child, on the thread that hears them."""

    def __init__(self, app: Celery, child: Child, life: Life, tell: Callable[[bool, int], None]) -> None:
        self._app = app
        self._child = child
        self._life = life
        #: Turns the events on or off.
        self._tell = tell

    def obey(self, line: bytes) -> None:
        """One order. A strange one is told of, and the child goes on."""
        try:
            self.do(*msgspec.json.decode(line))
        except Exception:
            logger.exception("A child could not do what it was told: %r", line)

    def do(self, order: str, *said: Any) -> None:
        if order == "stop":
            self._child.stop()
        elif order == "stacks":
            stacks.tell_tasks()
        elif order == "distrust":
            self._life.broker.distrust()
        elif order == "queues":
            self._life.intake.serve(said[0])
        elif order == "rate":
            self._app.tasks[said[0]].rate_limit = said[1]
        elif order == "limits":
            set_limits(self._app, *said)
        elif order == "events":
            self._tell(*said)
        elif order == "strike":
            self._child.strike(said[0])


def set_limits(app: Celery, name: str, soft: float | None, hard: float | None) -> None:
    """Other time limits for runs that begin from now on."""
    task = app.tasks[name]
    task.soft_time_limit, task.time_limit = soft, hard
