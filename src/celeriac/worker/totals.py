"""How many runs of each task the children of a node have begun, in memory that outlives them.

page of one child, for each task: 8 bytes, a number
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence


class Totals:
    """Made before children are, from the names of the tasks in their order."""

    def __init__(self, names: Sequence[str], children: int, descriptor: int | None = None) -> None:
        self._names = names
        size = max(1, len(names)) * children * 8
        self.descriptor = os.memfd_create("celeriac-totals") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, size)
        self._numbers = memoryview(mmap.mmap(self.descriptor, size)).cast("q")
        #: Places that were ever taken; the parent counts them.
        self.taken = 0

    def take(self, index: int) -> None:
        """A child moves in there."""
        self.taken = max(self.taken, index + 1)

    def before(self, index: int) -> dict[str, int]:
        """What the children in this place have counted: the next one goes on from there."""
        page = self._page(index)
        return {name: page[place] for place, name in enumerate(self._names) if page[place]}

    def note(self, index: int, counted: Mapping[str, int]) -> None:
        """What it has counted until now."""
        page = self._page(index)
        for place, name in enumerate(self._names):
            number = counted.get(name, 0)
            if number:
                page[place] = number

    def all(self) -> dict[str, int]:
        """Of all places together; tasks that never ran are left out."""
        sums = {
            name: sum(self._page(index)[place] for index in range(self.taken))
            for place, name in enumerate(self._names)
        }
        return {name: number for name, number in sums.items() if number}

    def _page(self, index: int) -> memoryview[int]:
        start = index * len(self._names)
        return self._numbers[start : start + len(self._names)]
