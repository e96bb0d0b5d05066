"""The functions of the operating system as they were before gevent patched them.

The parent of a gevent worker is patched too, since it imports the app. But its children are its own to wait
for: gevent's versions reap them behind our back and keep the signals to themselves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Container
from types import FrameType, ModuleType
from typing import Any

#: Seconds in which a process halts, if it does not stand still in the kernel anyway.
HALTING = 1.0


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


def spawn(program: str, arguments: list[str], environment: dict[str, str], **options: Any) -> int:
    """As os.posix_spawn; subprocess too would leave the child to gevent."""
    # Python ignores these two; a program that is started expects them as they were, as subprocess gives them.
    options["setsigdef"] = [signal.SIGPIPE, signal.SIGXFSZ]
    pid: int = original(os, "posix_spawn")(program, arguments, environment, **options)
    return pid


def wait_for(pid: int) -> tuple[int, int]:
    """(pid, status) of a child that has ended, (0, 0) while it lives."""
    ended: tuple[int, int] = original(os, "waitpid")(pid, os.WNOHANG)
    return ended


def halt(pid: int) -> None:
    """SIGSTOP, and wait until it has taken hold of all threads of this child: on another processor it goes on
    for a moment after the signal was sent."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + HALTING
    with contextlib.suppress(ChildProcessError):
        while os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() > deadline:
                return
            original(time, "sleep")(0.0001)


def reap_strangers(known: Container[int]) -> None:
    """Wait for all that have ended but those: process 1 of a container is made the parent of what tasks leave
    behind, and nobody else can."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in known:
            return
        original(os, "waitpid")(ended.si_pid, 0)


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
    if not _handled_here:
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_forget)
    _handled_here.add(number)
    return handle(number, handler)


#: Signals that `handle_here` was asked for.
_handled_here: set[int] = set()
_fork = threading.local()


def _block() -> None:
    # A signal that reached the fork before it forgot our handlers would be lost: multiprocessing's Pool
    # ends its workers that early and waits for them.
    _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _handled_here)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _fork.mask)


def _forget() -> None:
    for number in _handled_here:
        handle(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _unblock()
