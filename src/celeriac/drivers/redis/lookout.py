"""The lookout: one node of a fleet that wakes idle children for messages whose producer did not ring.

A stock Celery producer only pushes to the ready list, and a delay only ends. Redis tells the lookout of both
without polling: it reads the lengths of the lists under CLIENT TRACKING and is sent one notice at the next
write. One lookout serves the whole fleet, so that a message costs one look and not one for every node; its
office is a key with a TTL, and the others stand by.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

from hiredis import ReplyError

from celeriac.drivers.redis import scripts
from celeriac.drivers.redis.connection import Connection, checked, pack
from celeriac.drivers.redis.eviction import warn_of_eviction
from celeriac.drivers.redis.exchanges import OURS, topic_of
from celeriac.drivers.redis.keys import Keys
from celeriac.exceptions import OperationalError
from celeriac.message import PRIORITY_STEPS, Message

#: Seconds between two looks of a quiet lookout, and of those that stand by. Each look also renews the office.
QUIET = 5.0
#: Seconds for which the office and the list of queues hold without renewal.
OFFICE = 15.0
#: Seconds between a notice and the look: by then a child that was rung has claimed its message, and nobody is
#: woken twice.
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
    ) -> None:
        self._connection = connect(resp3=True)
        self._keys = keys
        self._names = scripts.names(keys)
        self._node = node
        self._queues = list(queues)
        #: Fanout exchanges of stock Celery -> the queue that gets what is said there.
        self._relays = relays
        self._publish = publish
        #: All queues that some node listens to, as the last look found them.
        self._known: list[str] = []
        self._tracked = False
        self._warned = False
        self._next = 0.0

    def fileno(self) -> int | None:
        """What to poll for reading beside the time that `look` gave; None while there is no connection."""
        return self._connection.fileno() if self._connection.is_open else None

    def look(self) -> float:
        """Look if it is time or a notice has come; returns the seconds until it wants to be called again."""
        now = time.monotonic()
        if self._connection.is_open and self._notices():
            self._next = min(self._next, now + PATIENCE)
        self._relay()
        if now >= self._next:
            self._next = time.monotonic() + self._look()
            if (
                self._notices()
            ):  # it came together with the answer and lies in our buffer, where no poll sees it
                self._next = time.monotonic() + PATIENCE
            self._relay()
        return max(0.0, self._next - time.monotonic())

    def close(self) -> None:
        """Lay down the office; may be called twice."""
        if self._connection.is_open:
            # No reply is waited for: a server that is silent must not keep a node from stopping.
            with contextlib.suppress(OperationalError):
                self._connection.send(scripts.RESIGN.whole([self._keys.lookout], self._node))
        self._connection.close()

    def _look(self) -> float:
        connection = self._connection
        if not connection.is_open:
            connection.open()
            answer = connection.call_many([("CLIENT", "TRACKING", "ON", "NOLOOP")])[0]
            self._tracked = not isinstance(answer, ReplyError)
            self._listen()
            if not self._warned:
                self._warned = True
                warn_of_eviction(connection)
        # The bells first: what is delayed after the look below has been taken also rings, and we are told.
        # We also want to be told of a node that begins to listen to a queue which nobody listened to.
        news = ("GET", self._keys.listened_news)
        tokens = self._lengths([self._keys.bell + queue for queue in self._known], news)
        office = int(OFFICE * 1000)
        packed = scripts.LOOK.packed(
            [], self._names, self._node, office, self._keys.listened_news, *self._queues
        )
        in_office, due, *listened = scripts.LOOK.call(connection, packed)
        if not in_office:
            return QUIET
        queues = [queue.decode() for queue in listened]
        if queues != self._known:
            self._known = queues
            return self._look()
        self._ring_for([queue for queue, length in zip(queues, tokens, strict=True) if not length])
        pause = QUIET if self._tracked else POLL
        if due:
            pause = min(pause, due / 1000 - time.time())
        return max(PATIENCE, pause)

    def _listen(self) -> None:
        for exchange in self._relays:
            channel = topic_of(self._keys, self._connection.address.db, exchange, "")
            # Their answers are pushed too, so none is read for.
            self._connection.send(pack("PSUBSCRIBE", channel, channel + "/*"))

    def _relay(self) -> None:
        """Put what stock Celery said to a fanout exchange into the queue of ours that is bound to it."""
        heard, self._connection.heard = self._connection.heard, []
        for channel, payload in heard:
            if payload.endswith(OURS):
                continue
            for exchange, queue in self._relays.items():
                ours = topic_of(self._keys, self._connection.address.db, exchange, "").encode()
                if channel == ours or channel.startswith(ours + b"/"):
                    self._publish((Message(str(uuid4()), queue, payload),))

    def _ring_for(self, quiet: Sequence[str]) -> None:
        """Ring where messages are ready and nobody was rung for them.

        Reading LLEN makes Redis tell us of the next write to that list. Where a bell holds tokens nobody is
        idle: there only the bell is read, and a busy queue does not keep us busy too.
        """
        ready = self._lengths([key for queue in quiet for key in self._keys.ready_steps(queue)])
        steps = len(PRIORITY_STEPS)
        arguments: list[str | int] = []
        for index, queue in enumerate(quiet):
            messages = sum(ready[index * steps : (index + 1) * steps])
            if messages:
                arguments += (queue, messages)
        if arguments:
            scripts.RING.call(self._connection, scripts.RING.packed([], self._names, *arguments))

    def _lengths(self, keys: list[str], *before: tuple[str, ...]) -> list[int]:
        """Of these lists; in one round trip with the commands before, whose replies nobody needs."""
        commands = [*before, *(("LLEN", key) for key in keys)]
        replies = self._connection.call_many(commands) if commands else []
        return [int(checked(reply, self._connection.address)) for reply in replies[len(before) :]]

    def _notices(self) -> bool:
        while self._connection.buffered() is not False:
            pass
        found, self._connection.notices = self._connection.notices > 0, 0
        return found
