"""TLS to Redis by the standard library, with the options that redis-py's users write in rediss:// URLs."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from celeriac.drivers.redis.address import Address
from celeriac.exceptions import ImproperlyConfigured

T = TypeVar("T")

REQUIREMENTS = {
    "required": ssl.CERT_REQUIRED,
    "cert_required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "cert_optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
    "cert_none": ssl.CERT_NONE,
}

_NO_TLS = "if that port does not speak TLS, write redis:// instead of rediss://"
_HUNG_UP = "the server hung up: mostly it refuses our certificate, or asks for one (ssl_certfile)"

#: What OpenSSL says (in its own words) and what to do about it.
_CURES = (
    (
        "hostname mismatch",
        "the server's certificate is for other names: take one of those, or ssl_check_hostname=false",
    ),
    (
        "ip address mismatch",
        "the server's certificate is for other addresses: connect by a name that is in it",
    ),
    ("certificate has expired", "the server's certificate has expired and must be renewed"),
    (
        "certificate_verify_failed",
        "we do not trust who signed the server's certificate: name that CA's file in ssl_ca_certs",
    ),
    ("wrong_version_number", _NO_TLS),
    ("record_layer_failure", _NO_TLS),
    (
        "certificate_required",
        "the server asks for a certificate of ours (name its files in ssl_certfile and ssl_keyfile)",
    ),
    (
        "handshake_failure",
        "perhaps the server asks for a certificate of ours (name its files in ssl_certfile and ssl_keyfile)",
    ),
    (
        "unknown_ca",
        "the server does not trust who signed our certificate: name another one in ssl_certfile",
    ),
    ("eof occurred", _HUNG_UP),
)


class TlsStream:
    """One connection that a thread may read while others write: OpenSSL itself bears one thread at a time."""

    def __init__(self, sock: ssl.SSLSocket, timeout: float | None) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._timeout = timeout
        self._turn = threading.Lock()
        self._heard = False

    def recv(self, size: int, /) -> bytes:
        data = self._in_time(partial(self._socket.recv, size))
        self._heard = True
        return data

    def sendall(self, data: bytes, /) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._in_time(partial(self._socket.send, rest)) :]

    def fileno(self) -> int:
        return self._socket.fileno()

    def settimeout(self, seconds: float | None, /) -> None:
        self._timeout = seconds

    def shutdown(self, how: int, /) -> None:
        # Not SSLSocket's own: that one takes the encryption away under the thread that reads.
        socket.socket.shutdown(self._socket, how)

    def close(self) -> None:
        self._socket.close()

    def _in_time(self, step: Callable[[], T]) -> T:
        """Do it, whenever the socket is ready for it, and never while another thread does."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            try:
                with self._turn:
                    return step()
            except ssl.SSLWantReadError:
                awaited = select.POLLIN
            except ssl.SSLWantWriteError:
                awaited = select.POLLOUT
            except ssl.SSLError as error:
                raise ConnectionError(explained(error)) from error
            except (ConnectionResetError, BrokenPipeError) as error:
                raise self._last_word(error) from error
            poll = select.poll()
            poll.register(self._socket, awaited)
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not poll.poll(None if left is None else left * 1000):
                raise TimeoutError(f"no reply within {self._timeout:g} s")

    def _last_word(self, error: OSError) -> OSError:
        """Why the server hung up: TLS 1.3 has us talk before it has judged our certificate, so what it says
        of that lies here unread when our own words come back as a reset."""
        try:
            with self._turn:
                self._socket.recv(1)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except ssl.SSLError as why:
            return ConnectionError(explained(why))
        except OSError:
            pass
        return error if self._heard else ConnectionResetError(_HUNG_UP)


def secure(sock: socket.socket, address: Address, timeout: float) -> TlsStream:
    """Shake hands, within the timeout that the socket has; later reads and writes end after `timeout`."""
    try:
        secured = tls_context(dict(address.ssl)).wrap_socket(sock, server_hostname=address.host)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise TimeoutError(f"no answer to our offer of TLS; {_NO_TLS}") from error
        if isinstance(error, ssl.SSLError):
            raise ConnectionError(explained(error)) from error
        raise
    return TlsStream(secured, timeout)


def tls_context(options: dict[str, str]) -> ssl.SSLContext:
    """The context that ssl_cert_reqs, ssl_ca_certs, ssl_certfile ... describe; certificates are checked by
    default."""
    wanted = options.get("ssl_cert_reqs", "required").lower()
    if wanted not in REQUIREMENTS:
        raise ImproperlyConfigured(f"ssl_cert_reqs must be required, optional or none, not {wanted!r}")
    try:
        context = ssl.create_default_context(
            cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path")
        )
    except OSError as error:
        raise _unreadable("ssl_ca_certs", options.get("ssl_ca_certs"), error) from None
    required = REQUIREMENTS[wanted]
    checks = options.get("ssl_check_hostname", "true").lower() in ("true", "1", "yes")
    context.check_hostname = checks and required is not ssl.CERT_NONE
    context.verify_mode = required
    certificate = options.get("ssl_certfile")
    if certificate:
        key = options.get("ssl_keyfile")
        try:
            context.load_cert_chain(certificate, key, options.get("ssl_password"))
        except OSError as error:
            raise _unreadable("ssl_certfile and ssl_keyfile", f"{certificate} and {key}", error) from None
    return context


def _unreadable(names: str, files: str | None, error: OSError) -> ImproperlyConfigured:
    why = (
        error.strerror if not isinstance(error, ssl.SSLError) else f"no certificate is in it ({error.reason})"
    )
    return ImproperlyConfigured(f"{names}: {files} cannot be read: {why}")


def explained(error: ssl.SSLError) -> str:
    """What OpenSSL says, and in words what to do about it."""
    said = str(error).lower()
    cure = next((cure for sign, cure in _CURES if sign.replace("_", " ") in said.replace("_", " ")), None)
    reason = getattr(error, "verify_message", None) or error.reason
    if cure is None:
        return f"TLS: {reason or error}"
    return f"TLS: {cure} ({reason})" if reason else f"TLS: {cure}"
