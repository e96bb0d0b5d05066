"""Where an idle child waits: Redis itself wakes one of all that wait, when a message comes.

A producer pushes a token into the bell (a list) of the queue, and idle children stand in BLPOP on the bells
of their queues. A token is no message: losing one costs nothing but the time until somebody looks again.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Sequence

from hiredis import ReplyError

from celeriac.drivers.redis.connection import Connection, checked, pack, readable
from celeriac.drivers.redis.keys import Keys
from celeriac.exceptions import OperationalError

#: Seconds after which, at the latest, the server calls off who stands in line, who then stands again. Long,
#: since every child says it: that a connection died in silence the kernel finds out sooner (keepalive), or
#: the lookout for all children of its node. Our own deadlines are kept here, because the server looks at its
#: own only about ten times a second.
STAND = 60
#: Seconds until one who could not be called off is called off again.
AGAIN = 0.001
#: Seconds that its word may be late before the connection counts as broken.
SLACK = 1.5


class Bell:
    """One connection of its own, since BLPOP blocks it; opened at the first wait."""

    def __init__(self, connect: Callable[[], Connection], keys: Keys, main: Connection) -> None:
        self._connection = connect()
        #: The broker's own connection, which can call us off.
        self._main = main
        self._prefix = keys.bell
        self._bells: list[str] = []
        self._standing = False
        self._overdue = 0.0
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._closed = False

    def listen(self, queues: Sequence[str]) -> None:
        """Wait at the bells of these queues."""
        self.leave()
        self._bells = [self._prefix + queue for queue in queues]

    def wait(self, seconds: float) -> bool:
        """Wait to be rung, at most so long. True only if `wake` ended it."""
        deadline = time.monotonic() + max(0.0, seconds)
        while True:
            if not self._standing:
                if self._woken(0.0):
                    return True
                if not self._bells:
                    return self._woken(seconds)
                self._stand()
            ready = readable(
                self._connection.fileno(), min(deadline, self._overdue) - time.monotonic(), self._wake_reader
            )
            if not self._connection.is_open:
                raise OperationalError("the connection was closed while it waited for messages")
            if self._wake_reader in ready and self._drain():
                return True
            now = time.monotonic()
            if self._connection.fileno() in ready:
                self._standing = False
                rung = checked(self._connection.read(), self._connection.address) is not None
                if rung or now >= deadline:
                    return False
            elif now >= self._overdue:
                self._standing = False
                raise self._connection.lost(TimeoutError("no answer while waiting for messages"))
            elif now >= deadline:
                return False

    def leave(self) -> None:
        """Stop standing in line, so that the next token goes to somebody who is free."""
        if not self._standing:
            return
        self._standing = False
        connection = self._connection
        deadline = time.monotonic() + connection.timeout
        try:
            # Not yet standing when it is called off: the two go over two connections, and the second may be
            # heard first. Or no longer: then the token is on its way.
            while not self._main.call("CLIENT", "UNBLOCK", connection.client_id):
                if connection.has_more(AGAIN):
                    break
                if time.monotonic() > deadline:
                    raise connection.lost(TimeoutError("cannot be called off"))
            reply = connection.read()
        except Exception:
            self._connection.close()
            raise
        if isinstance(reply, ReplyError):
            self._connection.close()

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
        self._standing = False
        self._connection.close()

    def _stand(self) -> None:
        # Not all for the same time: who woke together would stand in the same order for ever, and what the
        # first cannot use (a task that it does not know) would never reach the second.
        stand = random.uniform(0.5, 1.0) * STAND
        self._connection.send(pack("BLPOP", *self._bells, f"{stand:.3f}"))
        self._standing, self._overdue = True, time.monotonic() + stand + SLACK

    def _woken(self, seconds: float) -> bool:
        return bool(readable(self._wake_reader, seconds)) and self._drain()

    def _drain(self) -> bool:
        try:
            return bool(os.read(self._wake_reader, 4096))
        except BlockingIOError:
            return False
