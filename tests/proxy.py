"""A wire between a client and a server that breaks where a test wants it to.

It understands RESP, Redis's protocol, just enough to know where an answer ends.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from types import TracebackType

from hiredis import Reader, ReplyError


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
    """Listens on a port of its own and forwards to `port` of 127.0.0.1.

    >>> with Proxy(6379) as proxy:
    ...     broken = proxy.break_at(Cut.BEFORE_REPLY, b"LPUSH")
    ...     # a client at proxy.port sends LPUSH, which is done, and loses its connection
    ...     broken.wait(10)
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._wires: set[_Wire] = set()
        self._traps: list[_Trap] = []
        self._lock = threading.Lock()
        #: Cleared while nothing may pass.
        self._open = threading.Event()
        self._open.set()
        #: Seconds that each piece is late, either way.
        self.delay = 0.0
        self._closed = False
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def break_at(self, cut: Cut, *request: bytes, reply: bytes = b"") -> threading.Event:
        """Break the wire once, at the next request that holds all these bytes and gets an answer that holds
        those (and is no error); the event is set when it has happened."""
        trap = _Trap(cut, request, reply)
        with self._lock:
            self._traps.append(trap)
        return trap.sprung

    def cut(self) -> None:
        """Break all wires now; new ones may be made."""
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            wire.close()

    def swallow(self) -> None:
        """From now on nothing passes and nobody is told: the wires stay open, as with a dead router."""
        self._open.clear()

    def restore(self) -> None:
        """What was swallowed is lost with its wires; new ones work."""
        self.cut()
        self._open.set()

    def close(self) -> None:
        """May be called twice."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            wire = _Wire(self, client, server)
            with self._lock:
                self._wires.add(wire)
            wire.start()

    def _trap_for(self, data: bytes) -> _Trap | None:
        with self._lock:
            for trap in self._traps:
                if all(part in data for part in trap.request):
                    return trap
        return None

    def _take(self, trap: _Trap) -> bool:
        """True for one: the trap is gone for all others."""
        with self._lock:
            if trap not in self._traps:
                return False
            self._traps.remove(trap)
            return True

    def _forget(self, wire: _Wire) -> None:
        with self._lock:
            self._wires.discard(wire)

    def _pass(self) -> bool:
        if self.delay:
            time.sleep(self.delay)
        return self._open.is_set()


class _Wire:
    """One connection: two threads, one for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        #: The trap whose answer is awaited.
        self._trap: _Trap | None = None
        self._reader = Reader()
        self._answer = b""

    def start(self) -> None:
        for pump in (self._requests, self._replies):
            threading.Thread(target=self._safely, args=(pump,), name="proxy-wire", daemon=True).start()

    def close(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._proxy._forget(self)

    def _safely(self, pump: Callable[[], None]) -> None:
        try:
            pump()
        except OSError:
            pass  # somebody closed
        finally:
            self.close()

    def _requests(self) -> None:
        while data := self._client.recv(65536):
            if not self._proxy._pass():
                continue
            trap = self._proxy._trap_for(data)
            if trap is not None and trap.cut is Cut.BEFORE_REQUEST:
                if self._proxy._take(trap):
                    trap.sprung.set()
                    return
            elif trap is not None:
                self._reader, self._answer = Reader(), b""
                self._trap = trap
            self._server.sendall(data)

    def _replies(self) -> None:
        while data := self._server.recv(65536):
            if not self._proxy._pass():
                continue
            if self._trap is None:
                self._client.sendall(data)
            elif self._caught(self._trap, data):
                return

    def _caught(self, trap: _Trap, data: bytes) -> bool:
        """Gather the answer; True when the wire is to break."""
        self._reader.feed(data)
        self._answer += data
        whole = self._reader.gets()
        if whole is False:
            return False
        self._trap = None
        fits = trap.reply in self._answer and not isinstance(whole, ReplyError)
        if not fits or not self._proxy._take(trap):
            self._client.sendall(self._answer)
            return False
        if trap.cut is Cut.WITHIN_REPLY:
            self._client.sendall(self._answer[: len(self._answer) // 2])
        elif trap.cut is Cut.AFTER_REPLY:
            self._client.sendall(self._answer)
        trap.sprung.set()
        return True
