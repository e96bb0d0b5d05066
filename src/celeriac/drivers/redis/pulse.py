"""Whether the server still lives to whose word one listens: who only listens would never find out."""

from __future__ import annotations

from collections.abc import Callable

from celeriac.drivers.redis.connection import Connection

#: Seconds without a word after which it is asked, and then for its answer.
SILENCE = 2.0


class Pulse:
    """For the one thread that reads a connection. `ask` sends a PING, and says whether it did."""

    def __init__(self, connection: Connection, ask: Callable[[], bool]) -> None:
        self._connection = connection
        self._ask = ask
        self._asked = False

    def arrives(self, seconds: float) -> bool:
        """Whether something comes within so many seconds, or within a silence. OperationalError if the server
        was asked and says nothing."""
        if self._connection.has_more(min(SILENCE, seconds)):
            self._asked = False
            return True
        if seconds >= SILENCE:
            if self._asked:
                raise self._connection.lost(TimeoutError(f"silent for {2 * SILENCE:g} s"))
            self._asked = self._ask()
        return False
