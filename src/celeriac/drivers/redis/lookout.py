"""The lookout: one node of a fleet that wakes idle children for messages whose producer did not ring.

A stock Celery producer only pushes to the ready list, and a delay only ends. Redis tells the lookout of both
without polling: it reads the lengths of the lists, and of what is delayed, under CLIENT TRACKING and is sent
one notice at the next write. One lookout serves the whole fleet, so that a message costs one look and not one
for every node; its office is a key with a TTL, and the others stand by.

The looks are also the node's one probe of the store, for a child that stands at a bell says nothing for a
minute: if an answer is missing while a new connection gets one, all old ones may be dead without having been
told.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hiredis import ReplyError

from celeriac.drivers.redis import scripts
from celeriac.drivers.redis.connection import Connection, checked, pack
from celeriac.drivers.redis.eviction import warn_of_eviction
from celeriac.drivers.redis.keys import Keys
from celeriac.drivers.redis.relay import Relay
from celeriac.exceptions import OperationalError
from celeriac.message import PRIORITY_STEPS, Message

#: Seconds between two looks of a quiet lookout, and of those that stand by; with ANSWER the time in which a
#: node finds out that its connections are dead, so that it consumes again within 5 s after the fault.
QUIET = 2.75
#: Seconds that an answer may take before another connection is asked; fewer under a short lease.
ANSWER = 1.0
#: Seconds for which the office and the list of queues hold without renewal. Each look renews them.
OFFICE = 15.0
#: Seconds between a notice and the look: by then a child that was rung has claimed its message, and nobody is
#: woken twice. Where nobody rang, seconds between two looks.
PATIENCE = 0.001
#: Seconds between two looks where the server refuses CLIENT TRACKING (some proxies do).
POLL = 0.1


class RedisLookout:
    """See `celeriac.ports.Lookout`."""

    def __init__(
        self,
        connect: Callable[..., Connection],
        keys: Keys,
        node: str,
        queues: Sequence[str],
        relays: Mapping[str, str],
        publish: Callable[[Sequence[Message]], None],
        distrust: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._connection = connect(resp3=True)
        #: Seconds that an answer may take.
        self._answer = ANSWER
        self._keys = keys
        self._names = scripts.names(keys)
        self._node = node
        self._queues = list(queues)
        self._relay = Relay(keys, relays, publish)
        #: Called when other connections to the store may be dead too.
        self._distrust = distrust
        #: All queues that some node listens to, as the last look found them; none without the office.
        self._known: list[str] = []
        #: Of those, whose bells were empty when they were read: there somebody is idle.
        self._quiet: set[str] = set()
        #: Keys of which we are told -> their queue.
        self._bells: dict[bytes, str] = {}
        self._lists: dict[bytes, str] = {}
        #: Queues whose lists were written since they were read, those whose bells were, and whether anything
        #: else was.
        self._written: set[str] = set()
        self._rung: set[str] = set()
        self._news = False
        self._tracked = False
        #: It did not answer for a while: what was connected then may be dead.
        self._fell_silent = False
        self._warned = False
        #: Monotonic seconds of the next look at everything, of the end of the next delay, and of the look
        #: that follows a notice.
        self._next = 0.0
        self._due = math.inf
        self._next_notice = 0.0
        #: Monotonic seconds of the last one.
        self._looked = 0.0

    def hurry(self, longest: float) -> None:
        """Wait for no answer longer than so many seconds: a lease is renewed by the same thread."""
        self._answer = min(self._answer, longest)
        self._connection.hurry(longest)

    def fileno(self) -> int | None:
        """What to poll for reading beside the time that `look` gave; None while there is no connection."""
        return self._connection.fileno() if self._connection.is_open else None

    def look(self) -> float:
        """Look if it is time or a notice has come; returns the seconds until it wants to be called again."""
        began = time.monotonic()
        try:
            self._look_where_needed()
        except _Silent:
            self._next = 0.0
        except OperationalError:
            self._fell_silent |= time.monotonic() - began >= self._answer
            self._next = 0.0
            raise
        due = min(self._next, self._next_notice) if self._next_notice else self._next
        return max(0.0, due - time.monotonic())

    def _look_where_needed(self) -> None:
        self._heed_notices()
        now = time.monotonic()
        noticed = self._next_notice and now >= self._next_notice
        # Our producers write list and bell; whose bell alone was written, others have begun to wait there.
        if now >= self._next or (noticed and (self._news or not self._rung <= self._written)):
            self._forget_notices()
            self._look_at_all()
        elif noticed:
            queues = sorted(self._written)
            self._forget_notices()
            _, waiting, _ = self._read(queues)
            self._ring(waiting)
        # Those that came together with the answers lie in our buffer, where no poll sees them.
        self._heed_notices()

    def heard_of_store(self) -> None:
        """It has just answered somebody else of this node: the next probe may wait."""
        if self._tracked and self._connection.is_open:
            self._next = min(time.monotonic() + QUIET, self._due)

    def close(self) -> None:
        """Lay down the office; may be called twice."""
        if self._connection.is_open:
            # No reply is waited for: a server that is silent must not keep a node from stopping.
            with contextlib.suppress(OperationalError):
                self._connection.send(scripts.RESIGN.whole([self._keys.lookout], self._node))
        self._connection.close()

    # -- looking

    def _look_at_all(self) -> None:
        """Hold the office, move what is due, ring where nobody did."""
        self._next, self._due = 0.0, math.inf
        if not self._connection.is_open:
            self._open()
        # We also want to be told of a node that begins to listen to a queue which nobody listened to.
        look = scripts.LOOK.packed(
            [], self._names, self._node, int(OFFICE * 1000), self._keys.listened_news, *self._queues
        )
        news = pack("GET", self._keys.listened_news)
        (_, answer), waiting, delayed = self._read(self._known, news, look)
        in_office, due, *listened = scripts.LOOK.concluded(self._connection, look, answer)
        queues = [queue.decode() for queue in listened[::2]]
        if queues != self._known:
            self._learn(queues)
            self._look_at_all()
            return
        self._ring(waiting)
        if self._fell_silent:
            self._fell_silent = False
            self._distrust()
        now = time.monotonic()
        if due:
            self._due = now + max(PATIENCE, due / 1000)
        self._next = min(now + (QUIET if self._tracked or not in_office else POLL), self._due)
        # What was delayed between the look and the reading that Redis now watches, nobody would tell us of.
        seen = dict(zip(queues, listened[1::2], strict=True))
        if any(seen[queue] != number for queue, number in delayed.items()):
            self._next = now + PATIENCE

    def _read(self, queues: Sequence[str], *more: bytes) -> tuple[list[Any], dict[str, int], dict[str, int]]:
        """(the replies to the commands `more`, how many messages wait in the queues without a ringing bell,
        how many are delayed there).

        Reading a length makes Redis tell us of the next write to that key. Where a bell holds tokens nobody
        is idle: there only the bell is read, and a busy queue does not keep us busy too.
        """
        quiet = [queue for queue in queues if queue in self._quiet]
        bells = [pack("LLEN", self._keys.bell + queue) for queue in queues]
        replies = self._exchange([*bells, *more, *self._lengths(quiet)])
        tokens = dict(zip(queues, map(self._number, replies), strict=False))
        lengths = replies[len(bells) + len(more) :]
        now_quiet = [queue for queue in queues if not tokens[queue] and queue not in self._quiet]
        if now_quiet:
            lengths += self._exchange(self._lengths(now_quiet))
        self._quiet = self._quiet.difference(queues).union(queue for queue in queues if not tokens[queue])
        waiting, delayed = {}, {}
        each = len(PRIORITY_STEPS) + 1
        for at, queue in enumerate([*quiet, *now_quiet]):
            *ready, later = map(self._number, lengths[at * each : (at + 1) * each])
            if not tokens[queue]:
                waiting[queue], delayed[queue] = sum(ready), later
        return replies[len(bells) : len(bells) + len(more)], waiting, delayed

    def _number(self, reply: Any) -> int:
        return int(checked(reply, self._connection))

    def _lengths(self, queues: Iterable[str]) -> list[bytes]:
        return [
            command
            for queue in queues
            for command in (
                *(pack("LLEN", key) for key in self._keys.ready_steps(queue)),
                pack("ZCARD", self._keys.delayed + queue),
            )
        ]

    def _ring(self, waiting: Mapping[str, int]) -> None:
        arguments: list[str | int] = []
        for queue, messages in waiting.items():
            if messages:
                arguments += (queue, messages)
        if arguments:
            ring = scripts.RING.packed([], self._names, *arguments)
            (answer,) = self._exchange([ring])
            scripts.RING.concluded(self._connection, ring, answer)

    def _learn(self, queues: list[str]) -> None:
        self._known = queues
        self._quiet.intersection_update(queues)
        self._bells = {(self._keys.bell + queue).encode(): queue for queue in queues}
        self._lists = {key.encode(): queue for queue in queues for key in self._keys.ready_steps(queue)}

    # -- the connection

    def _open(self) -> None:
        connection = self._connection
        connection.open()
        answer = connection.call_many([("CLIENT", "TRACKING", "ON", "NOLOOP")])[0]
        self._tracked = not isinstance(answer, ReplyError)
        self._relay.listen(connection)
        if not self._warned:
            self._warned = True
            warn_of_eviction(connection)

    def _exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """Their replies, all in one round trip; _Silent if the connection proves to be dead."""
        connection = self._connection
        connection.send(b"".join(commands))
        if not connection.has_more(self._answer):
            self._ask_another()
        return [connection.read() for _ in commands]

    def _ask_another(self) -> None:
        """Find out whether the store is slow or the connection dead; raises if it is the connection, or if
        the store is away."""
        another = self._connect(timeout=2 * self._answer)
        try:
            another.call("PING")
            if self._connection.has_more(0.0):
                return
        except OperationalError:
            self._connection.close()
            raise
        finally:
            another.close()
        self._connection.close()
        self._distrust()
        raise _Silent

    def _heed_notices(self) -> None:
        connection = self._connection
        if not connection.is_open:
            return
        while connection.buffered() is not False:
            pass
        notices, connection.notices = connection.notices, []
        for kind, *rest in notices:
            if kind == b"pmessage":
                self._relay.hear(connection.address.db, rest[1], rest[2])
            elif kind == b"invalidate":
                self._note(rest[0])
        if self._written - self._rung:
            # A stock producer, whom no child has heard: every moment counts.
            self._next_notice = min(self._next_notice, self._looked + PATIENCE)
        self._relay.pass_on()

    def _note(self, keys: Sequence[bytes] | None) -> None:
        # Without keys all were deleted.
        for key in keys or (b"",):
            if key in self._lists:
                self._written.add(self._lists[key])
            elif key in self._bells:
                self._rung.add(self._bells[key])
            else:
                self._news = True
        if not self._next_notice:
            self._next_notice = time.monotonic() + PATIENCE

    def _forget_notices(self) -> None:
        self._written, self._rung = set(), set()
        self._news = False
        self._next_notice = 0.0
        self._looked = time.monotonic()


class _Silent(Exception):
    """The connection is dead, and the store is not."""
