"""The bus of `memory://name`: who listens has a line of its own, and who says something puts it there."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock

from celeriac.drivers.topics import matches
from celeriac.exceptions import OperationalError

#: What one who does not listen has not heard yet; older things are forgotten first.
LONGEST_LINE = 100_000


class Air:
    """What carries the words within this process."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.listening: list[MemoryListening] = []


class MemoryBus:
    """See `celeriac.ports.Bus`."""

    def __init__(self, air: Air) -> None:
        self._air = air
        self._closed = False

    def say(self, topic: str, payload: bytes) -> int:
        with self._open().lock:
            hearing = [one for one in self._air.listening if one.wants(topic)]
            for one in hearing:
                one.put(topic, payload)
        return len(hearing)

    def listen(self, topics: Sequence[str]) -> MemoryListening:
        return MemoryListening(self._open(), topics)

    def open_box(self, box: str) -> MemoryListening:
        return self.listen([box])

    def answer(self, box: str, payload: bytes, keep: float) -> None:
        self.say(box, payload)

    def hurry(self, longest: float) -> None:
        """Nothing to do: nothing here waits for somebody else."""

    def close(self) -> None:
        self._closed = True

    def _open(self) -> Air:
        if self._closed:
            raise OperationalError("This memory:// bus was closed before")
        return self._air


class MemoryListening:
    """See `celeriac.ports.Listening`."""

    def __init__(self, air: Air, topics: Sequence[str]) -> None:
        self._air = air
        self._topics = list(topics)
        self._line: deque[tuple[str, bytes]] = deque(maxlen=LONGEST_LINE)
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._closed = False
        with air.lock:
            air.listening.append(self)

    def wants(self, topic: str) -> bool:
        return any(matches(topic, wanted) for wanted in self._topics)

    def put(self, topic: str, payload: bytes) -> None:
        """Only under the lock of the air."""
        self._line.append((topic, payload))
        with suppress(BlockingIOError):  # full: it will look anyway
            os.write(self._writer, b"!")

    def fileno(self) -> int | None:
        return None if self._closed else self._reader

    def hear(self, wait: float = 0.0) -> list[tuple[str, bytes]]:
        if self._closed:
            raise OperationalError("This was closed before")
        if not self._line and wait > 0:
            select.select([self._reader], [], [], wait)
        with self._air.lock:
            with suppress(BlockingIOError):
                os.read(self._reader, 4096)
            heard = list(self._line)
            self._line.clear()
        return heard

    def close(self) -> None:
        with self._air.lock:
            if not self._closed:
                self._closed = True
                self._air.listening.remove(self)
                os.close(self._reader)
                os.close(self._writer)
