"""The broker on Redis: who works and who operates asks it; each call is one step of Lua or one command."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from typing import Any

from celeriac.drivers.counting import ALONE, item_of_the_lost
from celeriac.drivers.redis import exchanges, foreign, scripts
from celeriac.drivers.redis.connection import Connection
from celeriac.drivers.redis.keys import SEPARATOR, Keys
from celeriac.drivers.redis.lookout import RedisLookout
from celeriac.drivers.redis.producer import Producer
from celeriac.drivers.redis.scanning import listed, scanned
from celeriac.drivers.redis.turns import Turns, claims_told
from celeriac.drivers.revoked import Revoked
from celeriac.exceptions import Fenced, OperationalError
from celeriac.message import (
    LEFT_BEGUN,
    PRIORITY_STEPS,
    Binding,
    Claim,
    Depth,
    Letter,
    Message,
    Outcome,
)
from celeriac.ports import Lookout

#: Most ids that one script call revokes.
MOST_REVOKED = 1000

#: The part of its lease for which a node waits for a reply: if its connection is dead and was not told, there
#: must be time left to beat over a new one.
LONGEST_WAIT = 0.25
#: The part of it for which the lookout waits, which may hold up a beat.
LONGEST_LOOK = 0.125

_SUFFIXES = [f"{SEPARATOR}{step}" for step in PRIORITY_STEPS if step]
#: For beat.lua.
_LOST = item_of_the_lost("\x04")


class RedisBroker:
    """See `celeriac.ports.Broker`. `with_results`: results are stored by the same script that settles."""

    def __init__(
        self,
        connect: Callable[..., Connection],
        keys: Keys,
        *,
        publish_timeout: float,
        with_results: bool,
        wait_replicas: int = 0,
    ) -> None:
        self._keys = keys
        self._connect = connect
        self._names = scripts.names(keys)
        #: Connections for the operator's calls, which may come from any thread.
        self._operators: deque[Connection] = deque()
        #: Seconds that they wait for a reply at most.
        self._patience = float("inf")
        self._producer = Producer(connect, keys, publish_timeout, wait_replicas)
        self._revoked = Revoked(self._is_revoked)
        self._turns = Turns(
            connect, keys, with_results=with_results, learn=self._revoked.learn, note=self._register
        )
        self._lookout: RedisLookout | None = None
        self._queues: list[str] = []
        #: Fanout exchanges of stock Celery that this node listens to, and the queue into which it puts what
        #: it hears.
        self._relays: dict[str, str] = {}
        self._closed = False

    # -- sending

    def publish(self, messages: Sequence[Message]) -> None:
        self._producer.publish(messages)

    def publish_all(self, batches: Iterable[Sequence[Message]]) -> None:
        self._producer.publish_all(batches)

    # -- working

    def consume(self, queues: Sequence[str]) -> None:
        self._queues = list(dict.fromkeys(queues))
        self._turns.serve(self._queues)

    def enlist(self, owner: str, node: str, lease: float) -> None:
        self._run(scripts.ENLIST, [self._keys.claims + owner], owner, node, int(lease * 1000), *self._queues)
        self._turns.begin(owner, node, lease)

    def turn(self, owner: str, outcomes: Sequence[Outcome], want: int, wait: float = 0.0) -> list[Claim]:
        return self._turns.turn(owner, outcomes, want, wait)

    def wake(self) -> None:
        self._turns.wake()

    def beat(self, node: str, lease: float, living: Collection[str] = ()) -> list[str]:
        if lease * LONGEST_WAIT < self._patience:
            self._patience = lease * LONGEST_WAIT
            self._turns.hurry(self._patience)
            self._forget_operators()
            self._producer.hurry(lease * LONGEST_LOOK)  # here it sends what the lookout has heard
            if self._lookout is not None:
                self._lookout.hurry(lease * LONGEST_LOOK)
        found = self._run(scripts.BEAT, [], node, int(lease * 1000), _LOST, *living)
        orphans = [_text(owner) for owner in found]
        if self._lookout is not None:
            self._lookout.heard_of_store()
        return orphans

    def adopt(self, owner: str, by: str, node: str) -> list[Claim]:
        flat = self._run(scripts.ADOPT, [self._keys.claims + owner, self._keys.claims + by], owner, by, node)
        claims, firsts = claims_told(self._keys, flat)
        self._turns.inherit(by, claims, firsts)
        return claims

    def dismiss(self, owner: str) -> None:
        self._turns.hang_up()
        self._run(scripts.DISMISS, [self._keys.claims + owner], owner, LEFT_BEGUN)
        self._turns.end(owner)

    def lookout(self, node: str, distrust: Callable[[], None] = lambda: None) -> Lookout | None:
        def distrust_all() -> None:
            self.distrust()
            distrust()

        self._lookout = RedisLookout(
            self._connect, self._keys, node, self._queues, self._relays, self.publish, distrust_all
        )
        return self._lookout

    def distrust(self) -> None:
        self._turns.distrust()
        self._forget_operators()

    # -- exchanges

    def bind(self, bindings: Sequence[Binding], keep: float | None = None) -> None:
        exchanges.bind(self._operate, self._keys, bindings, keep)
        self._relays.update(
            (one.exchange, one.queue) for one in bindings if one.kind == "fanout" and keep is not None
        )

    def bindings(self, exchange: str) -> list[Binding]:
        return exchanges.bindings(self._operate, self._keys, exchange)

    def announce(self, exchange: str, key: str, payload: bytes) -> None:
        def publish(connection: Connection) -> Any:
            channel = exchanges.topic_of(self._keys, connection.address.db, exchange, key)
            return connection.call("PUBLISH", channel, exchanges.marked(payload))

        self._borrowed(publish)

    # -- operating

    def depth(self, queues: Sequence[str]) -> dict[str, Depth]:
        rows = self._run(scripts.DEPTH, [], len(_SUFFIXES), *_SUFFIXES, *queues)
        return {queue: Depth(*row) for queue, row in zip(queues, rows, strict=True)}

    def queues(self) -> list[str]:
        depths = self.depth(self._known_queues())
        return [queue for queue, depth in depths.items() if depth != Depth()]

    def peek(self, queue: str, n: int) -> list[bytes]:
        payloads: list[bytes] = []
        for ready in self._keys.ready_steps(queue):
            if len(payloads) < n:
                tail = self._operate("LRANGE", ready, len(payloads) - n, -1)
                payloads += reversed(tail)
        return payloads

    def payloads(self) -> Iterator[Sequence[bytes]]:
        queues = self._known_queues()
        for queue in queues:
            for flat in scanned(self._operate, "ZSCAN", self._keys.delayed + queue):
                yield [stored.split(b"\n", 2)[2] for stored in flat[::2]]
        for queue in queues:
            for ready in self._keys.ready_steps(queue):
                yield from listed(self._operate, ready)
        yield self._run(scripts.CLAIMED, [])
        yield [envelope for _, envelope, _, _ in foreign.held(self._operate, self._keys)]

    def firsts(self, queue: str) -> dict[int, bytes]:
        heads = (
            (step, self._operate("LINDEX", self._keys.ready(queue, step), -1)) for step in PRIORITY_STEPS
        )
        return {step: head for step, head in heads if head is not None}

    def purge(self, queue: str) -> int:
        return int(self._run(scripts.PURGE, [*self._keys.ready_steps(queue), self._keys.delayed + queue]))

    def seize(self, queue: str, owner: str, most: int, *, every: bool = False) -> int:
        keys = [*self._keys.ready_steps(queue), self._keys.delayed + queue, self._keys.claims + owner]
        taken = self._run(scripts.SEIZE, keys, most, owner, *(() if every else ALONE))
        if taken is None:
            raise Fenced(owner)
        return int(taken)

    def foreign_claims(self, *, put_back: bool = False) -> int:
        if put_back:
            return foreign.put_back(self._operate, self._run, self._keys)
        return int(self._operate("HLEN", self._keys.foreign))

    def letters(self, n: int) -> list[Letter]:
        if n < 1:
            return []
        return [
            Letter(
                id=_text(id),
                queue=self._keys.queue_of(_text(ready)),
                payload=payload,
                reason=_text(reason),
                died_at=float(died_at) / 1000,
                deliveries=int(deliveries),
            )
            for id, ready, payload, reason, died_at, deliveries in self._run(scripts.LETTERS, [], n)[:n]
        ]

    def replay(self, ids: Sequence[str]) -> int:
        return int(self._run(scripts.REPLAY, [], *ids)) if ids else 0

    def revoke(self, ids: Sequence[str], keep: float) -> list[str]:
        held: list[str] = []
        for start in range(0, len(ids), MOST_REVOKED):
            part = ids[start : start + MOST_REVOKED]
            held += map(_text, self._run(scripts.REVOKE, [], int(keep * 1000), *part))
        return held

    @property
    def revoked(self) -> Container[str]:
        return self._revoked

    def relieve(self, owner: str, above: int, upto: int) -> int:
        return int(self._run(scripts.RELIEVE, [], owner, above, upto))

    def held(self, owner: str) -> list[Claim]:
        return claims_told(self._keys, self._run(scripts.HELD, [], owner))[0]

    def delayed(self, queue: str, n: int) -> list[tuple[float, bytes]]:
        if n < 1:
            return []
        flat = self._operate("ZRANGE", self._keys.delayed + queue, 0, n - 1, "WITHSCORES")
        return [
            (float(due) / 1000, stored.split(b"\n", 2)[2])
            for stored, due in zip(flat[::2], flat[1::2], strict=True)
        ]

    def revokes(self, n: int) -> list[str]:
        if n < 1:
            return []
        # Stamps that are revoked are kept beside tasks; no id begins with a line's end.
        now = int(time.time() * 1000)
        found = self._operate("ZREVRANGEBYSCORE", self._keys.revoked, "+inf", f"({now}", "LIMIT", 0, 2 * n)
        return [id.decode() for id in found if not id.startswith(b"\n")][:n]

    def pause(self, queue: str) -> None:
        self._operate("SADD", self._keys.paused, queue)

    def resume(self, queue: str) -> None:
        self._run(scripts.RESUME, [], queue, *self._keys.ready_steps(queue))

    def paused(self) -> list[str]:
        return sorted(_text(queue) for queue in self._operate("SMEMBERS", self._keys.paused))

    def close(self) -> None:
        self._closed = True
        self._turns.close()
        self._producer.close()
        self._forget_operators()

    # -- odds and ends

    def _run(self, script: scripts.Script, keys: list[str], *arguments: Any) -> Any:
        packed = script.packed(keys, self._names, *arguments)
        return self._borrowed(lambda connection: script.call(connection, packed))

    def _operate(self, *command: Any) -> Any:
        return self._borrowed(lambda connection: connection.call(*command))

    def _borrowed(self, use: Callable[[Connection], Any]) -> Any:
        if self._closed:
            raise OperationalError("this broker is closed")
        try:
            connection = self._operators.pop()
        except IndexError:
            connection = self._connect()
            connection.hurry(self._patience)
        try:
            return use(connection)
        except BaseException:
            # Also what a signal handler raises in the middle, as a soft time limit does: a reply may be left.
            connection.close()
            raise
        finally:
            self._operators.append(connection)

    def _known_queues(self) -> list[str]:
        known = {_text(name) for name in self._operate("SMEMBERS", self._keys.queues)}
        return sorted(known | exchanges.queues_bound(self._operate, self._keys))

    def _register(self, queue: str) -> None:
        self._operate("SADD", self._keys.queues, queue)

    def _forget_operators(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._operators.pop().close()

    def _is_revoked(self, id: str) -> bool:
        till = self._operate("ZSCORE", self._keys.revoked, id)
        return till is not None and float(till) > time.time() * 1000


def _text(reply: bytes | str) -> str:
    return reply.decode() if isinstance(reply, bytes) else reply
