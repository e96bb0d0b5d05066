"""What programs import from billiard: for environments in which it is not installed."""

from __future__ import annotations

from multiprocessing import Pool, Process, cpu_count, current_process
from typing import Any

from celeriac import signals
from celeriac.einfo import ExceptionInfo
from celeriac.exceptions import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded, WorkerLostError

__all__ = [
    "VERSION",
    "ExceptionInfo",
    "ExceptionWithTraceback",
    "Pool",
    "Process",
    "SoftTimeLimitExceeded",
    "Terminated",
    "TimeLimitExceeded",
    "Worker",
    "WorkerLostError",
    "cpu_count",
    "current_process",
]

#: The billiard whose names these are.
VERSION = (4, 3, 2)


class ExceptionWithTraceback(Exception):
    """An exception on its way between processes; ours travel by other means, so there never is one."""

    exc: BaseException | None = None


class Worker:
    """Who wraps its loop wants to do something at each child's end: error trackers send what they hold."""

    def workloop(self, *_: Any, **__: Any) -> None:
        """Nothing: our children have their own."""


_loop = Worker.workloop


@signals.worker_process_shutdown.connect(weak=False)
def _end(**_: Any) -> None:
    if Worker.workloop is not _loop:
        Worker().workloop()
