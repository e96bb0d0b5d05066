"""What waits in a child behind a task that holds the interpreter in C goes to others: its own watchdog cannot
run then, so its parent looks.

The parent writes into the slot which claims the child must not begin any more, and only then reads how far
it has come; the child writes which claim it begins, and only then reads what it may. So a claim that the
parent takes back is never begun, whenever the task lets go.
"""

from __future__ import annotations

import logging
import time

from celeriac.exceptions import OperationalError
from celeriac.ports import Broker
from celeriac.worker.slots import Slot

#: Seconds between two looks at a child in which something waits, and at one in which nothing does. The sum is
#: how long a claim may wait for a task that lets nobody else run.
SOON, SELDOM = 0.25, 1.0
#: Seconds after which what one process has written is seen by another, on every machine.
SEEN = 0.001

logger = logging.getLogger("celery.worker")


class Relief:
    """Looks at one child."""

    def __init__(self, owner: str, slot: Slot) -> None:
        self._owner = owner
        self._slot = slot
        #: What the last look saw: the last claim that had begun and the last that waited.
        self._seen = (0, 0)
        #: All up to this number went to others.
        self._gone = 0
        #: Monotonic seconds.
        self._next_look = 0.0

    def look(self, broker: Broker) -> float:
        """Do what is due; returns the seconds until the next look."""
        now = time.monotonic()
        if now < self._next_look:
            return self._next_look - now
        slot = self._slot
        seen, self._seen = self._seen, (slot.begun, slot.waiting)
        begun, waiting = self._seen
        if waiting <= max(begun, self._gone):
            pause = SELDOM
        else:
            pause = SOON
            if seen == self._seen:
                self._take_back(broker, begun, waiting)
        self._next_look = now + pause
        return pause

    def _take_back(self, broker: Broker, begun: int, waiting: int) -> None:
        slot = self._slot
        slot.barred = begun + 1
        time.sleep(SEEN)
        try:
            count = broker.relieve(self._owner, slot.begun, waiting)
        except OperationalError:
            return  # the next look tries again
        self._gone = waiting
        if count:
            logger.warning("%d message(s) go to others: the task before them lets nothing else run", count)
