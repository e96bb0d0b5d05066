"""A network of known delay before a server: what goes in comes out so much later, and no less of it.

python -m common.wire 6379 0.001    # prints the port that it listens on
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from queue import SimpleQueue

CHUNK = 1 << 20


def main() -> None:
    target, delay = int(sys.argv[1]), float(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", target))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            carry(client, server, delay)
            carry(server, client, delay)


def carry(source: socket.socket, target: socket.socket, delay: float) -> None:
    """One direction of one connection: what is under way does not hold up what comes behind it."""
    under_way: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def take_in() -> None:
        data = b"?"
        while data:
            try:
                data = source.recv(CHUNK)
            except OSError:
                data = b""
            under_way.put((time.monotonic() + delay, data))

    def give_out() -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = under_way.get()
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                time.sleep(max(0.0, due - time.monotonic()))
                target.sendall(data)

    for task in (take_in, give_out):
        threading.Thread(target=task, daemon=True).start()


if __name__ == "__main__":
    main()
