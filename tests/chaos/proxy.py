"""A TCP proxy that does to a connection what networks do: cut it, swallow it, slow it down, refuse it."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from types import TracebackType

#: Bytes that one pump moves at once.
CHUNK = 65536


class Proxy:
    """Between clients and a port of 127.0.0.1. All its faults may be asked for from any thread.

    >>> with Proxy(6379) as proxy:
    ...     proxy.reset()
    """

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.port = 0
        #: Seconds that every chunk of bytes is held up, each way.
        self.delay = 0.0
        #: How many connections it cut.
        self.cuts = 0
        self._passing = threading.Event()
        self._passing.set()
        self._lock = threading.Lock()
        self._pairs: set[_Pair] = set()
        self._cut_in = 0
        self._dice = random.Random(0)
        self._cut_chance = 0.0
        self._listener: socket.socket | None = None

    def start(self) -> None:
        """Listen; after `refuse` again, on the same port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="proxy", daemon=True).start()

    def stop(self) -> None:
        """May be called twice."""
        self.refuse()
        self._passing.set()

    # --- faults

    def refuse(self) -> None:
        """Nobody listens, and whoever was connected is reset. `start` heals it."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # shutdown wakes the thread in accept(), which close alone does not.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.reset()

    def reset(self) -> None:
        """Reset every connection."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._cut(pair)

    def cut_after(self, size: int) -> None:
        """Pass on so many more bytes of replies, then reset the connection that they came over."""
        with self._lock:
            self._cut_in = max(1, size)

    def cut_replies(self, chance: float, seed: int = 0) -> None:
        """From now on each chunk of replies is thrown away with this chance, and its connection reset: the
        server has done what it was asked, and nobody hears of it. 0.0 heals it."""
        with self._lock:
            self._dice = random.Random(seed)
            self._cut_chance = chance

    def swallow(self) -> None:
        """A black hole: connections stay open and nothing gets through, either way. `pass_on` heals it."""
        self._passing.clear()

    def pass_on(self, *, forget: bool = False) -> None:
        """The black hole ends. What it held comes late, as after a short outage; with `forget` the old
        connections stay silent for ever, as behind a firewall that lost its memory."""
        if forget:
            with self._lock:
                for pair in self._pairs:
                    pair.dead = True
        self._passing.set()

    # --- inside

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server_port), 5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(client, server)
            with self._lock:
                self._pairs.add(pair)
            for ends in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(pair, *ends), daemon=True).start()

    def _pump(self, pair: _Pair, source: socket.socket, target: socket.socket, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self._passing.wait()
                if pair.dead:
                    continue
                if self.delay:
                    time.sleep(self.delay)
                if replies and (kept := self._kept(data)) is not None:
                    target.sendall(data[:kept])
                    break
                target.sendall(data)
        self._passing.wait()
        if not pair.dead or not replies:
            self._cut(pair)

    def _kept(self, data: bytes) -> int | None:
        """How much of this reply gets through before the cut; None: all, and there is no cut."""
        if not self._cut_in and not self._cut_chance:
            return None
        with self._lock:
            if self._cut_in:
                if self._cut_in <= len(data):
                    kept, self._cut_in = self._cut_in, 0
                    return kept
                self._cut_in -= len(data)
            if self._cut_chance and self._dice.random() < self._cut_chance:
                return 0
        return None

    def _cut(self, pair: _Pair) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.discard(pair)
            self.cuts += 1
        _reset(pair.client)
        _reset(pair.server)

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Pair:
    """Two sockets that are one connection."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        #: Nothing ever gets through again, and nobody is told.
        self.dead = False


def _reset(one: socket.socket) -> None:
    """Close with RST. shutdown first, since it alone wakes a thread that reads."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RD)
    one.close()
