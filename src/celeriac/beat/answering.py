"""A scheduler answers `inspect ping`, as long as it ticks: for those who watch whether it lives.

Off unless `beat_enable_remote_control` says so: it costs a thread and a connection.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from celeriac.app import Celery
from celeriac.exceptions import CeleriacError, OperationalError
from celeriac.logical import clock
from celeriac.patterns import matcher_of
from celeriac.ports import Listening
from celeriac.wire.broadcast import Answer, Command, pack_answer, unpack_command

#: Seconds for which an answer is kept for a client that may be gone.
KEEP = 60.0
#: Seconds between two looks at whether it shall end, and until the next try while the store is away.
LOOK, PAUSE = 0.5, 1.0

logger = logging.getLogger("celery.beat")


class Answering:
    """A thread beside the ticks; it answers nothing once they are stuck."""

    def __init__(self, app: Celery, hostname: str, is_stale: Callable[[], bool]) -> None:
        self._app = app
        self._hostname = hostname
        self._is_stale = is_stale
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="celeriac-beat-control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """May be called twice."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(2 * LOOK)

    def _run(self) -> None:
        exchange = f"{self._app.conf.control_exchange}.pidbox"
        listening: Listening | None = None
        while not self._over.is_set():
            try:
                if listening is None:
                    listening = self._app.bus.listen([exchange])
                    logger.debug("beat: answers remote control as %s", self._hostname)
                for _, payload in listening.hear(LOOK):
                    self._hear(payload)
            except OperationalError as error:
                logger.error("beat: remote control is away: %s", error)
                self._over.wait(PAUSE)
        if listening is not None:
            listening.close()

    def _hear(self, payload: bytes) -> None:
        try:
            command = unpack_command(payload)
        except CeleriacError:
            return  # workers say what is wrong with it
        clock.hear(command.clock)
        if command.method != "ping" or not self._is_meant(command) or self._is_stale():
            return
        if command.ticket is not None and command.box is not None:
            answer = Answer(self._hostname, {"ok": "pong"}, command.ticket, clock.tick())
            self._app.bus.answer(command.box, pack_answer(answer, command.box), KEEP)

    def _is_meant(self, command: Command) -> bool:
        if command.expires is not None and time.time() > command.expires:
            return False
        if command.pattern:
            try:
                return matcher_of(command.pattern, command.matcher)(self._hostname)
            except CeleriacError:
                return False
        return not command.destination or self._hostname in command.destination
