"""The functions of the operating system as they were before gevent patched them.

The parent of a gevent worker is patched too, since it imports the app. But its children are its own to wait
for: gevent's versions reap them behind our back and keep the signals to themselves.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, ModuleType
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
    if number == signal.SIGCHLD and "gevent.monkey" in sys.modules:
        # It takes its own handler for the one that is set, and would not set it again when a task starts a
        # program: then nobody would notice that program's end.
        sys.modules["gevent"].get_hub().loop.reset_sigchld()
    return original(signal, "signal")(number, handler)


def handle_here(number: int, handler: Callable[[int, FrameType | None], None]) -> Any:
    """As `handle`, but for this process alone: one that a task forks from it ends by the signal like any
    other."""
    here = os.getpid()

    def act(number: int, frame: FrameType | None) -> None:
        if os.getpid() == here:
            handler(number, frame)
        else:
            handle(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    return handle(number, act)
