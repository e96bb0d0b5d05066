"""What children count for /metrics: how many tasks ended how, how long they waited and ran.

They listen to the signals around a task and add to pages of shared memory, one for each child, which the
health process adds up. The main process has a page too, for tasks whose end it had to say. Where nobody asked
for it there is no listener and no page. A page stays when its child dies and the next one goes on in it, so
what was counted never goes down.

page of one child, for each task, 8 bytes a field: ends by state | seconds run, runs by bucket | seconds
waited, waits by bucket
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from celeriac import request, signals, states
from celeriac.wire.task import sent_at
from celeriac.worker.execute import moment_of

#: Upper ends of the buckets, seconds; one more takes all above.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
STATES = (states.SUCCESS, states.FAILURE, states.RETRY, states.REJECTED, states.IGNORED, states.REVOKED)
#: Tasks that were declared after the worker had started.
OTHER = "(other)"
#: Processes that have a page: the first is the main process's. The memory of pages that are not touched costs
#: nothing.
PLACES = 1024

_HISTOGRAM = 2 + len(BUCKETS)
_RAN = len(STATES)
_WAITED = _RAN + _HISTOGRAM
_FIELDS = _WAITED + _HISTOGRAM


class Histogram(msgspec.Struct, frozen=True):
    """How often it fell into which bucket, and the sum of all."""

    counts: Sequence[int]
    total: float


class Tally(msgspec.Struct, frozen=True):
    """What all children counted of one task."""

    task: str
    ends: dict[str, int]
    ran: Histogram
    waited: Histogram


class Meters:
    """See the head of this file."""

    def __init__(self, names: Sequence[str], descriptor: int | None = None) -> None:
        self._names = (*names, OTHER)
        self._places = {name: place for place, name in enumerate(names)}
        self.descriptor = os.memfd_create("celeriac-meters") if descriptor is None else descriptor
        size = PLACES * len(self._names) * _FIELDS * 8
        if descriptor is None:
            os.ftruncate(self.descriptor, size)
        memory = memoryview(mmap.mmap(self.descriptor, size))
        self._integers = memory.cast("q")
        self._floats = memory.cast("d")
        #: Where the page of this process begins; who does not listen is the main process.
        self._start = 0
        #: Threads of one child add to the same page.
        self._lock = threading.Lock()

    def listen(self, index: int) -> None:
        """From now on the tasks of this process are counted, in the page of the child with that number."""
        self._start = (1 + index % (PLACES - 1)) * len(self._names) * _FIELDS
        signals.task_prerun.connect(self._begins, weak=False)
        signals.task_postrun.connect(self._ends, weak=False)
        signals.task_revoked.connect(self._is_revoked, weak=False)

    def stop(self) -> None:
        """Listen no longer."""
        signals.task_prerun.disconnect(self._begins)
        signals.task_postrun.disconnect(self._ends)
        signals.task_revoked.disconnect(self._is_revoked)

    def tallies(self, children: int) -> Iterator[Tally]:
        """Of every task that has ended once, over the pages of the main process and of so many children."""
        processes = range(min(1 + children, PLACES))
        for place, name in enumerate(self._names):
            starts = [(process * len(self._names) + place) * _FIELDS for process in processes]
            ends = {
                state: sum(self._integers[start + number] for start in starts)
                for number, state in enumerate(STATES)
            }
            if any(ends.values()):
                yield Tally(name, ends, self._sum(starts, _RAN), self._sum(starts, _WAITED))

    def _sum(self, starts: Sequence[int], field: int) -> Histogram:
        columns = (
            self._integers[start + field + 1 : start + field + _HISTOGRAM].tolist() for start in starts
        )
        counts = [sum(column) for column in zip(*columns, strict=True)]
        return Histogram(counts, sum(self._floats[start + field] for start in starts))

    # -- in a child

    def _begins(self, sender: Any, **_: Any) -> None:
        made = request.current()
        if made is None:
            return
        made.__dict__["metered"] = time.perf_counter()
        sent = sent_at(made.message) if made.message is not None else None
        if sent is not None:
            # What was to wait until then has not waited for us.
            due = max(sent, moment_of(made.eta) or sent)
            self._add(sender.name, _WAITED, max(0.0, time.time() - due))

    def _ends(self, sender: Any, state: str, **_: Any) -> None:
        made = request.current()
        began = None if made is None else made.__dict__.get("metered")
        if began is not None:
            self._add(sender.name, _RAN, time.perf_counter() - began)
        self.count(sender.name, state)

    def _is_revoked(self, sender: Any, **_: Any) -> None:
        self.count(getattr(sender, "name", OTHER), states.REVOKED)

    def count(self, name: str, state: str) -> None:
        """One more task of this name has ended so."""
        if state in STATES:
            with self._lock:
                self._integers[self._page(name) + STATES.index(state)] += 1

    def _add(self, name: str, field: int, seconds: float) -> None:
        start = self._page(name) + field
        with self._lock:
            self._floats[start] += seconds
            self._integers[start + 1 + bisect_left(BUCKETS, seconds)] += 1

    def _page(self, name: str) -> int:
        return self._start + self._places.get(name, len(self._places)) * _FIELDS
