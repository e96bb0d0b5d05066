"""Rate limits of a node: when each task may begin next, on a page of memory that all children share.

A task that may not begin yet goes back to the store until its turn, so it holds no room, and what stands
behind it in the queue goes on. Each gets a moment of its own, one after the other: it returns once, when it
may run, and not again and again. Who comes by just then may take its place; it is given a new one.

page of one task, two numbers of 8 bytes: epoch seconds before which none may begin; the last moment promised
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
from array import array
from collections.abc import Iterable, Iterator

#: Bytes: the two numbers.
_PAGE = 16
#: Seconds of lateness that do not count: a task that begins a little after its moment must not make all
#: those after it late, which would then miss their moments.
_LATE = 0.25


class Limits:
    """See the head of this file. Made before children are, from the names of the tasks in their order."""

    def __init__(self, names: Iterable[str], descriptor: int | None = None) -> None:
        self._places = {name: place for place, name in enumerate(names)}
        #: Of the shared memory; -1 when closed.
        self.descriptor = os.memfd_create("celeriac-limits") if descriptor is None else descriptor
        size = max(1, len(self._places)) * _PAGE
        if descriptor is None:
            os.ftruncate(self.descriptor, size)
        self._moments = memoryview(mmap.mmap(self.descriptor, size)).cast("d")
        self._own: dict[str, memoryview[float]] = {}
        #: The lock of the file is one between processes only.
        self._lock = threading.Lock()

    def admit(self, name: str, interval: float, now: float) -> float | None:
        """None: a task of this name may begin now, and is counted. Else the moment to which to put it off."""
        place = self._places.get(name)
        if place is None:
            # Declared after the worker has started: other children do not know that it is there.
            own = self._own.setdefault(name, memoryview(array("d", (0.0, 0.0))))
            with self._lock:
                return _admit(own, interval, now)
        with self._locked():
            return _admit(self._moments[2 * place : 2 * place + 2], interval, now)

    def close(self) -> None:
        """May be called twice. Other processes keep theirs."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)


def _admit(moments: memoryview[float], interval: float, now: float) -> float | None:
    free, promised = moments
    if free > now + interval:  # the clock of the machine was set back
        free = promised = 0.0
    if now >= free:
        moments[0] = (free if now - free <= min(_LATE, interval / 2) else now) + interval
        moments[1] = promised
        return None
    moments[1] = moment = max(promised + interval, free)
    return moment
