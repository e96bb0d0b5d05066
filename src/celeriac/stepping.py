"""What `app.testing()` gives: queued tasks run step by step, here, by a clock that only the test moves.

    with app.testing() as stepper:
        remind.apply_async((7,), countdown=3600)
        assert stepper.run() == []              # nothing is due
        (ran,) = stepper.advance(3600)          # an hour passes at once
        assert (ran.name, ran.state) == ("shop.remind", "SUCCESS")

Only the words stand here; what runs the tasks is `celeriac.testing.stepper`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol, Self

import msgspec

from celeriac import states


class Queued(msgspec.Struct, frozen=True):
    """A call that waits."""

    id: str
    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    queue: str
    #: When it is due; None is now.
    eta: datetime | None = None
    priority: int = 0
    retries: int = 0


class Ran(msgspec.Struct, frozen=True):
    """A task that ran, and how it ended."""

    id: str
    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    queue: str
    #: SUCCESS, FAILURE, RETRY, REVOKED, REJECTED or IGNORED.
    state: str
    #: What it returned, or the exception that it raised.
    value: Any
    retries: int
    #: When, by the clock of the test.
    at: datetime

    @property
    def succeeded(self) -> bool:
        return self.state == states.SUCCESS


class Stepper(AbstractContextManager["Stepper"], AbstractAsyncContextManager["Stepper"], Protocol):
    """See the head of this file. Each method that runs tasks has a twin for coroutines, with an `a` in front:
    it runs `async def` tasks in the loop of the test."""

    @property
    def now(self) -> datetime:
        """The time by the clock of the test."""

    @property
    def ran(self) -> list[Ran]:
        """All that ran since the beginning, the first one first."""

    @property
    def foreign(self) -> list[Queued]:
        """Calls of tasks that this app does not know: they were sent, and are for other programs to run."""

    def waiting(self, queue: str | None = None) -> list[Queued]:
        """What was sent and has not run, the next one first; of all queues, or of this one."""

    def step(self) -> Ran | None:
        """Run the one task that is next; None if none is due."""

    def run(self) -> list[Ran]:
        """Run all that is due, and what it sends, until nothing is due."""

    def advance(self, seconds: float | timedelta) -> list[Ran]:
        """Let time pass. What falls due on the way runs at its moment."""

    def finish(self) -> list[Ran]:
        """Run everything: time passes until nothing waits any more."""

    def clear(self) -> None:
        """Forget what waits, and what ran."""

    async def astep(self) -> Ran | None: ...
    async def arun(self) -> list[Ran]: ...
    async def aadvance(self, seconds: float | timedelta) -> list[Ran]: ...
    async def afinish(self) -> list[Ran]: ...

    def __enter__(self) -> Self: ...
    async def __aenter__(self) -> Self: ...
