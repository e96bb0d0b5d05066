"""Code of the user that is run beside our own work, in a process where it can hold up and break nothing."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

from celeriac.worker import originals

_log = logging.getLogger("celery.app.trace")

#: Seconds that it may take: nobody watches that process.
LIMIT = 300


def at_once(work: Callable[[], object]) -> None:
    work()


def in_a_fork(work: Callable[[], object]) -> None:
    """Run code of the user in a process of its own, which nobody waits for: whatever it does, we go on."""
    # Not gevent's versions, which would take the deaths of our children from us from then on.
    try:
        child = originals.fork()
    except OSError as error:
        _log.error("code that wanted to be run beside the worker is left out: %s", error)
        return
    if child:
        originals.original(os, "waitpid")(child, 0)
        return
    # A grandchild does the work: its end is nothing that we have to reap.
    try:
        if originals.fork() == 0:
            _forget_signals()
            signal.alarm(LIMIT)
            work()
    except BaseException:
        _log.exception("code of the app that is run beside the worker failed")
    finally:
        os._exit(0)


def _forget_signals() -> None:
    # Ctrl-C reaches every process of the terminal, and the supervisor's handler must not count it twice.
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
