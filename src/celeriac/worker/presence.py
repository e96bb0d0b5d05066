"""What a node is to the world outside: it answers remote control, and tells monitors that it is there."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from typing import Any

from celeriac.events.dispatcher import EventDispatcher
from celeriac.events.event import Fields
from celeriac.exceptions import OperationalError
from celeriac.request import Request
from celeriac.version import __version__
from celeriac.wire.saferepr import safe_repr
from celeriac.worker.node import Node
from celeriac.worker.switchboard import Switchboard

#: Who we are to monitors; those that know only stock workers compare it.
SOFTWARE = "py-celeriac"
#: The part of its lease for which a node waits for a reply here: meanwhile the lease is not renewed.
LONGEST_WAIT = 0.125
#: Seconds for which a node tells nothing after the store was away.
PAUSE = 5.0
#: Seconds between two heartbeats that no monitor hears. One that comes asks all nodes for one, as stock
#: Celery's do; a stock one asks before it listens, so after that they stay frequent for as long.
UNHEARD = 20.0


class Presence:
    """One for a node, in its main process; `serve` is called by its loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        conf, options = node.app.conf, node.options
        self._switchboard = Switchboard(node) if conf.worker_enable_remote_control else None
        self._freq = 0.0 if options.without_heartbeat else options.heartbeat_interval
        self._dispatcher = EventDispatcher(
            app=node.app, hostname=node.hostname, pid=os.getpid(), buffer_while_offline=False
        )
        self._next_beat = 0.0
        #: Until when somebody who asked may begin to listen.
        self._awaited = 0.0
        self._online = False
        self._hurries = False

    def fileno(self) -> int | None:
        """What to poll for reading, if anything."""
        if self._switchboard is None or self._node.store_is_away:
            return None
        return self._switchboard.fileno()

    def serve(self) -> float:
        """Do what is due; returns the seconds until it wants to be called again by itself.

        While the store is away it does nothing: the lease asks for it, and one who waits for a silent server
        is enough.
        """
        if self._node.store_is_away:
            return PAUSE
        if not self._hurries:
            self._hurry()
        pause = float("inf") if self._switchboard is None else self._switchboard.serve()
        if self._freq:
            if time.monotonic() >= self._next_beat:
                self.beat()
            pause = min(pause, self._next_beat - time.monotonic())
        return max(0.0, pause)

    def beat(self) -> None:
        """Tell that it is there."""
        kind = "worker-heartbeat" if self._online else "worker-online"
        now = time.monotonic()
        if self._tell(kind):
            self._online = True
            somebody = self._dispatcher.heard or now < self._awaited
            pause = (self._freq or PAUSE) if somebody else max(self._freq, UNHEARD)
        else:
            pause = PAUSE
        self._next_beat = now + pause

    def answer_with_beat(self) -> None:
        """A monitor has come."""
        self._awaited = time.monotonic() + UNHEARD
        self.beat()

    def stop(self) -> None:
        """Tell that it goes; may be called twice."""
        if self._switchboard is not None:
            self._switchboard.stop()
        if self._online:
            self._online = False
            self._tell("worker-offline")

    def tell_of_lost(self, request: Request, error: BaseException) -> None:
        """A task of a child that died."""
        if self._is_told(request):
            self._say("task-failed", uuid=request.id, exception=safe_repr(error), traceback="")

    def tell_of_terminated(self, request: Request, signum: int) -> None:
        """A task that was ended because somebody wished it."""
        if self._is_told(request):
            self._say("task-revoked", uuid=request.id, terminated=True, signum=signum, expired=False)

    def _hurry(self) -> None:
        with contextlib.suppress(OperationalError):  # who needs the bus will tell of it
            self._node.app.bus.hurry(self._node.options.lease * LONGEST_WAIT)
            self._hurries = True

    def _is_told(self, request: Request) -> bool:
        task = self._node.app.tasks.get(request.task or "")
        return self._node.tells_events and (task is None or bool(task.send_events))

    def _tell(self, kind: str) -> bool:
        return self._say(kind, **self._facts())

    def _say(self, kind: str, **fields: Any) -> bool:
        if self._node.store_is_away:
            return False
        with contextlib.suppress(OperationalError):
            self._dispatcher.send(kind, **fields)
            return True
        return False

    def _facts(self) -> Fields:
        places = self._node.places()
        return {
            "freq": self._freq or 2.0,
            "active": sum(len(place.slot.running) for place in places),
            "processed": sum(self._node.totals.all().values()),
            "loadavg": [round(load, 2) for load in os.getloadavg()],
            "sw_ident": SOFTWARE,
            "sw_ver": __version__,
            "sw_sys": platform.system(),
        }
