"""The broker on Redis: one Lua call a turn, and a bell to wait at without polling."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from celeriac.drivers.counting import ALONE, item_of_the_lost
from celeriac.drivers.redis import exchanges, foreign, scripts
from celeriac.drivers.redis.bell import Bell, Heard
from celeriac.drivers.redis.connection import Connection, pack
from celeriac.drivers.redis.holding import Holding
from celeriac.drivers.redis.keys import SEPARATOR, Keys
from celeriac.drivers.redis.lookout import RedisLookout
from celeriac.drivers.redis.producer import Producer
from celeriac.drivers.redis.scanning import listed, scanned
from celeriac.drivers.redis.settling import packed_outcomes
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

#: Most messages that one script call claims; what a child wants is mostly far less (law 7).
MOST_CLAIMS = 512
#: About the most bytes that one script call claims or settles.
MOST_BYTES = 8 * 1024 * 1024
#: Most outcomes in one script call.
MOST_OUTCOMES = 1000
#: Most ids that one script call revokes.
MOST_REVOKED = 1000
#: Seconds past the due time of a delayed message before an idle child looks by itself, where a lookout is
#: there to wake one in time: the net for a lookout that died.
LATE = 0.5

#: The part of its lease for which a node waits for a reply: if its connection is dead and was not told, there
#: must be time left to beat over a new one.
LONGEST_WAIT = 0.25
#: The part of it for which the lookout waits, which may hold up a beat.
LONGEST_LOOK = 0.125

#: More bytes than an envelope ends with that tells of deaths: of eight, each in 200 letters (prelude.lua).
LONGEST_END = 4000

_SUFFIXES = [f"{SEPARATOR}{step}" for step in PRIORITY_STEPS if step]
_encode = msgspec.msgpack.encode
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
        self._with_results = with_results
        self._names = scripts.names(keys)
        self._connection = connect()
        #: Connections for the operator's calls, which may come from any thread.
        self._operators: deque[Connection] = deque()
        #: Seconds that they wait for a reply at most.
        self._patience = float("inf")
        self._producer = Producer(connect, keys, publish_timeout, wait_replicas)
        self._bell = Bell(connect, keys, self._connection)
        self._lookout: RedisLookout | None = None
        self._queues: list[str] = []
        #: Fanout exchanges of stock Celery that this node listens to, and the queue into which it puts what
        #: it hears.
        self._relays: dict[str, str] = {}
        self._packed_queues: list[bytes] = [_encode(())]
        self._served = 0
        #: Per owner: the number of its last turn, and of its last claim.
        self._turns: dict[str, int] = {}
        self._claims: dict[str, int] = {}
        self._holdings: dict[str, Holding] = {}
        self._unanswered: _Turn | None = None
        #: Of whom spoke last.
        self._lease, self._node = 0.0, ""
        #: Claims of an answer that came, in a call that failed afterwards.
        self._found: list[Claim] = []
        self._revoked = Revoked(self._is_revoked)
        #: Epoch seconds at which an idle child looks by itself; 0 is never.
        self._next_look = 0.0
        self._closed = False

    # -- sending

    def publish(self, messages: Sequence[Message]) -> None:
        self._producer.publish(messages)

    def publish_all(self, batches: Iterable[Sequence[Message]]) -> None:
        self._producer.publish_all(batches)

    # -- working

    def consume(self, queues: Sequence[str]) -> None:
        self._queues = list(dict.fromkeys(queues))
        rows = [(queue, *self._keys.ready_steps(queue)) for queue in self._queues]
        # Packed once for each queue that may go first, so that serving them in turn costs nothing.
        self._packed_queues = [_encode(rows[i:] + rows[:i]) for i in range(len(rows))] or [_encode(())]
        self._bell.listen(self._queues)

    def enlist(self, owner: str, node: str, lease: float) -> None:
        self._run(scripts.ENLIST, [self._keys.claims + owner], owner, node, int(lease * 1000), *self._queues)
        self._turns[owner] = 0
        self._lease, self._node = lease, node

    def turn(self, owner: str, outcomes: Sequence[Outcome], want: int, wait: float = 0.0) -> list[Claim]:
        if self._unanswered is None:
            claims = self._settle_and_claim(owner, outcomes, want)
        else:
            settled, may_be_more = self._catch_up(owner, self._unanswered)
            outcomes, want = outcomes[settled:], max(0, want - len(self._found))
            again = outcomes or (want and may_be_more)
            claims = self._settle_and_claim(owner, outcomes, want) if again else []
        if self._found:
            claims, self._found = self._found + claims, []
        if claims or not want or wait <= 0:
            return claims
        return self._wait_and_claim(owner, want, time.monotonic() + wait)

    def wake(self) -> None:
        self._bell.wake()

    def beat(self, node: str, lease: float, living: Collection[str] = ()) -> list[str]:
        if lease * LONGEST_WAIT < self._patience:
            self._patience = lease * LONGEST_WAIT
            self._connection.hurry(self._patience)
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
        claims, firsts = self._told(flat)
        holding = self._holdings[by] = Holding()
        for first, numbers in groupby(zip(firsts, claims, strict=True), lambda pair: pair[0]):
            holding.add(first, [claim.number for _, claim in numbers])
        holding.begun.update(claim.number for claim in claims if claim.begun)
        self._turns[by] = 0
        self._claims[by] = claims[-1].number if claims else 0
        return claims

    def dismiss(self, owner: str) -> None:
        if self._bell.standing:
            self._bell.hang_up()
        self._run(scripts.DISMISS, [self._keys.claims + owner], owner, LEFT_BEGUN)
        self._turns.pop(owner, None)
        self._holdings.pop(owner, None)
        self._claims.pop(owner, None)
        if self._unanswered is not None and self._unanswered.owner == owner:
            self._unanswered = None

    def lookout(self, node: str, distrust: Callable[[], None] = lambda: None) -> Lookout | None:
        def distrust_all() -> None:
            self.distrust()
            distrust()

        self._lookout = RedisLookout(
            self._connect, self._keys, node, self._queues, self._relays, self.publish, distrust_all
        )
        return self._lookout

    def distrust(self) -> None:
        self._connection.shut()
        self._bell.shut()
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
        channel = exchanges.topic_of(self._keys, self._connection.address.db, exchange, key)
        self._operate("PUBLISH", channel, exchanges.marked(payload))

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
        return self._told(self._run(scripts.HELD, [], owner))[0]

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
        self._bell.close()
        self._producer.close()
        self._connection.close()
        self._forget_operators()

    # -- a turn

    def _catch_up(self, owner: str, last: _Turn) -> tuple[int, bool]:
        """End the turn whose answer nobody has heard. Gives how many outcomes of this owner it settled, and
        whether there may be more to claim than it found: not if it stood at the bell, for then it was
        answered just now."""
        stood = self._bell.standing
        found = self._exchange(last)
        if last.owner != owner:
            return 0, not stood
        # Kept here until they are returned: should the next exchange fail, nobody else knows of them.
        self._found += found
        return len(last.outcomes), not stood and not self._found

    def _settle_and_claim(self, owner: str, outcomes: Sequence[Outcome], want: int) -> list[Claim]:
        """As many exchanges as the outcomes need; the last one claims."""
        while (part := _fitting(outcomes)) < len(outcomes):
            self._exchange(self._next_turn(owner, outcomes[:part], 0))
            outcomes = outcomes[part:]
        return self._exchange(self._next_turn(owner, outcomes, want))

    def _next_turn(
        self, owner: str, outcomes: Sequence[Outcome], want: int, *, at_the_bell: bool = False
    ) -> _Turn:
        number = self._turns.get(owner, 0) + 1
        first = self._claims.get(owner, 0) + 1
        # The part of its lease that a node must have left for what its children claim at the bell.
        fresh = int(self._lease * 1000 / 2) if at_the_bell else 0
        self._served += 1
        acks, others, flat = packed_outcomes(
            self._keys, owner, self._holding(owner), outcomes, with_results=self._with_results
        )
        packed = scripts.TURN.packed(
            [self._keys.claims + owner],
            self._names,
            _encode((number, first, min(want, MOST_CLAIMS), MOST_BYTES, fresh, self._node)),
            self._packed_queues[self._served % len(self._packed_queues)],
            acks,
            others,
            *flat,
        )
        if want:
            packed += pack("LRANGE", f"{self._keys.batches}{owner}:{first}", 0, -1)
        return _Turn(owner, number, outcomes, packed, want)

    def _exchange(self, turn: _Turn) -> list[Claim]:
        if self._closed:
            raise OperationalError("this broker is closed")
        owner = turn.owner
        # Until its reply is here nobody knows whether it happened; its number makes sending it again safe.
        self._unanswered = turn
        try:
            told = self._bell.leave()
            reply, *batch = scripts.TURN.replies(self._connection, turn.packed, 2 if turn.want else 1, told)
        except OperationalError:
            if not self._connection.is_open:
                self._bell.hang_up()
            raise
        self._unanswered = None
        if reply is None:
            raise Fenced(owner)
        if not reply:
            return self._exchange(self._next_turn(owner, turn.outcomes, turn.want))
        self._turns[owner] = turn.number
        due, revoked, *runs = reply
        self._next_look = due / 1000 + LATE if due > 0 else -due / 1000
        if not runs:
            return []
        if len(batch[0]) != runs[0][1]:
            # Between the script and the reading of the batch somebody took it: our lease had run out.
            raise Fenced(owner)
        runs[0] += batch[0]
        claims = self._claimed(owner, runs)
        self._revoked.learn(revoked and _by_id(*revoked))
        return claims

    def _claimed(self, owner: str, runs: Sequence[Sequence[Any]]) -> list[Claim]:
        holding = self._holding(owner)
        last = self._claims.get(owner, 0)
        claims: list[Claim] = []
        for name, count, *payloads in runs:
            queue, first = name.decode(), last + 1
            last += count
            numbers = range(first, last + 1)
            holding.add(first, numbers)
            # Payloads normally end in "}}": only what was delivered before ends in a digit and "}".
            claims += [
                _claim(number, queue, payload) if payload[-2:-1].isdigit() else Claim(number, queue, payload)
                for number, payload in zip(numbers, payloads, strict=True)
            ]
        self._claims[owner] = last
        return claims

    def _told(self, flat: Sequence[Any]) -> tuple[list[Claim], list[int]]:
        """The claims of an owner as a script tells of them, and the batch of each."""
        claims = [
            _claim(number, self._keys.queue_of(ready.decode()), payload, begun=bool(begun))
            for number, ready, payload, begun in zip(
                flat[::5], flat[2::5], flat[3::5], flat[4::5], strict=True
            )
        ]
        return claims, list(flat[1::5])

    def _wait_and_claim(self, owner: str, want: int, deadline: float) -> list[Claim]:
        bell = self._bell
        while True:
            seconds = deadline - time.monotonic()
            if self._next_look:
                seconds = min(seconds, self._next_look - time.time())
            try:
                if self._queues and not bell.standing:
                    if bell.is_called:
                        return []
                    self._stand(owner, want)
                heard = bell.wait(seconds)
            except OperationalError:
                # Of the two connections the quiet one may be dead without having been told.
                self._connection.close()
                raise
            if heard is Heard.A_CALL:
                return []
            claims = self._exchange(self._unanswered or self._next_turn(owner, (), want))
            if claims or time.monotonic() >= deadline:
                return claims

    def _stand(self, owner: str, want: int) -> None:
        holding = self._holdings.get(owner)
        if holding is not None and holding.batches:
            # It will be called away when what it holds ends, and not wait for more while it cannot answer.
            self._bell.stand()
            return
        self._unanswered = turn = self._next_turn(owner, (), want, at_the_bell=True)
        self._bell.stand(turn.packed, 2)

    # -- odds and ends

    def _holding(self, owner: str) -> Holding:
        holding = self._holdings.get(owner)
        if holding is None:
            holding = self._holdings[owner] = Holding()
        return holding

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
        finally:
            self._operators.append(connection)

    def _known_queues(self) -> list[str]:
        known = {_text(name) for name in self._operate("SMEMBERS", self._keys.queues)}
        return sorted(known | exchanges.queues_bound(self._operate, self._keys))

    def _forget_operators(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._operators.pop().close()

    def _is_revoked(self, id: str) -> bool:
        till = self._operate("ZSCORE", self._keys.revoked, id)
        return till is not None and float(till) > time.time() * 1000


class _Turn(msgspec.Struct, frozen=True):
    """A turn as it went, or is to go, over the wire."""

    owner: str
    number: int
    outcomes: Sequence[Outcome]
    packed: bytes
    #: The claims that it wants: if any, the reading of the first batch stands behind it.
    want: int


def _fitting(outcomes: Sequence[Outcome]) -> int:
    """How many of the first outcomes go into one call."""
    count = len(outcomes)
    if count <= 1:
        return count
    size = 0
    for index, outcome in enumerate(outcomes[:MOST_OUTCOMES]):
        if outcome.result is not None:
            size += len(outcome.result.payload)
        if outcome.follow_ups:
            size += sum(len(message.payload) for message in outcome.follow_ups)
        if outcome.counts:
            size += sum(len(counted.item) for counted in outcome.counts)
        if size > MOST_BYTES and index:
            return index
    return min(count, MOST_OUTCOMES)


def _claim(number: int, queue: str, payload: bytes, begun: bool = False) -> Claim:
    """With what moves.lua writes at the end of an envelope: how many owners died over it, and how."""
    body, mark, count = payload[-LONGEST_END:].rpartition(b',"deliveries":')
    if not mark or not count[:-1].isdigit() or count[-1:] != b"}":
        return Claim(number, queue, payload, begun=begun)
    _, mark, told = body.rpartition(b',"deaths":')
    deaths: tuple[str, ...] = ()
    if mark:
        with contextlib.suppress(msgspec.DecodeError):
            deaths = msgspec.json.decode(told, type=tuple[str, ...])
    return Claim(number, queue, payload, int(count[:-1]), begun, deaths)


def _by_id(shown: bytes, *revoked: bytes) -> dict[str, bool]:
    """As `Revoked` learns it."""
    # An id that holds a newline falls apart here, and is asked for when its task is looked at.
    known = dict.fromkeys(shown.decode("utf-8", "replace").split("\n"), False)
    known.update((id.decode(), True) for id in revoked)
    return known


def _text(reply: bytes | str) -> str:
    return reply.decode() if isinstance(reply, bytes) else reply
