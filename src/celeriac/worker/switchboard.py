"""Answers remote control for a node: hears commands on the bus, obeys those that are meant for it, answers.

It lives in the supervisor's one loop, beside the lease, and not in a thread: a process with threads must not
fork. It does not wait, so children may be as busy as they like. Commands that users have written run in a
fork of their own.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from celeriac.exceptions import CeleriacError, OperationalError
from celeriac.logical import clock
from celeriac.panel import panel
from celeriac.patterns import matcher_of
from celeriac.polling import readable
from celeriac.ports import Bus, Listening
from celeriac.wire.broadcast import Answer, Command, pack_answer, unpack_command
from celeriac.wire.saferepr import safe_repr
from celeriac.worker.aside import in_a_fork
from celeriac.worker.commands import commands
from celeriac.worker.node import Node

#: Seconds for which an answer is kept for a client that may be gone.
KEEP = 60.0
#: Seconds until the next try while the store is away, and between two looks where nothing can be polled.
PAUSE, LOOK = 5.0, 5.0
#: Commands that are remembered, to obey none twice.
MEMORY = 1000

logger = logging.getLogger("celery.worker.control")


class Switchboard:
    """`fileno` is to be polled; `serve` does what is due."""

    def __init__(self, node: Node, aside: Callable[[Callable[[], object]], None] = in_a_fork) -> None:
        self._node = node
        self._aside = aside
        self._exchange = f"{node.app.conf.control_exchange}.pidbox"
        self._bus: Bus | None = None
        self._listening: Listening | None = None
        self._done: deque[str] = deque(maxlen=MEMORY)
        self._next = 0.0
        self._away = False

    def fileno(self) -> int | None:
        """What to poll for reading, if anything."""
        return self._listening.fileno() if self._listening is not None else None

    def serve(self) -> float:
        """Obey what was said; returns the seconds until it wants to be called again by itself."""
        if not self._has_heard():
            return max(0.0, self._next - time.monotonic())
        try:
            if self._listening is None:
                self._bus = self._node.app.bus
                self._listening = self._bus.listen([self._exchange])
            for _, payload in self._listening.hear():
                self._hear(payload)
            self._away = False
            self._next = time.monotonic() + LOOK
        except OperationalError as error:
            self._next = time.monotonic()
            if self._away:
                self._next += PAUSE
            else:
                # Perhaps only the connection was cut: a new one is tried at once.
                self._away = True
                logger.error("Remote control is away: %s", error)
        return max(0.0, self._next - time.monotonic())

    def stop(self) -> None:
        """May be called twice."""
        listening, self._listening = self._listening, None
        self._next = 0.0
        if listening is not None:
            listening.close()

    def _has_heard(self) -> bool:
        """Or it is time to look."""
        descriptor = self.fileno()
        if time.monotonic() >= self._next:
            return True
        return descriptor is not None and bool(readable(descriptor, seconds=0.0))

    def _hear(self, payload: bytes) -> None:
        try:
            command = unpack_command(payload)
        except CeleriacError as error:
            logger.error("Something on the channel of remote control is no command: %s", error)
            return
        clock.hear(command.clock)
        if not self._is_meant(command) or (command.tag and command.tag in self._done):
            return
        self._done.append(command.tag)
        if command.method in panel and command.method not in commands:
            self._aside(lambda: self._obey(command, panel[command.method], _Said(self._node)))
        else:
            self._obey(command, commands.get(command.method), self._node)

    def _is_meant(self, command: Command) -> bool:
        # Not when it expires, as for stock workers: the clock of who said it may be behind ours.
        name = self._node.hostname
        if command.pattern:
            try:
                return matcher_of(command.pattern, command.matcher)(name)
            except CeleriacError:
                return False
        return not command.destination or name in command.destination

    def _obey(self, command: Command, handler: Callable[..., Any] | None, state: Any) -> None:
        try:
            if handler is None:
                raise KeyError(command.method)
            value = handler(state, **command.arguments)
        except Exception as error:
            logger.exception("Remote control: %s failed", command.method)
            value = {"error": safe_repr(error)}
        if command.ticket is None or command.box is None:
            return
        answer = Answer(self._node.hostname, value, command.ticket, clock.tick())
        try:
            # Of this process: a fork that obeys opens its own.
            self._node.app.bus.answer(command.box, pack_answer(answer, command.box), KEEP)
        except OperationalError as error:
            logger.error("A command was obeyed, and its answer could not be sent: %s", error)


class _Said:
    """What a command of the user's gets as its `state`."""

    def __init__(self, node: Node) -> None:
        self.app = node.app
        self.hostname = node.hostname
        self.queues = node.queues
        self.node = node
        self.pid = os.getpid()
        #: Stock Celery's worker has more here; there is no such thing.
        self.consumer = None
        self.tset = set
