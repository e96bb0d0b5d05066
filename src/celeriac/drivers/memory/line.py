"""One queue of a memory store: what is ready by priority, and what waits for its time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import chain, count

import msgspec

from celeriac.message import PRIORITY_STEPS, Claim, Message, priority_step


class Line:
    """The parcels of one queue."""

    __slots__ = ("_order", "delayed", "ready")

    def __init__(self) -> None:
        self.ready: dict[int, deque[Parcel]] = {step: deque() for step in PRIORITY_STEPS}
        #: A heap of (eta, order of arrival, parcel).
        self.delayed: list[tuple[float, int, Parcel]] = []
        self._order = count()

    def append(self, parcel: Parcel) -> None:
        self.ready[priority_step(parcel.message.priority)].append(parcel)

    def put_first(self, parcel: Parcel) -> None:
        self.ready[priority_step(parcel.message.priority)].appendleft(parcel)

    def delay(self, parcel: Parcel, eta: float) -> None:
        heapq.heappush(self.delayed, (eta, next(self._order), parcel))

    def promote(self, now: float) -> None:
        while self.delayed and self.delayed[0][0] <= now:
            self.append(heapq.heappop(self.delayed)[2])

    def pop(self) -> Parcel | None:
        for step in self.ready.values():
            if step:
                return step.popleft()
        return None

    def pop_delayed(self) -> Parcel | None:
        return heapq.heappop(self.delayed)[2] if self.delayed else None

    def in_order(self) -> Iterator[Parcel]:
        return chain.from_iterable(self.ready.values())

    def count_ready(self) -> int:
        return sum(map(len, self.ready.values()))

    def clear(self) -> int:
        removed = self.count_ready() + len(self.delayed)
        for step in self.ready.values():
            step.clear()
        self.delayed.clear()
        return removed


class Parcel(msgspec.Struct, eq=False):
    """A message with its history, wherever it lies."""

    message: Message
    deliveries: int = 0
    begun: bool = False
    deaths: tuple[str, ...] = ()

    def claim(self, number: int) -> Claim:
        message = self.message
        return Claim(number, message.queue, message.payload, self.deliveries, self.begun, self.deaths)
