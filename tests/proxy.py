"""A TCP proxy that does to a connection what networks do: cut it, swallow it, slow it down, refuse it.

It understands RESP, Redis's protocol, just enough to know where an answer ends.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from enum import Enum, auto
from types import TracebackType

from hiredis import Reader, ReplyError

#: Bytes that one pump moves at once.
CHUNK = 65536


class Cut(Enum):
    """Where the wire breaks for one request."""

    #: The request never arrives.
    BEFORE_REQUEST = auto()
    #: It was done, and the client does not hear of it.
    BEFORE_REPLY = auto()
    #: Half of the answer arrives.
    WITHIN_REPLY = auto()
    #: The answer arrives, and then the wire breaks.
    AFTER_REPLY = auto()


class _Trap:
    """Waits for one request that fits, and for an answer to it that fits."""

    def __init__(self, cut: Cut, request: tuple[bytes, ...], reply: bytes) -> None:
        self.request = request
        self.reply = reply
        self.cut = cut
        self.sprung = threading.Event()


class Proxy:
    """Between clients and a port of 127.0.0.1. All its faults may be asked for from any thread.

    >>> with Proxy(6379) as proxy:
    ...     broken = proxy.break_at(Cut.BEFORE_REPLY, b"LPUSH")
    ...     # a client at proxy.port sends LPUSH, which is done, and loses its connection
    ...     broken.wait(10)
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
        self._traps: list[_Trap] = []
        self._cut_in = 0
        self._dice = random.Random(0)
        self._cut_chance = 0.0
        self._listener: socket.socket | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

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

    def break_at(self, cut: Cut, *request: bytes, reply: bytes = b"") -> threading.Event:
        """Break the wire once, at the next request that holds all these bytes and gets an answer that holds
        those (and is no error); the event is set when it has happened."""
        trap = _Trap(cut, request, reply)
        with self._lock:
            self._traps.append(trap)
        return trap.sprung

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

    def restore(self) -> None:
        """The black hole ends, and all that was in it is lost with its connections; new ones work."""
        self.reset()
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
                if replies and pair.trap is not None:
                    if self._caught(pair, pair.trap, data):
                        break
                    continue
                if not replies and self._traps and self._walks_into_a_trap(pair, data):
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

    def _walks_into_a_trap(self, pair: _Pair, data: bytes) -> bool:
        """Look at a request; True when the wire is to break before it."""
        with self._lock:
            fitting = [trap for trap in self._traps if all(part in data for part in trap.request)]
        if not fitting:
            return False
        trap = fitting[0]
        if trap.cut is not Cut.BEFORE_REQUEST:
            pair.trap, pair.reader, pair.answer = trap, Reader(), b""
        elif self._take(trap):
            trap.sprung.set()
            return True
        return False

    def _caught(self, pair: _Pair, trap: _Trap, data: bytes) -> bool:
        """Gather the answer; True when the wire is to break."""
        pair.reader.feed(data)
        pair.answer += data
        whole = pair.reader.gets()
        if whole is False:
            return False
        pair.trap = None
        fits = trap.reply in pair.answer and not isinstance(whole, ReplyError)
        if not fits or not self._take(trap):
            pair.client.sendall(pair.answer)
            return False
        if trap.cut is Cut.WITHIN_REPLY:
            pair.client.sendall(pair.answer[: len(pair.answer) // 2])
        elif trap.cut is Cut.AFTER_REPLY:
            pair.client.sendall(pair.answer)
        pair.gently = True
        trap.sprung.set()
        return True

    def _take(self, trap: _Trap) -> bool:
        """True for one: the trap is gone for all others."""
        with self._lock:
            if trap not in self._traps:
                return False
            self._traps.remove(trap)
            return True

    def _cut(self, pair: _Pair) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.discard(pair)
            self.cuts += 1
        if pair.gently:
            with contextlib.suppress(OSError):
                pair.client.shutdown(socket.SHUT_RDWR)
        _reset(pair.client, gently=pair.gently)
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
        #: It ends in order, for a reset would take back what has just arrived.
        self.gently = False
        #: The trap whose answer is awaited, and what of it has come.
        self.trap: _Trap | None = None
        self.reader = Reader()
        self.answer = b""


def _reset(one: socket.socket, *, gently: bool = False) -> None:
    """Close with RST. shutdown first, since it alone wakes a thread that reads."""
    if not gently:
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RD)
    one.close()
