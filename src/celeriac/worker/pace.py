"""How many messages a child may claim ahead: as many as it will finish in a few milliseconds, and one if it
does not know."""

from __future__ import annotations

#: Seconds of expected work that a child claims ahead (law 7 of delivery). Less than child.PATIENCE, so that a
#: batch that takes as long as was thought is settled with the next one, and not also in between.
AHEAD = 0.004
#: However quick the tasks are: more would only make the store's steps long.
MOST = 256
#: How fast an estimate falls when tasks turn out quicker; it rises at once.
_FALL = 0.3


class Pace:
    """The estimate of one child: seconds a message, learnt from what it ran."""

    def __init__(self, ahead: float = AHEAD) -> None:
        self._ahead = ahead
        self._estimate = ahead
        self._last = 1

    def ran(self, seconds: float, messages: int) -> None:
        """So many messages took so long."""
        each = seconds / messages
        if each >= self._estimate:
            self._estimate = each
        else:
            self._estimate += _FALL * (each - self._estimate)

    def want(self) -> int:
        """How many to claim now. At most twice as many as last time: one quick task does not make a quick
        queue."""
        fitting = int(self._ahead / self._estimate) if self._estimate > 0 else MOST
        self._last = max(1, min(fitting, 2 * self._last, MOST))
        return self._last
