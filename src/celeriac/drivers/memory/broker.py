"""The broker of a memory store: each call is one step under its lock, and a turn without work waits for its
bell."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from queue import Empty, SimpleQueue

from celeriac.drivers.counting import Headers
from celeriac.drivers.memory.store import LONGEST_PAUSE, MemoryStore
from celeriac.drivers.revoked import Revoked
from celeriac.exceptions import OperationalError
from celeriac.message import Binding, Claim, Depth, Fate, Letter, Message, Outcome


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
        self.publish_all([messages])

    def publish_all(self, batches: Iterable[Sequence[Message]]) -> None:
        headers = Headers()
        for batch in batches:
            with self._open() as store:
                whole = headers.after(batch)
                store.add(batch)
                store.chords.keep(headers.open, whole)

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

    def beat(self, node: str, lease: float, living: Collection[str] = ()) -> list[str]:
        with self._open() as store:
            return store.beat(node, lease, living)

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

    def payloads(self) -> Iterator[Sequence[bytes]]:
        with self._open() as store:
            everything = store.payloads()
        yield everything

    def firsts(self, queue: str) -> dict[int, bytes]:
        with self._open() as store:
            return {step: line[0].message.payload for step, line in store.line(queue).ready.items() if line}

    def purge(self, queue: str) -> int:
        with self._open() as store:
            return store.line(queue).clear()

    def foreign_claims(self, *, put_back: bool = False) -> int:
        return 0

    def seize(self, queue: str, owner: str, most: int, *, every: bool = False) -> int:
        with self._open() as store:
            return store.seize(queue, owner, most, every=every)

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
