"""Watches every command that reaches Redis, as MONITOR tells them."""

from __future__ import annotations

import re
import socket


class Monitor:
    """Run it in a thread; `stop` ends it, then it can be asked."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._connection.sendall(b"MONITOR\r\n")
        self._seen = bytearray()

    def run(self) -> None:
        while data := self._connection.recv(1 << 20):
            self._seen += data

    def stop(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)

    def count(self, word: str) -> int:
        """Lines that hold this word."""
        return self._seen.count(word.encode())

    @property
    def requests(self) -> int:
        """Commands that came from clients, not from scripts."""
        return len(re.findall(rb"\[\d+ \d+\.\d+\.\d+\.\d+:\d+\]", self._seen))
