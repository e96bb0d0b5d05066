"""The one door between a child and the store: claims come in, outcomes go out, in turns."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NoReturn

from celeriac import signals
from celeriac.exceptions import OperationalError
from celeriac.message import Claim, Fate, Outcome
from celeriac.ports import Broker
from celeriac.sending import tell_after

#: Seconds between tries while the store is away, from the first to the longest.
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)


class Intake:
    """The claims that a child has not begun, and the outcomes that the store has not heard of.

    The runner takes claims from the left, whoever gives back takes them from the right, so that none is both
    run and returned.
    """

    def __init__(
        self,
        broker: Broker,
        owner: str,
        *,
        lost: Callable[[OperationalError], None],
        found: Callable[[], None],
    ) -> None:
        self.broker = broker
        self.owner = owner
        self._lost = lost
        self._found = found
        self._lock = Lock()
        #: Held while claims move to the outcomes: a turn that saw half of it would claim past the rest.
        self._moving = Lock()
        self._waiting: deque[Claim] = deque()
        self._outcomes: list[Outcome] = []
        #: In a process that a task forked, the thread or greenlet that forked it; 0 in the worker itself.
        self.forker = 0
        _doors.add(self)
        #: To be served from the next turn on.
        self._queues: Sequence[str] | None = None
        self._tries = 0
        #: Monotonic seconds before which the store is not asked again.
        self._retry_at = 0.0

    def serve(self, queues: Sequence[str]) -> None:
        """Claim from these queues from now on. From any thread."""
        self._queues = queues
        self.broker.wake()

    def take(self) -> Claim | None:
        """The next claim to run."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def done(self, outcome: Outcome) -> None:
        """To be settled with the next turn. From any thread."""
        if self.forker:
            _step_aside(self.forker)
        self._outcomes.append(outcome)

    def done_early(self, number: int) -> bool:
        """Mark a claim as begun in the store, before it runs, so that it never runs again. False if the store
        is away."""
        self._outcomes.append(Outcome(number, Fate.BEGUN))
        return self.turn()

    @property
    def waiting(self) -> int:
        """Claims that nobody has begun."""
        return len(self._waiting)

    @property
    def last(self) -> int:
        """The number of the last of these."""
        try:
            return self._waiting[-1].number
        except IndexError:
            return 0

    @property
    def unsettled(self) -> int:
        """Outcomes that the store has not heard of."""
        return len(self._outcomes)

    def turn(self, want: int = 0, wait: float = 0.0) -> bool:
        """Settle what is done and claim what is wanted. False if the store is away: nothing is lost, call
        again.

        Raises Fenced when the store has given our claims to somebody else.
        """
        if self.forker:
            _step_aside(self.forker)
        with self._lock:
            pause = self._retry_at - time.monotonic()
            if pause > 0:
                if not want:
                    return False
                time.sleep(min(pause, wait))
            with self._moving:
                outcomes = self._outcomes[:]
            if self._queues is not None:
                queues, self._queues = self._queues, None
                self.broker.consume(queues)
            try:
                claims = self.broker.turn(self.owner, outcomes, want, wait)
            except OperationalError as error:
                if self.forker:
                    _step_aside(self.forker)
                self._retry_at = time.monotonic() + PAUSES[min(self._tries, len(PAUSES) - 1)]
                self._tries += 1
                self._lost(error)
                return False
            if self._tries:
                self._tries = 0
                self._found()
            del self._outcomes[: len(outcomes)]
            self._waiting.extend(claims)
        if signals.after_task_publish.receivers or signals.task_sent.receivers:
            _tell_sent(outcomes)
        return True

    def give_back(self) -> None:
        """Everything that has not begun goes back with the next turn."""
        with self._moving:
            returned = []
            with contextlib.suppress(IndexError):
                while True:
                    returned.append(Outcome(self._waiting.pop().number, Fate.GIVEN_BACK))
            # The first one first, which is how the store puts them back in their old order.
            self._outcomes += reversed(returned)


# --- forks ------------------------------------------------------------------------------------------------
# A process that a task forks inherits a whole worker, which must not act in it. Of threads only the one that
# forked lives on there; of greenlets all do, also the one at the door.

_doors: weakref.WeakSet[Intake] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for intake in list(_doors):
        intake.forker = threading.get_ident()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _step_aside(forker: int) -> NoReturn:
    """Nobody goes through a door that belongs to the parent."""
    if threading.get_ident() == forker:
        sys.stderr.write("worker: a process that a task forked came back from the task, and ends here\n")
        os._exit(0)
    while True:
        time.sleep(3600.0)


def _tell_sent(outcomes: Sequence[Outcome]) -> None:
    """Retries and callbacks are sent by the turn that settles their task."""
    for outcome in outcomes:
        for message in outcome.follow_ups:
            tell_after(message)
