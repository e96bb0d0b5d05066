"""Where every thread of every child stands: asked for by SIGUSR1, written by C code into shared memory.

Python's own handlers wait until the task lets them; `faulthandler` writes at once, also while a task holds
the GIL. The supervisor gathers what was written and logs it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable

#: Asks a child; tasks use signals that have names.
ASK = signal.SIGRTMIN + 1
#: Seconds until a silent child is given up on, and for which a text must not have grown to be whole.
PATIENCE, QUIET = 3.0, 0.1

logger = logging.getLogger("celery.worker")


def listen(descriptor: int) -> None:
    """In a child: on ASK write the stacks of all threads to `descriptor`."""
    faulthandler.register(ASK, file=descriptor, all_threads=True, chain=False)


def open_sheet() -> int:
    """A descriptor for one child to write to."""
    return os.memfd_create("celeriac-stacks")


def here() -> str:
    """The stacks of all threads of this process."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread {names.get(ident, '?')} ({ident}):\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    )


class Inquiry:
    """One question to some children, and their answers as they come."""

    def __init__(self, asked: Iterable[tuple[str, int, int]]) -> None:
        """`asked`: (name, pid, descriptor) of each."""
        self._until = time.monotonic() + PATIENCE
        #: Descriptor -> (name, pid, length when last looked at).
        self._open: dict[int, tuple[str, int, int]] = {}
        for name, pid, descriptor in asked:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            self._open[descriptor] = (name, pid, 0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, ASK)

    def gather(self) -> bool:
        """Log the answers that are there; to be called every QUIET seconds as long as it returns True."""
        for descriptor, (name, pid, before) in list(self._open.items()):
            try:
                length = os.fstat(descriptor).st_size
            except OSError:  # the child has died and its sheet is closed
                del self._open[descriptor]
                continue
            if length and length == before:
                text = os.pread(descriptor, length, 0).decode(errors="replace")
                logger.warning("Stacks of %s (pid %d), the newest call first:\n%s", name, pid, text)
                del self._open[descriptor]
            elif not length and time.monotonic() >= self._until:
                logger.warning("%s (pid %d) does not answer: is it stopped?", name, pid)
                del self._open[descriptor]
            else:
                self._open[descriptor] = (name, pid, length)
        return bool(self._open)
