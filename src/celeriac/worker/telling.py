"""Whether a child tells monitors of its tasks. What does so is loaded when somebody first wants it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from celeriac.app import Celery
from celeriac.worker.slots import Slot


class Telling:
    """Turned on and off by the node."""

    def __init__(self, app: Celery, hostname: str, pid: int, slot: Slot) -> None:
        self._named = (app, hostname, pid, slot)
        self._announcer: Any = None

    def turn(self, on: bool, *_more: object) -> None:
        """From any thread."""
        if on and self._announcer is None:
            self._announcer = import_module("celeriac.worker.announcer").Announcer(*self._named)
        if self._announcer is not None:
            (self._announcer.start if on else self._announcer.stop)()
