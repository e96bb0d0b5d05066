"""The driver of `memory://name`: queues and results in this process, shared by its threads alone."""

from __future__ import annotations

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, count, islice
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from urllib.parse import urlsplit

import msgspec

from celeriac.drivers.counting import THROUGH, is_alone, set_off
from celeriac.drivers.memory_bus import Air, MemoryBus
from celeriac.drivers.memory_schedules import Group, MemorySchedules
from celeriac.drivers.opening import Options
from celeriac.drivers.revoked import Revoked
from celeriac.exceptions import Fenced, OperationalError
from celeriac.message import (
    LEFT_BEGUN,
    PRIORITY_STEPS,
    STREAM_MARK,
    Binding,
    Claim,
    Count,
    Depth,
    Fate,
    Letter,
    Message,
    Outcome,
    Result,
    priority_step,
)
from celeriac.ports import Broker, ResultStore, ScheduleStore

logger = logging.getLogger(__name__)

#: Seconds after which a wait looks again by itself: a wall clock set forward hides no due message for long.
LONGEST_PAUSE = 60.0


def open_broker(url: str, options: Options, with_results: bool) -> Broker:
    """A broker on the store that the URL's host names; all brokers of one name see the same messages."""
    return MemoryBroker(_store_of(url), with_results)


def open_results(url: str, options: Options) -> ResultStore:
    """The results of the store that the URL's host names."""
    return MemoryResults(_store_of(url))


def open_bus(url: str, options: Options) -> MemoryBus:
    """The bus of the store that the URL's host names."""
    return MemoryBus(_store_of(url).air)


def open_schedules(url: str, options: Options, group: str) -> ScheduleStore:
    """The plans of a group in the store that the URL's host names."""
    return MemorySchedules(_store_of(url), group)


def same_store(url_a: str, url_b: str) -> bool:
    return _name_of(url_a) == _name_of(url_b)


