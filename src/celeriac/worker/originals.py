"""The functions of the operating system as they were before gevent patched them.

The parent of a gevent worker is patched too, since it imports the app. But its children are its own to wait
for: gevent's versions reap them behind our back and keep the signals to themselves.
"""

from __future__ import annotations

import os
import signal
import sys
from types import ModuleType
from typing import Any


def original(module: ModuleType, name: str) -> Any:
    """The function of that name before it was patched."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return getattr(module, name)
    return monkey.get_original(module.__name__, name)


def fork() -> int:
    """Fork; under gevent the child's event loop is made anew."""
    if "gevent.monkey" not in sys.modules:
        return os.fork()
    pid: int = original(os, "fork")()
    if not pid:
        sys.modules["gevent"].reinit()
    return pid


def wait_for(pid: int) -> tuple[int, int]:
    """(pid, status) of a child that has ended, (0, 0) while it lives."""
    ended: tuple[int, int] = original(os, "waitpid")(pid, os.WNOHANG)
    return ended


def handle(number: int, handler: Any) -> Any:
    """Set a signal's handler; returns the one before."""
    return original(signal, "signal")(number, handler)
