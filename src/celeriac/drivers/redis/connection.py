"""One socket to Redis that speaks RESP through hiredis.

Our own and not redis-py's, for the hot path: importing redis-py costs 0.28 s and 20 MiB in every child, and
its client 140 us a command against 56 us here. TLS is the standard library's (see tls.py).
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import struct
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeGuard, cast

from hiredis import ProtocolError, PushNotification, Reader, ReplyError
from hiredis import pack_command as _pack

from celeriac.drivers.redis.address import Address
from celeriac.exceptions import OperationalError
from celeriac.polling import readable

#: Bytes asked of the kernel at once; large enough for a batch of 64 small messages in one call.
READ_SIZE = 65536
CLOSED = "the server closed the connection"
#: How often a reply is looked for before falling asleep over it, 1.5 us each; and how many exchanges go
#: without when that was in vain.
GLANCES, BLIND = 40, 32


class Stream(Protocol):
    """What is used of a socket."""

    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def fileno(self) -> int: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


#: How errors begin that pass by themselves: after a restart, in a failover, during a script without end, in a
#: crowd.
PASSING = (
    *("LOADING", "MASTERDOWN", "READONLY", "TRYAGAIN", "CLUSTERDOWN", "BUSY "),
    "ERR max number of clients",
)
#: What Redis 6 writes before the error of a command that a script has called.
_IN_A_SCRIPT = re.compile(r"ERR Error running script .*@user_script: ?\d+: -?")


class ServerError(OperationalError):
    """Redis understood the command and refused it; asking again will not help."""


class Connection:
    """Opens itself at the first use; after a failure it is closed and the next use opens it anew."""

    def __init__(
        self, address: Address, *, connect_timeout: float, timeout: float, resp3: bool = False
    ) -> None:
        self.address = address
        self.connect_timeout = connect_timeout
        #: Seconds that a reply may take before the connection counts as broken.
        self.timeout = timeout
        self.resp3 = resp3
        #: Redis's own number of this connection, for CLIENT UNBLOCK.
        self.client_id = 0
        #: What was pushed and `read` and `buffered` have passed over (RESP3).
        self.notices: list[Sequence[Any]] = []
        #: Monotonic seconds at which the last command was sent.
        self.last_use = 0.0
        #: Exchanges until the next reply is looked for; without end where only a plain socket can.
        self._blind = 0.0
        self._stream: Stream | None = None
        self._reader = Reader()
        #: Whether this process was forked from the one that had it open.
        self._inherited = False

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    def call(self, *command: Any) -> Any:
        """Send one command and give its reply; an error reply raises ServerError."""
        return self.call_packed(pack(*command))

    def call_packed(self, packed: bytes) -> Any:
        """As `call`, for a command that is packed already."""
        return checked(self.exchange(packed), self)

    def exchange(self, packed: bytes) -> Any:
        """Send one command and give its reply (an error reply is returned): `send` and `read` for the hot
        paths, in one step where the reply comes in one piece."""
        self.last_use = time.monotonic()
        stream = self._stream or self.open()
        reader = self._reader
        try:
            stream.sendall(packed)
            data = self._first_read(stream)
            if not data:
                raise ConnectionResetError(CLOSED)
            reader.feed(data)
            reply = reader.gets()
        except BlockingIOError as error:
            raise self._late() from error
        except (OSError, ProtocolError) as error:
            raise self.lost(error) from error
        return self.read() if reply is False or (self.resp3 and self._is_notice(reply)) else reply

    def _first_read(self, stream: Stream) -> bytes:
        """What arrives first. Looks for it a few times before falling asleep over it: a reply from the same
        machine is there within 20 us, and falling asleep and waking up takes 20 to 200, and as much CPU."""
        if self._blind:
            self._blind -= 1
            return stream.recv(READ_SIZE)
        plain = cast(socket.socket, stream)
        for _ in range(GLANCES):
            try:
                return plain.recv(READ_SIZE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
        self._blind = BLIND
        return plain.recv(READ_SIZE)

    def call_many(self, commands: Iterable[Sequence[Any]]) -> list[Any]:
        """Send several commands at once; error replies stand in the list as they came."""
        packed = [pack(*command) for command in commands]
        self.send(b"".join(packed))
        return self.read_several(len(packed))

    def allow(self, more: float) -> None:
        """Let the next replies take so many seconds more than `timeout`; 0 takes that back."""
        self.last_use = time.monotonic()
        _limit_waiting(self._stream or self.open(), self.timeout + more)

    def hurry(self, longest: float) -> None:
        """From now on wait at most so many seconds for a reply, and to be connected."""
        self.connect_timeout = min(self.connect_timeout, longest)
        if longest < self.timeout:
            self.timeout = longest
            if self._stream is not None:
                _limit_waiting(self._stream, longest)

    def send(self, packed: bytes) -> None:
        """Write; opens the connection if need be."""
        self.last_use = time.monotonic()
        stream = self._stream or self.open()
        try:
            stream.sendall(packed)
        except OSError as error:
            raise self.lost(error) from error

    def say(self, packed: bytes) -> None:
        """As `send`, beside the thread that reads: opens nothing and closes nothing, that one does."""
        stream = self._stream
        try:
            if stream is None:
                raise ConnectionResetError("it was closed")
            stream.sendall(packed)
        except OSError as error:
            self.shut()
            raise OperationalError(
                f"lost the connection to Redis at {self.address}: {_words(error)}"
            ) from error

    def read(self) -> Any:
        """The next reply (an error reply is returned, not raised); pushed notices are kept and passed
        over."""
        reply = self.read_any()
        while self.resp3 and self._is_notice(reply):
            reply = self.read_any()
        return reply

    def read_several(self, count: int) -> list[Any]:
        """The next replies, as `read` gives them: mostly they have come together."""
        gets = self._reader.gets
        replies: list[Any] = []
        try:
            for _ in range(count):
                reply = gets()
                come = reply is not False and not (self.resp3 and self._is_notice(reply))
                replies.append(reply if come else self.read())
        except ProtocolError as error:
            raise self.lost(error) from error
        return replies

    def read_any(self) -> Any:
        """The next reply or pushed notice."""
        stream = self._stream
        if stream is None:
            raise OperationalError(f"the connection to Redis at {self.address} is closed")
        reader = self._reader
        try:
            reply = reader.gets()
            while reply is False:
                data = stream.recv(READ_SIZE)
                if not data:
                    raise ConnectionResetError(CLOSED)
                reader.feed(data)
                reply = reader.gets()
        except BlockingIOError as error:
            raise self._late() from error
        except (OSError, ProtocolError) as error:
            raise self.lost(error) from error
        return reply

    def _is_notice(self, reply: Any) -> bool:
        if not isinstance(reply, PushNotification):
            return False
        self.notices.append(reply)
        return True

    def buffered(self) -> Any:
        """A reply that has arrived whole, or False; never waits longer than one read of what is there."""
        reply = self._reader.gets()
        if reply is False and self._stream is not None and readable(self._stream.fileno(), seconds=0.0):
            data = b""
            try:
                data = self._stream.recv(READ_SIZE)
            except OSError as error:
                raise self.lost(error) from error
            if not data:
                raise self.lost(ConnectionResetError(CLOSED))
            self._reader.feed(data)
            reply = self._reader.gets()
        self._is_notice(reply)
        return reply

    def has_more(self, seconds: float) -> bool:
        """Whether something has arrived, after at most so many seconds."""
        return (
            self._stream is None
            or self._reader.has_data()
            or bool(readable(self._stream.fileno(), seconds=seconds))
        )

    def shut(self) -> None:
        """Close under a thread that reads: it wakes with an error."""
        stream = self._stream
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def fileno(self) -> int:
        """For poll."""
        return (self._stream or self.open()).fileno()

    def open(self) -> Stream:
        """Connect, log in and choose the database."""
        if self._inherited:
            raise OperationalError(
                f"this connection to Redis at {self.address} belongs to the process from which this one was "
                "forked: open one here"
            )
        self.close()
        began = time.monotonic()
        try:
            self._stream = stream = self._connect()
            self._blind = 0.0 if _is_plain(stream) else math.inf
        except OSError as error:
            raise OperationalError(
                f"cannot connect to Redis at {self.address}: {_words(error)}"
                f" (tried for {time.monotonic() - began:.1f} s)"
            ) from error
        self._reader = Reader()
        _open.add(self)
        self.client_id = self._greet()
        return stream

    def close(self) -> None:
        """May be called twice."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()

    def leave_to_parent(self) -> None:
        """In a fork: two that read from one socket would take each other's replies."""
        self._inherited = True
        self.close()

    def lost(self, error: Exception) -> OperationalError:
        """Close, and give the error that says so to the one who used it."""
        self.close()
        return OperationalError(f"lost the connection to Redis at {self.address}: {_words(error)}")

    def _late(self) -> OperationalError:
        # SO_RCVTIMEO and SO_SNDTIMEO report a timeout in this way.
        return self.lost(TimeoutError(f"no reply within {self.timeout:g} s"))

    def _connect(self) -> Stream:
        address = self.address
        if address.path is not None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(self.connect_timeout)
            sock.connect(address.path)
        else:
            # A name in bytes is not looked at by the codec for names that are not ASCII: a third of a MiB.
            host = cast(str, address.host.encode()) if address.host.isascii() else address.host
            sock = socket.create_connection((host, address.port), self.connect_timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _keep_alive(sock)
            if address.tls:
                # Only here: who speaks no TLS shall not pay for OpenSSL.
                from celeriac.drivers.redis.tls import secure

                return secure(sock, address, self.timeout)
        _limit_waiting(sock, self.timeout)
        return sock

    def _greet(self) -> int:
        address = self.address
        secret = [address.username or "default", address.password] if address.password else []
        commands: list[list[Any]] = []
        if self.resp3:
            commands.append(["HELLO", "3", *(["AUTH", *secret] if secret else [])])
        elif secret:
            commands.append(["AUTH", *(secret if address.username else secret[1:])])
        if address.db:
            commands.append(["SELECT", address.db])
        commands.append(["CLIENT", "ID"])
        try:
            self.send(b"".join(pack(*command) for command in commands))
            for _ in commands:
                # At the first refusal, since the server may hang up behind it.
                reply = self.read()
                if isinstance(reply, ReplyError):
                    self.close()
                    raise _refusal(f"Redis at {address} refused the connection", reply, _cure(str(reply)))
        except OperationalError as error:
            if address.tls or not isinstance(error.__cause__, ConnectionResetError):
                raise
            # So does a server that was offered no TLS and wants it; or one that is being restarted.
            raise OperationalError(
                f"{error} as soon as it was connected: if that port speaks TLS, write rediss://"
            ) from error.__cause__
        return int(reply)


_open: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for connection in list(_open):
        if connection.is_open:
            connection.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork_in_child)


