"""How long a storm or a trial goes on: for some seconds, or until so much of something is done."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

#: Seconds between two words about how far it is.
EVERY = 60.0


class Full(NamedTuple):
    """The length that an issue or a promise asks for: 50,000 tasks, 200 faults, 600 seconds."""

    size: int
    of: str = "tasks"


class Length:
    """Ask `lasts` before each step; it counts from the first question and tells each minute how far it is."""

    def __init__(self, seconds: float = math.inf, size: float = math.inf, of: str = "tasks") -> None:
        self.seconds = seconds
        self.size = size
        self.of = of
        self._began = 0.0
        self._told = 0.0

    def __str__(self) -> str:
        words = [f"{self.size:,} {self.of}"] if self.size < math.inf else []
        words += [f"{self.seconds:.0f} s"] if self.seconds < math.inf else []
        return ", or ".join(words)

    def lasts(self, count: int, reserve: float = 0.0) -> bool:
        """Whether to go on, with so much done and so many seconds kept for what follows."""
        now = time.monotonic()
        self._began = self._began or now
        self._told = self._told or now
        if now - self._told > EVERY:
            self._told = now
            print(f"    {count:,} {self.of} after {(now - self._began) / 60:.0f} min", flush=True)
        if count >= self.size:
            return False
        return self.seconds == math.inf or now - self._began < self.seconds - reserve


def full(of: Full) -> Length:
    """All of it, however long that takes."""
    return Length(seconds=of.size) if of.of == "seconds" else Length(size=of.size, of=of.of)


def within(seconds: float, of: Full) -> Length:
    """As much of it as fits."""
    return Length(seconds) if of.of == "seconds" else Length(seconds, of.size, of.of)
