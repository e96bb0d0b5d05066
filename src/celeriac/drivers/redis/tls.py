"""TLS to Redis by the standard library, with the options that redis-py's users write in rediss:// URLs."""

from __future__ import annotations

import socket
import ssl

from celeriac.drivers.redis.address import Address
from celeriac.exceptions import ImproperlyConfigured

REQUIREMENTS = {
    "required": ssl.CERT_REQUIRED,
    "cert_required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "cert_optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
    "cert_none": ssl.CERT_NONE,
}


def open_tls_socket(address: Address, connect_timeout: float, timeout: float) -> ssl.SSLSocket:
    """Connect and shake hands; the socket's reads and writes end after `timeout` seconds."""
    context = tls_context(dict(address.ssl))
    sock = socket.create_connection((address.host, address.port), connect_timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = context.wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise
    secured.settimeout(timeout)
    return secured


def tls_context(options: dict[str, str]) -> ssl.SSLContext:
    """The context that ssl_cert_reqs, ssl_ca_certs, ssl_certfile ... describe; certificates are checked by
    default."""
    wanted = options.get("ssl_cert_reqs", "required").lower()
    if wanted not in REQUIREMENTS:
        raise ImproperlyConfigured(f"ssl_cert_reqs must be required, optional or none, not {wanted!r}")
    context = ssl.create_default_context(
        cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path")
    )
    required = REQUIREMENTS[wanted]
    checks = options.get("ssl_check_hostname", "true").lower() in ("true", "1", "yes")
    context.check_hostname = checks and required is not ssl.CERT_NONE
    context.verify_mode = required
    if "ssl_certfile" in options:
        context.load_cert_chain(
            options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password")
        )
    return context