def pack(*command: Any) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = _pack(command)
    return packed


def checked(reply: Any, connection: Connection) -> Any:
    """The reply, or its error raised.

    After one that passes by itself the connection is made anew: it may lead to a master of yesterday, which
    refuses it for ever, while the name of the host leads to another server by now.
    """
    if isinstance(reply, ReplyError):
        error = _refusal(f"Redis at {connection.address} answered", reply)
        if not isinstance(error, ServerError):
            connection.close()
        raise error from reply
    return reply


def _keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out within about four seconds that the other side is gone, also while we wait: its
    probes cost the server nothing."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 2)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _limit_waiting(stream: Stream, seconds: float) -> None:
    """Let reads and writes fail after so many seconds.

    By the kernel's own timeouts: settimeout() would make Python poll before each call (one more system call
    in three). A socket patched by gevent waits in its own loop and needs settimeout.
    """
    if not _is_plain(stream):
        stream.settimeout(seconds)
        return
    stream.settimeout(None)
    limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _is_plain(stream: Stream) -> TypeGuard[socket.socket]:
    """Neither TLS nor gevent's."""
    return isinstance(stream, socket.socket) and type(stream).__module__ == "socket"


def _refusal(what: str, reply: ReplyError, cure: str = "") -> OperationalError:
    said = _IN_A_SCRIPT.sub("", str(reply)).rstrip(".")
    kind = OperationalError if said.startswith(PASSING) else ServerError
    return kind(f"{what}: {said}{cure}")


def _cure(reply: str) -> str:
    if reply.startswith("NOAUTH"):
        return ": it wants a password, as in redis://:password@host:6379/0"
    if reply.startswith("WRONGPASS") or "invalid password" in reply:
        return ": are user and password in the URL right?"
    if "DB index" in reply:
        return ": its `databases` says how many it has, mostly 16, from 0 to 15"
    return ""


def _words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "Connection refused: does a Redis server run there?"
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}: is the name of the host right?"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
