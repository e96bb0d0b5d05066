"""All messages and owners of one memory store, and the moves of messages between their places."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from threading import Lock
from typing import Protocol

import msgspec

from celeriac.drivers.counting import is_alone
from celeriac.drivers.memory.bus import Air
from celeriac.drivers.memory.chords import Chords
from celeriac.drivers.memory.line import Line, Parcel
from celeriac.drivers.memory.schedules import Group
from celeriac.drivers.memory.shelf import Shelf
from celeriac.exceptions import Fenced
from celeriac.message import (
    LEFT_BEGUN,
    MOST_DEATHS,
    Binding,
    Claim,
    Depth,
    Fate,
    Letter,
    Message,
    Outcome,
)

#: Seconds after which a wait looks again by itself: a wall clock set forward hides no due message for long.
LONGEST_PAUSE = 60.0


class Waiter(Protocol):
    """A broker whose turn waits for messages."""

    def serves(self, queue: str) -> bool: ...

    def ring(self) -> None: ...


class MemoryStore:
    """All messages and owners of one name. Who calls a method holds `lock`: each call is one atomic step."""

    def __init__(
        self, now: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self.lock = Lock()
        #: Epoch seconds, for etas.
        self.now = now
        #: Seconds that never run back, for leases and waits.
        self.ticks = ticks
        self.results = Shelf(ticks)
        self.air = Air()
        self.dead: list[Dead] = []
        #: Queues that nobody may claim from.
        self.paused: set[str] = set()
        #: Until which tick each holds; None is for good.
        self.bound: dict[Binding, float | None] = {}
        #: The brokers whose turn waits, longest first, with the owner that waits.
        self.waiting: dict[Waiter, str] = {}
        #: By the name of a group of schedulers.
        self.planned: dict[str, Group] = {}
        self._lines: dict[str, Line] = {}
        self._holders: dict[str, Holder] = {}
        self._leases: dict[str, float] = {}
        #: By id of a revoked task: the tick until which it is revoked; and the same as a heap by that tick.
        self._revoked: dict[str, float] = {}
        self._revoked_ends: list[tuple[float, str]] = []
        self.chords = Chords(self.ticks)

    def add(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if message.members:
                self.chords.tell(message.members)
            parcel = Parcel(message)
            if message.eta is None:
                self._make_ready(parcel)
            else:
                self._delay(parcel, message.eta)

    def enlist(self, owner: str, node: str, lease: float) -> None:
        self._holders.setdefault(owner, Holder(node))
        self._leases.setdefault(node, self.ticks() + lease)

    def knows(self, owner: str) -> bool:
        return owner in self._holders

    def settle(self, owner: str, outcomes: Sequence[Outcome], with_results: bool) -> None:
        held = self._known(owner).held
        back: list[tuple[int, Parcel]] = []
        for outcome in outcomes:
            parcel = held.get(outcome.number)
            if parcel is None or (parcel.begun and outcome.fate is Fate.BEGUN):
                continue  # settled before
            if with_results and outcome.result is not None:
                self.results.save((outcome.result,))
            if with_results and outcome.also:
                self.results.save(outcome.also)
            self.add(outcome.follow_ups)
            for counted in outcome.counts:
                self.add(self.chords.count(counted))
            if outcome.fate is Fate.BEGUN:
                parcel.begun = True
                continue
            del held[outcome.number]
            if outcome.fate is Fate.DEAD:
                self._bury(parcel, outcome)
            elif outcome.fate is Fate.DEFERRED:
                self._delay(parcel, outcome.eta)
            elif outcome.fate in (Fate.GIVEN_BACK, Fate.LOST):
                if outcome.fate is Fate.LOST:
                    parcel.deliveries += 1
                    if outcome.reason:
                        parcel.deaths = (*parcel.deaths, outcome.reason)[-MOST_DEATHS:]
                else:
                    parcel.begun = False
                back.append((outcome.number, parcel))
        self._put_back(back)

    def claim(self, owner: str, queues: deque[str], want: int) -> list[Claim]:
        """Up to `want` claims, one queue after the other; the next call goes on where this one ended."""
        holder = self._known(owner)
        claims: list[Claim] = []
        empty = 0
        while len(claims) < want and empty < len(queues):
            parcel = None if queues[0] in self.paused else self.line(queues[0]).pop()
            queues.rotate(-1)
            if parcel is None:
                empty += 1
            else:
                empty = 0
                claims.append(holder.take(parcel))
        return claims

    def held(self, owner: str) -> list[Claim]:
        holder = self._holders.get(owner)
        held = {} if holder is None else holder.held
        return [parcel.claim(number) for number, parcel in sorted(held.items(), key=_by_number)]

    def seize(self, queue: str, owner: str, most: int, *, every: bool) -> int:
        holder, line = self._known(owner), self.line(queue)
        taken = 0
        while taken < most and (parcel := line.pop() or line.pop_delayed()) is not None:
            taken += 1
            if every or not is_alone(parcel.message.payload):
                holder.take(parcel)
        return taken

    def next_due(self, queues: Iterable[str]) -> float:
        """Seconds until the first delayed message of these queues is due."""
        served = [queue for queue in queues if queue not in self.paused]
        etas = [line.delayed[0][0] for queue in served if (line := self.line(queue)).delayed]
        return min(etas) - self.now() if etas else LONGEST_PAUSE

    def beat(self, node: str, lease: float, living: Collection[str]) -> list[str]:
        now = self.ticks()
        if self._leases.get(node, now + lease) <= now + lease / 3:
            # The process was stopped, perhaps for a little less than a lease: the others get one more lease
            # to say that they live.
            late = [name for name, until in self._leases.items() if until <= now]
            self._leases.update(dict.fromkeys(late, now + lease))
        self._leases[node] = now + lease
        ended = {name for name, until in self._leases.items() if until <= now}
        orphans = [owner for owner, holder in self._holders.items() if holder.node in ended]
        for name in ended - {self._holders[owner].node for owner in orphans}:
            del self._leases[name]
        self.add(self.chords.break_lost())
        if living:
            mine = [owner for owner, holder in self._holders.items() if holder.node == node]
            orphans += [owner for owner in mine if owner not in living]
        return orphans

    def adopt(self, owner: str, by: str, node: str) -> list[Claim]:
        old = self._holders.get(owner)
        if old is None:
            return []
        new = self._holders.setdefault(by, Holder(node))
        if new.held.keys() & old.held.keys():
            raise ValueError(f"{by} holds claims of the same numbers as {owner}: adopt under a new name")
        del self._holders[owner]
        new.held.update(old.held)
        new.last = max(new.last, old.last)
        for broker in [broker for broker, name in self.waiting.items() if name == owner]:
            broker.ring()
        return [parcel.claim(number) for number, parcel in sorted(old.held.items(), key=_by_number)]

    def dismiss(self, owner: str) -> None:
        holder = self._holders.pop(owner, None)
        if holder is not None:
            for number, parcel in holder.held.items():
                if parcel.begun:
                    self._bury(parcel, Outcome(number, Fate.DEAD, reason=LEFT_BEGUN, id=f"{owner}:{number}"))
            self._put_back([(number, parcel) for number, parcel in holder.held.items() if not parcel.begun])

    def depth(self, queue: str) -> Depth:
        line = self.line(queue)
        return Depth(
            ready=line.count_ready(),
            delayed=len(line.delayed),
            claimed=sum(parcel.message.queue == queue for parcel in self._claimed()),
            dead=sum(dead.letter.queue == queue for dead in self.dead),
        )

    def queues(self) -> list[str]:
        lying = {name for name, line in self._lines.items() if line.delayed or line.count_ready()}
        held = {parcel.message.queue for parcel in self._claimed()}
        return sorted(lying | held | {dead.letter.queue for dead in self.dead})

    def payloads(self) -> list[bytes]:
        """Of all that is delayed, ready or claimed."""
        lines = self._lines.values()
        waiting = chain.from_iterable(chain((d[2] for d in line.delayed), line.in_order()) for line in lines)
        return [parcel.message.payload for parcel in chain(waiting, self._claimed())]

    def replay(self, ids: set[str]) -> int:
        chosen = [dead for dead in self.dead if dead.letter.id in ids]
        self.dead = [dead for dead in self.dead if dead.letter.id not in ids]
        for dead in chosen:
            self._make_ready(Parcel(dead.parcel.message))
        return len(chosen)

    def revoke(self, ids: Sequence[str], keep: float) -> list[str]:
        self._drop_over_revokes()
        # What is delayed now must still be revoked when it is due.
        etas = [eta for line in self._lines.values() for eta, _, _ in line.delayed]
        until = self.ticks() + max(0.0, max(etas, default=0.0) - self.now()) + keep
        for id in ids:
            if until > self._revoked.get(id, 0.0):
                self._revoked[id] = until
                heapq.heappush(self._revoked_ends, (until, id))
        held = {parcel.message.id for parcel in self._claimed()}
        return [id for id in ids if id in held]

    def revokes(self, n: int) -> list[str]:
        """Up to n, those first that are revoked for longest."""
        now = self.ticks()
        ids = sorted(self._revoked, key=self._revoked.__getitem__, reverse=True)
        # Stamps that are revoked are kept beside tasks; no id begins with a line's end.
        return [id for id in ids if self._revoked[id] > now and not id.startswith("\n")][: max(n, 0)]

    def is_revoked(self, id: str) -> bool:
        return self._revoked.get(id, 0.0) > self.ticks()

    def _drop_over_revokes(self) -> None:
        now = self.ticks()
        while self._revoked_ends and self._revoked_ends[0][0] <= now:
            until, id = heapq.heappop(self._revoked_ends)
            if self._revoked.get(id) == until:
                del self._revoked[id]

    def line(self, queue: str) -> Line:
        """The line of a queue, with what became due moved to its ready end."""
        line = self._lines.get(queue)
        if line is None:
            line = self._lines[queue] = Line()
        if line.delayed:
            line.promote(self.now())
        return line

    def ring_for_ready(self, queues: Iterable[str]) -> None:
        for queue in queues:
            for _ in range(self.line(queue).count_ready()):
                if not self._ring_one(queue):
                    break

    def _known(self, owner: str) -> Holder:
        holder = self._holders.get(owner)
        if holder is None:
            raise Fenced(owner)
        return holder

    def _claimed(self) -> Iterator[Parcel]:
        return chain.from_iterable(holder.held.values() for holder in self._holders.values())

    def _make_ready(self, parcel: Parcel) -> None:
        self.line(parcel.message.queue).append(parcel)
        self._ring_one(parcel.message.queue)

    def _put_back(self, parcels: list[tuple[int, Parcel]]) -> None:
        """To the head of their queues, so that they come again in the order of their numbers."""
        for _, parcel in sorted(parcels, key=_by_number, reverse=True):
            self.line(parcel.message.queue).put_first(parcel)
            self._ring_one(parcel.message.queue)

    def _delay(self, parcel: Parcel, eta: float) -> None:
        queue = parcel.message.queue
        line = self.line(queue)
        line.delay(parcel, eta)
        if line.delayed[0][2] is parcel:
            # All of them, for they must wait for less now, and any of them may leave before that time.
            for broker in [broker for broker in self.waiting if broker.serves(queue)]:
                broker.ring()

    def _bury(self, parcel: Parcel, outcome: Outcome) -> None:
        message = parcel.message
        letter = Letter(
            outcome.id, message.queue, message.payload, outcome.reason, self.now(), parcel.deliveries
        )
        self.dead.append(Dead(letter, parcel))

    def _ring_one(self, queue: str) -> bool:
        """Wake who waits longest for this queue; one message wakes one waiter."""
        for broker in self.waiting:
            if broker.serves(queue):
                del self.waiting[broker]
                broker.ring()
                return True
        return False


class Holder(msgspec.Struct, eq=False):
    """An owner that the store knows, with what it holds by number."""

    node: str
    held: dict[int, Parcel] = {}
    last: int = 0

    def take(self, parcel: Parcel) -> Claim:
        self.last += 1
        self.held[self.last] = parcel
        return parcel.claim(self.last)


class Dead(msgspec.Struct, eq=False):
    """A parcel that was given up on, with its letter."""

    letter: Letter
    parcel: Parcel


def _by_number(entry: tuple[int, Parcel]) -> int:
    return entry[0]