class MemoryBroker:
    """One user of a store: its queues, its wake-up. The messages lie in the store and outlive it."""

    def __init__(self, store: MemoryStore, with_results: bool = True) -> None:
        self._store = store
        self._with_results = with_results
        self._queues: deque[str] = deque()
        #: The one primitive whose `put` a signal handler may call at any moment, also inside of `get`.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._woken = False
        self._closed = False
        self._revoked = Revoked(self._is_revoked)

    def publish(self, messages: Sequence[Message]) -> None:
        with self._open() as store:
            store.add(messages)

    def publish_all(self, batches: Iterable[Sequence[Message]]) -> None:
        for batch in batches:
            self.publish(batch)

    def consume(self, queues: Sequence[str]) -> None:
        with self._open():
            self._queues = deque(dict.fromkeys(queues))
        self.ring()

    def serves(self, queue: str) -> bool:
        return queue in self._queues

    def enlist(self, owner: str, node: str, lease: float) -> None:
        with self._open() as store:
            store.enlist(owner, node, lease)

    def turn(self, owner: str, outcomes: Sequence[Outcome], want: int, wait: float = 0.0) -> list[Claim]:
        until = self._store.ticks() + wait
        try:
            while True:
                with self._open() as store:
                    store.waiting.pop(self, None)
                    store.settle(owner, outcomes, self._with_results)
                    outcomes = ()
                    claims = store.claim(owner, self._queues, want)
                    if claims or want <= 0:
                        return claims
                    pause = min(until - store.ticks(), store.next_due(self._queues), LONGEST_PAUSE)
                    if until <= store.ticks() or self._answer_wake():
                        return []
                    store.waiting[self] = owner
                with suppress(Empty):
                    self._bell.get(timeout=max(pause, 0.0))
        except BaseException:
            # It may have been rung for a message that it will not claim now: somebody else must hear of it.
            with self._store.lock:
                self._store.waiting.pop(self, None)
                self._store.ring_for_ready(self._queues)
            raise

    def wake(self) -> None:
        self._woken = True
        self.ring()

    def ring(self) -> None:
        """Let a waiting turn look again."""
        self._bell.put(None)

    def beat(self, node: str, lease: float) -> list[str]:
        with self._open() as store:
            return store.beat(node, lease)

    def adopt(self, owner: str, by: str, node: str) -> list[Claim]:
        with self._open() as store:
            return store.adopt(owner, by, node)

    def dismiss(self, owner: str) -> None:
        with self._open() as store:
            store.dismiss(owner)

    def lookout(self, node: str, distrust: Callable[[], None] = lambda: None) -> None:
        """None is needed: every waiting turn hears of what is sent, and knows when the next one is due."""

    def distrust(self) -> None:
        """Nothing: there is no connection."""

    def depth(self, queues: Sequence[str]) -> dict[str, Depth]:
        with self._open() as store:
            return {queue: store.depth(queue) for queue in queues}

    def queues(self) -> list[str]:
        with self._open() as store:
            return store.queues()

    def peek(self, queue: str, n: int) -> list[bytes]:
        with self._open() as store:
            return [parcel.message.payload for parcel in islice(store.line(queue).in_order(), max(n, 0))]

    def purge(self, queue: str) -> int:
        with self._open() as store:
            return store.line(queue).clear()

    def seize(self, queue: str, owner: str, most: int) -> int:
        with self._open() as store:
            return store.seize(queue, owner, most)

    def letters(self, n: int) -> list[Letter]:
        with self._open() as store:
            return [dead.letter for dead in islice(reversed(store.dead), max(n, 0))]

    def replay(self, ids: Sequence[str]) -> int:
        with self._open() as store:
            return store.replay(set(ids))

    def revoke(self, ids: Sequence[str], keep: float) -> list[str]:
        with self._open() as store:
            return store.revoke(ids, keep)

    @property
    def revoked(self) -> Container[str]:
        return self._revoked

    def relieve(self, owner: str, above: int, upto: int) -> int:
        with self._open() as store:
            back = [claim for claim in store.held(owner) if above < claim.number <= upto]
            if back:
                store.settle(owner, [Outcome(claim.number, Fate.GIVEN_BACK) for claim in back], False)
            return len(back)

    def held(self, owner: str) -> list[Claim]:
        with self._open() as store:
            return store.held(owner)

    def delayed(self, queue: str, n: int) -> list[tuple[float, bytes]]:
        with self._open() as store:
            waiting = sorted(store.line(queue).delayed)
            return [(eta, parcel.message.payload) for eta, _, parcel in waiting[: max(n, 0)]]

    def revokes(self, n: int) -> list[str]:
        with self._open() as store:
            return store.revokes(n)

    def pause(self, queue: str) -> None:
        with self._open() as store:
            store.paused.add(queue)

    def resume(self, queue: str) -> None:
        with self._open() as store:
            store.paused.discard(queue)
            store.ring_for_ready([queue])

    def paused(self) -> list[str]:
        with self._open() as store:
            return sorted(store.paused)

    def close(self) -> None:
        self._closed = True
        self.ring()

    def bind(self, bindings: Sequence[Binding], keep: float | None = None) -> None:
        with self._open() as store:
            until = None if keep is None else store.ticks() + keep
            store.bound.update(dict.fromkeys(bindings, until))

    def bindings(self, exchange: str) -> list[Binding]:
        with self._open() as store:
            now = store.ticks()
            return [
                one
                for one, until in store.bound.items()
                if one.exchange == exchange and (until is None or until > now)
            ]

    def announce(self, exchange: str, key: str, payload: bytes) -> None:
        """Nobody else is in this process."""

    def _is_revoked(self, id: str) -> bool:
        with self._open() as store:
            return store.is_revoked(id)

    def _answer_wake(self) -> bool:
        woken, self._woken = self._woken, False
        return woken

    @contextmanager
    def _open(self) -> Iterator[MemoryStore]:
        with self._store.lock:
            if self._closed:
                raise OperationalError("This memory:// broker was closed before")
            yield self._store


