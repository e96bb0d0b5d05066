"""A process of a node beside its children: it is forked, started anew when it dies, and ends with the node.

What it does would hold up the supervisor, which has one thread and runs nothing but its loop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from celeriac.worker import originals
from celeriac.worker.log import name_process

#: Seconds that one may take to end before it is killed.
PATIENCE = 2.0
#: What these mean is for the parent to decide, also where a whole group of processes is sent them.
LEFT_TO_THE_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)

logger = logging.getLogger("celery.worker")


class Companion(ABC):
    """In the parent: the process as somebody who can be started, tended and stopped."""

    #: What it is, for who reads the log: "The <title> (pid 7) has died ..."
    title: ClassVar[str]
    #: The name of its process in the log.
    process_name: ClassVar[str]
    #: The signal that asks it to end.
    ended_by: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self) -> None:
        self._pid = 0

    @property
    def pid(self) -> int:
        """Of the process; 0 before its start and after its end."""
        return self._pid

    def start(self, to_close: Sequence[int] = ()) -> None:
        """Fork the process; `to_close` are descriptors that it must not keep."""
        parent = os.getpid()
        self._pid = originals.fork()
        if self._pid:
            return
        try:
            for descriptor in to_close:
                os.close(descriptor)
            for number in LEFT_TO_THE_PARENT:
                originals.handle(number, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)
            name_process(self.process_name)
            self.live(lambda: os.getppid() != parent)
        except BaseException:  # the last frame of this process
            traceback.print_exc()
        finally:
            os._exit(0)

    def tend(self, to_close: Sequence[int]) -> None:
        """Start it anew if it has died."""
        if self._pid and originals.wait_for(self._pid)[0]:
            logger.error("The %s (pid %d) has died and is started anew", self.title, self._pid)
            self.start(to_close)

    def stop(self) -> None:
        """May be called twice, and before the start."""
        pid, self._pid = self._pid, 0
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, self.ended_by)
            deadline = time.monotonic() + PATIENCE
            while not originals.wait_for(pid)[0]:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)

    @abstractmethod
    def live(self, is_orphan: Callable[[], bool]) -> None:
        """All that the process does; it returns when it is an orphan, or was asked to end."""
