"""What the rooms of a child are to it: somewhere to put a job, and word when it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from celeriac.exceptions import WorkerShutdown, WorkerTerminate
from celeriac.message import Outcome
from celeriac.worker.execute import Job

#: What a task may raise to end its worker.
WISHES = (WorkerShutdown, WorkerTerminate)
Wish = WorkerShutdown | WorkerTerminate

#: Told from the room's own thread, greenlet or loop when a job is over: how it ended, or the wish that it
#: raised.
Finished = Callable[[Job, Outcome | Wish], None]


def run(job: Job) -> Outcome | Wish:
    """Run a plain job to its end: a wish ends the worker and not the room."""
    try:
        return job.run()
    except WISHES as wish:
        return wish


class Runner(Protocol):
    """k rooms; `submit` is only called while `free` says so, by one thread."""

    def start(self) -> None:
        """Open the rooms."""

    def free(self) -> int:
        """How many rooms are empty."""

    def submit(self, job: Job) -> None:
        """Run it in an empty room; returns at once."""

    def interrupt(self, job: Job, error: type[BaseException]) -> None:
        """Raise the error in the task that this job runs, if it still runs."""

    def stop(self) -> None:
        """Close the rooms; what runs is not waited for."""
