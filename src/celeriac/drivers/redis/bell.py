"""Where an idle child waits: Redis itself wakes one of all that wait, when a message comes.

A producer pushes a token into the bell (a list) of the queue, and idle children stand in BLPOP on the bells
of their queues. A token is no message: losing one costs nothing but the time until somebody looks again.

Who holds nothing stands with a turn in his hand: the command that claims lies behind BLPOP on the same
connection, and Redis runs it at once when the token comes, so that the claims come with it. That spares an
exchange, which costs an idle machine most: it would have to wake up Redis and the child once more.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from celeriac.drivers.redis.connection import Connection, checked, pack
from celeriac.drivers.redis.keys import Keys
from celeriac.exceptions import OperationalError
from celeriac.polling import readable

#: Seconds after which, at the latest, the server calls off who stands in line, who then stands again. Long,
#: since every child says it: that a connection died in silence the kernel finds out sooner (keepalive), or
#: the lookout for all children of its node. Our own deadlines are kept here, because the server looks at its
#: own only about ten times a second.
STAND = 60
#: Seconds until one who could not be called off is called off again.
AGAIN = 0.001
#: Seconds that its word may be late before the connection counts as broken.
SLACK = 1.5


_MULTI, _EXEC = pack("MULTI"), pack("EXEC")


class Heard(Enum):
    """What ended a wait."""

    #: The time is over.
    NOTHING = auto()
    #: `wake` was called.
    A_CALL = auto()
    #: A token came, or the time is over for which the server lets us stand.
    THE_BELL = auto()


class Bell:
    """One connection of its own, since BLPOP blocks it; opened at the first wait."""

    def __init__(self, connect: Callable[[], Connection], keys: Keys, main: Connection) -> None:
        self._connection = connect()
        #: The broker's own connection, which can call us off.
        self._main = main
        self._prefix = keys.bell
        self._bells: list[str] = []
        self._no_write = pack("DEL", keys.nothing)
        self.standing = False
        #: Replies that come behind that of BLPOP.
        self._behind = 0
        self._heard = False
        self._overdue = 0.0
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._closed = False

    def listen(self, queues: Sequence[str]) -> None:
        """Stand at the bells of these queues from the next time on."""
        self._bells = [self._prefix + queue for queue in queues]

    @property
    def is_called(self) -> bool:
        """Whether `wake` was called since somebody waited last; says so once."""
        return bool(readable(self._wake_reader, seconds=0.0)) and self._drain()

    def stand(self, behind: bytes = b"", replies: int = 0) -> None:
        """Stand in line; with commands, as they go over the wire, that Redis is to run when we stand no
        longer, whatever ends it, and how many replies these have."""
        # Not all for the same time: who woke together would stand in the same order for ever, and what the
        # first cannot use (a task that it does not know) would never reach the second.
        stand = random.uniform(0.5, 1.0) * STAND
        self._connection.send(pack("BLPOP", *self._bells, f"{stand:.3f}") + behind)
        self.standing, self._heard, self._behind = True, False, replies
        self._overdue = time.monotonic() + stand + SLACK

    def wait(self, seconds: float) -> Heard:
        """Wait at most so long; without a queue nothing rings."""
        deadline = time.monotonic() + max(0.0, seconds)
        if not self.standing:
            ended = readable(self._wake_reader, seconds=deadline - time.monotonic())
            return Heard.A_CALL if ended and self._drain() else Heard.NOTHING
        connection = self._connection
        line = connection.fileno()
        while True:
            ready = readable(line, self._wake_reader, seconds=min(deadline, self._overdue) - time.monotonic())
            if not connection.is_open:
                raise OperationalError("the connection was closed while it waited for messages")
            if self._wake_reader in ready and self._drain():
                return Heard.A_CALL
            if line in ready:
                self._heard = True
                return Heard.THE_BELL
            now = time.monotonic()
            if now >= self._overdue:
                self.standing = False
                raise connection.lost(TimeoutError("no answer while waiting for messages"))
            if now >= deadline:
                return Heard.NOTHING

    def leave(self) -> list[Any]:
        """Stand no longer, so that the next token goes to somebody who is free. Gives the replies of the
        commands that were behind it."""
        if not self.standing:
            return []
        self.standing = False
        connection = self._connection
        deadline = time.monotonic() + connection.timeout
        try:
            # Not yet standing when it is called off: the two go over two connections, and the second may be
            # heard first. Or no longer: then the token is on its way.
            while not self._heard and not self._call_off(connection.client_id):
                if connection.has_more(AGAIN):
                    break
                if time.monotonic() > deadline:
                    raise connection.lost(TimeoutError("cannot be called off"))
            rung, *replies = connection.read_several(1 + self._behind)
            checked(rung, connection)
            return replies
        except Exception:
            self.hang_up()
            raise

    def _call_off(self, client_id: int) -> bool:
        """Whether it was standing until now.

        It goes in a transaction with a write, which writes nothing, so that Redis puts it off while writes
        are paused, as in a failover: called off then, a client whose BLPOP is put off too ends any Redis from
        before July 2025 (redis#14164: "Unknown btype in replyToBlockedClientTimedOut").
        """
        main = self._main
        main.send(b"".join((_MULTI, pack("CLIENT", "UNBLOCK", client_id), self._no_write, _EXEC)))
        *queued, done = main.read_several(4)
        for reply in queued:
            checked(reply, main)
        return bool(checked(checked(done, main)[0], main))

    def wake(self) -> None:
        """End the present or the next wait. Safe in signal handlers and from any thread."""
        with contextlib.suppress(OSError):  # a full pipe wakes as well
            os.write(self._wake_writer, b"!")

    def close(self) -> None:
        """May be called twice."""
        if not self._closed:
            self._closed = True
            self._connection.close()
            os.close(self._wake_reader)
            os.close(self._wake_writer)

    def shut(self) -> None:
        """End a wait with an error, from any thread: the connection is not trusted any more."""
        self._connection.shut()

    def hang_up(self) -> None:
        """Forget the connection: what it stands on broke, and it may be as dead without having been told."""
        self.standing = False
        self._connection.close()

    def _drain(self) -> bool:
        try:
            return bool(os.read(self._wake_reader, 4096))
        except BlockingIOError:
            return False
