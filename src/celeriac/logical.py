"""A clock that never runs back and orders what processes say: milliseconds, or one more than the last.

Stock Celery counts here what each process has sent and heard. Ours is greater than any such count, so a stock
process that hears of it goes on from there; and what two processes say is in the right order although they
have never heard of each other.
"""

from __future__ import annotations

import threading
import time

#: What says a later time is no clock of anybody's; JSON of 64 bits carries what comes before.
LATEST = 1 << 62


class LogicalClock:
    """`tick` for what is said, `hear` for what was heard."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    @property
    def value(self) -> int:
        """What was said or heard last."""
        return self._last

    def tick(self) -> int:
        """The time of something that is said now."""
        now = int(time.time() * 1000)
        with self._lock:
            self._last = max(self._last + 1, now)
            return self._last

    def hear(self, other: object) -> None:
        """Be later than what somebody else has said."""
        if isinstance(other, int) and other < LATEST:
            with self._lock:
                self._last = max(self._last, other)

    def part_from_parent(self) -> None:
        """In a fork: whoever held the lock is not here."""
        self._lock = threading.Lock()


#: Of this process.
clock = LogicalClock()
