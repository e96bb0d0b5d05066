"""How many children a node should have, by what waits and by how many of them are busy.

It grows as soon as work waits that nobody has a hand for: all children are busy, or the first message has
been waiting too long. It shrinks to the most children that were busy at once in the last while, and then only
idle ones go. Pure: numbers come in, a number goes out.
"""

from __future__ import annotations

import os
from collections import deque

#: Seconds between two looks.
LOOK = 1.0
#: Seconds of waiting after which the children are too few, whatever they look like just now.
PATIENCE = 2.0
#: Seconds without need after which a child goes.
KEEP = float(os.environ.get("AUTOSCALE_KEEPALIVE") or 30)


class Autoscaler:
    """For one node; `least` to `most` children, both of which may be changed at any time."""

    def __init__(self, most: int, least: int, keep: float = KEEP) -> None:
        self.most = most
        self.least = least
        self._keep = keep
        #: (when, how many were busy), falling: the first is the most in the last while.
        self._peaks: deque[tuple[float, int]] = deque()
        #: When it looked for the first time.
        self._since: float | None = None

    def update(self, most: int | None = None, least: int | None = None) -> tuple[int, int]:
        """Other bounds, from now on; returns both."""
        self.most = self.most if most is None else most
        self.least = min(self.least if least is None else least, self.most)
        return self.most, self.least

    def change(self, size: int, busy: int, ready: int, age: float, now: float) -> int:
        """By how many children to grow, or (below 0) to shrink.

        `size` children there are, `busy` of which run something; `ready` messages wait, the first for `age`
        seconds. `now` in seconds from anywhere.
        """
        self._note(busy if not ready else size, now)
        least, most = max(self.least, 1), max(self.most, self.least, 1)
        if size < least:
            return least - size
        if size > most:
            return most - size
        if ready and (busy >= size or age >= PATIENCE):
            # Doubled at most: a burst that is over in a second shall not start hundreds of processes.
            return min(most - size, ready, max(size, 1))
        needed = max(least, self._peaks[0][1])
        if needed < size and self._since is not None and now - self._since >= self._keep:
            return needed - size
        return 0

    def _note(self, busy: int, now: float) -> None:
        if self._since is None:
            self._since = now
        while self._peaks and self._peaks[-1][1] <= busy:
            self._peaks.pop()
        self._peaks.append((now, busy))
        while self._peaks[0][0] < now - self._keep:
            self._peaks.popleft()