class MemoryResults:
    """One user of the stored results; they outlive it."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._shelf = store.results
        self._watches: list[MemoryWatch] = []
        self._closed = False

    def save(self, results: Sequence[Result]) -> None:
        self._open().save(results)

    def update(self, result: Result, keep: Callable[[bytes], bool], owner: str = "") -> bool:
        shelf = self._open()
        with self._store.lock:
            return (not owner or self._store.knows(owner)) and shelf.update(result, keep)

    def load(self, ids: Sequence[str]) -> list[bytes | None]:
        return self._open().load(ids)

    def watch(self, told: Callable[[str, bytes], None]) -> MemoryWatch:
        watch = MemoryWatch(self._open(), told)
        self._watches.append(watch)
        return watch

    def push(self, task_id: str, first: int, parts: Sequence[bytes], keep: int, ttl: float | None) -> None:
        self._open().push(task_id, first, parts, keep, ttl)

    def parts(self, task_id: str, after: int, most: int) -> list[tuple[int, bytes]]:
        return self._open().parts(task_id, after, most)

    def forget(self, ids: Sequence[str]) -> None:
        self._open().forget(ids)

    def close(self) -> None:
        self._closed = True
        while self._watches:
            self._watches.pop().close()

    def _open(self) -> Shelf:
        if self._closed:
            raise OperationalError("This memory:// result store was closed before")
        return self._shelf


class MemoryWatch:
    """Tells of results on a thread of its own, so that who saves never waits for who listens."""

    def __init__(self, shelf: Shelf, told: Callable[[str, bytes], None]) -> None:
        self._shelf = shelf
        self._told = told
        self._ids: set[str] = set()
        self._news: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()
        self._closed = False
        self._thread = Thread(target=self._tell_all, name="celeriac-memory-watch", daemon=True)
        self._thread.start()

    def add(self, ids: Sequence[str]) -> list[bytes | None]:
        if self._closed:
            raise OperationalError("This watch was closed before")
        self._ids.update(ids)
        return self._shelf.load(ids, watch=self)

    def discard(self, ids: Sequence[str]) -> None:
        self._ids.difference_update(ids)
        self._shelf.unwatch(ids, self)

    def hear(self, task_id: str, payload: bytes) -> None:
        self._news.put((task_id, payload))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.discard(list(self._ids))
            self._news.put(None)
        if self._thread is not current_thread():
            self._thread.join()

    def _tell_all(self) -> None:
        while (news := self._news.get()) is not None:
            task_id, payload = news
            if task_id in self._ids:
                try:
                    self._told(task_id, payload)
                except Exception:
                    logger.exception("Telling of the result of %s failed; the watch goes on", task_id)


class Parcel(msgspec.Struct, eq=False):
    """A message with its history, wherever it lies."""

    message: Message
    deliveries: int = 0
    begun: bool = False

    def claim(self, number: int) -> Claim:
        return Claim(number, self.message.queue, self.message.payload, self.deliveries, self.begun)


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


class Line:
    """One queue: what is ready, by step of priority, and what waits for its time."""

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
        self.waiting: dict[MemoryBroker, str] = {}
        #: By the name of a group of schedulers.
        self.planned: dict[str, Group] = {}
        self._lines: dict[str, Line] = {}
        self._holders: dict[str, Holder] = {}
        self._leases: dict[str, float] = {}
        #: By id of a revoked task: the tick until which it is revoked; and the same as a heap by that tick.
        self._revoked: dict[str, float] = {}
        self._revoked_ends: list[tuple[float, str]] = []
        #: By chord: what was counted, by index and member; None when it is through. And until when.
        self._chords: dict[str, dict[tuple[int, str], bytes] | None] = {}
        self._chord_ends: dict[str, float] = {}

    def add(self, messages: Iterable[Message]) -> None:
        for message in messages:
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
                self.add(self._count(counted))
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

    def seize(self, queue: str, owner: str, most: int) -> int:
        holder, line = self._known(owner), self.line(queue)
        taken = 0
        while taken < most and (parcel := line.pop() or line.pop_delayed()) is not None:
            taken += 1
            if not is_alone(parcel.message.payload):
                holder.take(parcel)
        return taken

    def next_due(self, queues: Iterable[str]) -> float:
        """Seconds until the first delayed message of these queues is due."""
        served = [queue for queue in queues if queue not in self.paused]
        etas = [line.delayed[0][0] for queue in served if (line := self.line(queue)).delayed]
        return min(etas) - self.now() if etas else LONGEST_PAUSE

    def beat(self, node: str, lease: float) -> list[str]:
        now = self.ticks()
        if self._leases.get(node, now + 1) <= now:
            # The process was stopped: the others get one more lease to say that they live.
            late = [name for name, until in self._leases.items() if until <= now]
            self._leases.update(dict.fromkeys(late, now + lease))
        self._leases[node] = now + lease
        ended = {name for name, until in self._leases.items() if until <= now}
        orphans = [owner for owner, holder in self._holders.items() if holder.node in ended]
        for name in ended - {self._holders[owner].node for owner in orphans}:
            del self._leases[name]
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

    def _count(self, counted: Count) -> list[Message]:
        """Count one member of a chord; returns the messages that the last one sets off."""
        now, chord = self.ticks(), counted.chord
        for over in [name for name, until in self._chord_ends.items() if until <= now]:
            del self._chords[over], self._chord_ends[over]
        members = self._chords.setdefault(chord, {})
        place = (counted.index, counted.member)
        if members is None or place in members:
            return []
        members[place] = counted.item
        if counted.ttl is not None:
            self._chord_ends[chord] = now + counted.ttl
        if len(members) < counted.size or not counted.size:
            return []
        self._chords[chord], self._chord_ends[chord] = None, now + THROUGH
        return set_off(counted, [item for _, item in sorted(members.items())])

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


class Shelf:
    """The results of one name, and who watches for them; each method is one atomic step."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._lock = Lock()
        #: By id: the payload, and the tick until which it is kept.
        self._kept: dict[str, tuple[bytes, float | None]] = {}
        self._endings: list[tuple[float, str]] = []
        self._watches: dict[str, list[MemoryWatch]] = {}
        #: By the mark and id of a stream: its parts with their numbers.
        self._streams: dict[str, deque[tuple[int, bytes]]] = {}

    def save(self, results: Sequence[Result]) -> None:
        with self._lock:
            self._drop_ended()
            for result in results:
                self._save(result)

    def update(self, result: Result, keep: Callable[[bytes], bool]) -> bool:
        with self._lock:
            self._drop_ended()
            stored = self._kept.get(result.task_id)
            if stored is not None and keep(stored[0]):
                return False
            self._save(result)
            return True

    def push(self, task_id: str, first: int, parts: Sequence[bytes], keep: int, ttl: float | None) -> None:
        stream = STREAM_MARK + task_id
        with self._lock:
            self._drop_ended()
            last = int(self._kept[stream][0]) if stream in self._kept else 0
            numbered = [(number, part) for number, part in enumerate(parts, first) if number > last]
            if numbered:
                kept = self._streams.get(stream, ())
                self._streams[stream] = deque((*kept, *numbered), maxlen=keep)
                self._save(Result(stream, b"%d" % numbered[-1][0], ttl))

    def parts(self, task_id: str, after: int, most: int) -> list[tuple[int, bytes]]:
        with self._lock:
            self._drop_ended()
            kept = self._streams.get(STREAM_MARK + task_id, ())
            return list(islice((part for part in kept if part[0] > after), most))

    def load(self, ids: Sequence[str], watch: MemoryWatch | None = None) -> list[bytes | None]:
        """What is stored; from the same step on `watch` hears what is saved."""
        with self._lock:
            self._drop_ended()
            if watch is not None:
                for task_id in ids:
                    watches = self._watches.setdefault(task_id, [])
                    if watch not in watches:
                        watches.append(watch)
            return [self._kept[task_id][0] if task_id in self._kept else None for task_id in ids]

    def unwatch(self, ids: Sequence[str], watch: MemoryWatch) -> None:
        with self._lock:
            for task_id in ids:
                watches = self._watches.get(task_id, [])
                if watch in watches:
                    watches.remove(watch)
                if not watches:
                    self._watches.pop(task_id, None)

    def forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            for task_id in ids:
                self._kept.pop(task_id, None)
                self._streams.pop(task_id, None)

    def _save(self, result: Result) -> None:
        until = None if result.ttl is None else self._ticks() + result.ttl
        self._kept[result.task_id] = (result.payload, until)
        if until is not None:
            heapq.heappush(self._endings, (until, result.task_id))
        for watch in self._watches.get(result.task_id, ()):
            watch.hear(result.task_id, result.payload)

    def _drop_ended(self) -> None:
        now = self._ticks()
        while self._endings and self._endings[0][0] <= now:
            until, task_id = heapq.heappop(self._endings)
            # A later save of the same id has another ending.
            if self._kept.get(task_id, (b"", None))[1] == until:
                del self._kept[task_id]
                self._streams.pop(task_id, None)


def _by_number(entry: tuple[int, Parcel]) -> int:
    return entry[0]


_stores: dict[str, MemoryStore] = {}
_stores_lock = Lock()


def _store_of(url: str) -> MemoryStore:
    with _stores_lock:
        return _stores.setdefault(_name_of(url), MemoryStore())


def _name_of(url: str) -> str:
    return urlsplit(url).netloc
