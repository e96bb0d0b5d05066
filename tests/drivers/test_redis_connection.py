"""The connection to Redis: how often it asks the kernel for a reply before it falls asleep over it, and
what it makes of errors."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from types import FrameType
from typing import Any

import pytest
from hiredis import ReplyError

from celeriac.drivers.redis.address import Address
from celeriac.drivers.redis.connection import BLIND, GLANCES, Connection, ServerError, checked, pack
from celeriac.exceptions import OperationalError


class Server:
    """It answers on the client's own thread, when the client looks for the reply for the nth time: so nothing
    here depends on who is quicker."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[socket.socket] = []
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self._answers_at: tuple[int, ...] = ()
        self._looks = 0

    def watch(self, _frame: FrameType, event: str, called: Any) -> None:
        """For sys.setprofile."""
        if event == "c_call" and called.__name__ == "recv":
            self._looks += 1
            if self._looks in self._answers_at:
                if not self._accepted:
                    self._accepted.append(self._listener.accept()[0])
                self._accepted[0].sendall(b":1\r\n")

    def looks_of(self, connection: Connection, *answers_at: int) -> int:
        """How often the client looks for the reply to one command."""
        self._looks, self._answers_at = 0, answers_at
        sys.setprofile(self.watch)
        try:
            connection.call_packed(pack("PING"))
        finally:
            sys.setprofile(None)
        return self._looks

    def close(self) -> None:
        for one in (self._listener, *self._accepted):
            one.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server()) as server:
        yield server


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    """It is open."""
    with closing(Connection(server.address, connect_timeout=5, timeout=0.1)) as connection:
        server.looks_of(connection, 1, 2)  # one for its number, which it asks for when it has connected
        yield connection


def test_a_reply_that_comes_soon_is_taken_without_falling_asleep(
    server: Server, connection: Connection
) -> None:
    # A look that waits would wait in vain.
    assert server.looks_of(connection, 3) == 3
    assert server.looks_of(connection, GLANCES) == GLANCES


def test_who_looked_in_vain_falls_asleep_over_the_next_replies_too(
    server: Server, connection: Connection
) -> None:
    asleep = GLANCES + 1
    assert server.looks_of(connection, asleep) == asleep
    for _ in range(BLIND):
        server.looks_of(connection, 1)
    assert server.looks_of(connection, asleep) == asleep, "it looks again"
    with pytest.raises(OperationalError, match="no reply"):
        server.looks_of(connection, 2)  # of which it takes only the first, and sleeps


def test_an_error_within_a_script_is_told_by_redis_6_as_by_later_ones() -> None:
    said = (
        "ERR Error running script (call to f_f9c7a865de83a4f0e77bc63554f23e666248638e): @user_script:21: "
        "@user_script: 21: -READONLY You can't write against a read only replica."
    )
    connection = Connection(Address("127.0.0.1", 6379), connect_timeout=5, timeout=5)
    with pytest.raises(OperationalError, match="answered: READONLY You can't write") as caught:
        checked(ReplyError(said), connection)
    assert not isinstance(caught.value, ServerError)  # it passes: the next connection leads to the new master
