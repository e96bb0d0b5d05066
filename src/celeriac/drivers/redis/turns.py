"""The turns of owners on Redis: each settles what is done and claims what comes, in one step, and once.

Who finds nothing waits at the bell, with the next turn in hand.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from celeriac.drivers.redis import scripts
from celeriac.drivers.redis.bell import Bell, Heard
from celeriac.drivers.redis.connection import Connection, pack
from celeriac.drivers.redis.holding import Holding
from celeriac.drivers.redis.keys import Keys
from celeriac.drivers.redis.settling import Registered, packed_outcomes
from celeriac.exceptions import Fenced, OperationalError
from celeriac.message import Claim, Outcome

#: Most messages that one script call claims; what a child wants is mostly far less (law 7).
MOST_CLAIMS = 512
#: About the most bytes that one script call claims or settles.
MOST_BYTES = 8 * 1024 * 1024
#: Most outcomes in one script call.
MOST_OUTCOMES = 1000
#: Seconds past the due time of a delayed message before an idle child looks by itself, where a lookout is
#: there to wake one in time: the net for a lookout that died.
LATE = 0.5
#: More bytes than an envelope ends with that tells of deaths: of eight, each in 200 letters (moves.lua).
LONGEST_END = 4000

_encode = msgspec.msgpack.encode


class Turns:
    """For one thread at a time, but for `wake` and `distrust`.

    `learn` is told which of the tasks that were just claimed are revoked, `note` the queues to which outcomes
    send and which may be known to nobody.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        keys: Keys,
        *,
        with_results: bool,
        learn: Callable[[Mapping[str, bool]], object],
        note: Callable[[str], object],
    ) -> None:
        self._keys = keys
        self._with_results = with_results
        self._learn = learn
        self._registered = Registered(note)
        self._names = scripts.names(keys)
        self._connection = connect()
        self._bell = Bell(connect, keys, self._connection)
        self._serves = False
        self._packed_queues: list[bytes] = [_encode(())]
        self._served = 0
        self._owners: dict[str, _Owner] = {}
        #: Of whom began last.
        self._lease, self._node = 0.0, ""
        self._unanswered: _Turn | None = None
        #: Claims of an answer that came, in a call that failed afterwards.
        self._found: list[Claim] = []
        #: Monotonic seconds at which an idle child looks by itself; 0 is never.
        self._next_look = 0.0
        self._closed = False

    def serve(self, queues: Sequence[str]) -> None:
        """From these queues it claims, each going first in turn."""
        rows = [(queue, *self._keys.ready_steps(queue)) for queue in queues]
        # Packed once for each queue that may go first, so that serving them in turn costs nothing.
        self._packed_queues = [_encode(rows[i:] + rows[:i]) for i in range(len(rows))] or [_encode(())]
        self._serves = bool(rows)
        self._registered.update((queue, queue) for queue in queues)  # by who begins
        self._bell.listen(queues)

    def begin(self, owner: str, node: str, lease: float) -> None:
        """The store knows a new owner."""
        self._known(owner).turn = 0
        self._lease, self._node = lease, node

    def inherit(self, owner: str, claims: Sequence[Claim], firsts: Sequence[int]) -> None:
        """The store has made this new owner the heir of these claims, each of a batch with that first one."""
        self._owners[owner] = known = _Owner(owner)
        for first, numbers in groupby(zip(firsts, claims, strict=True), lambda pair: pair[0]):
            known.holding.add(first, [claim.number for _, claim in numbers])
        known.holding.begun.update(claim.number for claim in claims if claim.begun)
        known.claim = claims[-1].number if claims else 0

    def end(self, owner: str) -> None:
        """The store knows the owner no longer."""
        self._owners.pop(owner, None)
        if self._unanswered is not None and self._unanswered.owner.name == owner:
            self._unanswered = None

    def turn(self, owner: str, outcomes: Sequence[Outcome], want: int, wait: float = 0.0) -> list[Claim]:
        """See `celeriac.ports.Broker.turn`."""
        known = self._owners.get(owner) or self._known(owner)
        if self._unanswered is None:
            claims = self._settle_and_claim(known, outcomes, want)
        else:
            settled, may_be_more = self._catch_up(known, self._unanswered)
            outcomes, want = outcomes[settled:], max(0, want - len(self._found))
            again = outcomes or (want and may_be_more)
            claims = self._settle_and_claim(known, outcomes, want) if again else []
        if self._found:
            claims, self._found = self._found + claims, []
        if claims or not want or wait <= 0:
            return claims
        return self._wait_and_claim(known, want, time.monotonic() + wait)

    def wake(self) -> None:
        """End the present or the next wait; for any thread and for signal handlers."""
        self._bell.wake()

    def hang_up(self) -> None:
        """Wait at the bell no longer: nobody hears what it would claim."""
        if self._bell.standing:
            self._bell.hang_up()

    def hurry(self, longest: float) -> None:
        """Wait for a reply at most so many seconds."""
        self._connection.hurry(longest)

    def distrust(self) -> None:
        """The connections are made anew; from any thread."""
        self._connection.shut()
        self._bell.shut()

    def close(self) -> None:
        """May be called twice."""
        self._closed = True
        self._bell.close()
        self._connection.close()

    def _catch_up(self, owner: _Owner, last: _Turn) -> tuple[int, bool]:
        """End the turn whose answer nobody has heard. Gives how many outcomes of this owner it settled, and
        whether there may be more to claim than it found: not if it stood at the bell, for then it was
        answered just now."""
        stood = self._bell.standing
        found = self._exchange(last)
        if last.owner is not owner:
            return 0, not stood
        # Kept here until they are returned: should the next exchange fail, nobody else knows of them.
        self._found += found
        return len(last.outcomes), not stood and not self._found

    def _settle_and_claim(self, owner: _Owner, outcomes: Sequence[Outcome], want: int) -> list[Claim]:
        """As many exchanges as the outcomes need; the last one claims."""
        while (part := _fitting(outcomes)) < len(outcomes):
            self._exchange(self._next_turn(owner, outcomes[:part], 0))
            outcomes = outcomes[part:]
        return self._exchange(self._next_turn(owner, outcomes, want))

    def _next_turn(
        self, owner: _Owner, outcomes: Sequence[Outcome], want: int, *, at_the_bell: bool = False
    ) -> _Turn:
        name, number, first = owner.name, owner.turn + 1, owner.claim + 1
        # The part of its lease that a node must have left for what its children claim at the bell.
        fresh = int(self._lease * 1000 / 2) if at_the_bell else 0
        self._served += 1
        acks, others, flat = packed_outcomes(
            self._keys, self._registered, name, owner.holding, outcomes, with_results=self._with_results
        )
        packed = scripts.TURN.packed(
            [self._keys.claims + name],
            self._names,
            _encode((number, first, min(want, MOST_CLAIMS), MOST_BYTES, fresh, self._node)),
            self._packed_queues[self._served % len(self._packed_queues)],
            acks,
            others,
            *flat,
        )
        if want:
            packed += pack("LRANGE", f"{self._keys.batches}{name}:{first}", 0, -1)
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
            raise Fenced(owner.name)
        if not reply:
            return self._exchange(self._next_turn(owner, turn.outcomes, turn.want))
        owner.turn = turn.number
        due, revoked, *runs = reply
        self._next_look = time.monotonic() + (due / 1000 + LATE if due > 0 else -due / 1000) if due else 0.0
        if not runs:
            return []
        if len(batch[0]) != runs[0][1]:
            # Between the script and the reading of the batch somebody took it: our lease had run out.
            raise Fenced(owner.name)
        runs[0] += batch[0]
        claims = self._claimed(owner, runs)
        self._learn(revoked and _by_id(*revoked))
        return claims

    def _claimed(self, owner: _Owner, runs: Sequence[Sequence[Any]]) -> list[Claim]:
        last = owner.claim
        claims: list[Claim] = []
        for name, count, *payloads in runs:
            queue, first = name.decode(), last + 1
            last += count
            numbers = range(first, last + 1)
            owner.holding.add(first, numbers)
            # Payloads normally end in "}}": only what was delivered before ends in a digit and "}".
            claims += [
                (claim_of if payload[-2:-1].isdigit() else Claim)(number, queue, payload)
                for number, payload in zip(numbers, payloads, strict=True)
            ]
        owner.claim = last
        return claims

    def _wait_and_claim(self, owner: _Owner, want: int, deadline: float) -> list[Claim]:
        bell = self._bell
        while True:
            seconds = deadline - time.monotonic()
            if self._next_look:
                seconds = min(seconds, self._next_look - time.monotonic())
            try:
                if self._serves and not bell.standing:
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

    def _stand(self, owner: _Owner, want: int) -> None:
        if owner.holding.batches:
            # It will be called away when what it holds ends, and not wait for more while it cannot answer.
            self._bell.stand()
            return
        self._unanswered = turn = self._next_turn(owner, (), want, at_the_bell=True)
        self._bell.stand(turn.packed, 2)

    def _known(self, owner: str) -> _Owner:
        known = self._owners.get(owner)
        if known is None:
            known = self._owners[owner] = _Owner(owner)
        return known


class _Owner:
    """How far one has come."""

    __slots__ = ("claim", "holding", "name", "turn")

    def __init__(self, name: str) -> None:
        self.name = name
        #: The numbers of its last turn and of its last claim.
        self.turn = 0
        self.claim = 0
        self.holding = Holding()


class _Turn(msgspec.Struct, frozen=True):
    """A turn as it went, or is to go, over the wire."""

    owner: _Owner
    number: int
    outcomes: Sequence[Outcome]
    packed: bytes
    #: The claims that it wants: if any, the reading of the first batch stands behind it.
    want: int


def claims_told(keys: Keys, flat: Sequence[Any]) -> tuple[list[Claim], list[int]]:
    """The claims of an owner as a script tells of them, and the batch of each."""
    claims = [
        claim_of(number, keys.queue_of(ready.decode()), payload, begun=bool(begun))
        for number, ready, payload, begun in zip(flat[::5], flat[2::5], flat[3::5], flat[4::5], strict=True)
    ]
    return claims, list(flat[1::5])


def claim_of(number: int, queue: str, payload: bytes, begun: bool = False) -> Claim:
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
