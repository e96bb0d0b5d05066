"""What Redis and a plain socket cost by themselves: the floor under every system."""

from __future__ import annotations

import socket
import time

from hiredis import Reader, pack_command

#: Bytes of a message; a Celery envelope of a call without arguments.
SIZE = 780


def bare_round_trips(port: int, n: int) -> float:
    """LPUSH commands a second, each waiting for its answer."""
    packed = pack_command(("LPUSH", "bare", "x" * SIZE))
    reader = Reader()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        for _ in range(n):
            connection.sendall(packed)
            reader.feed(connection.recv(65536))
            reader.gets()
        return n / (time.perf_counter() - began)
