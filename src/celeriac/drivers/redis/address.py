"""Where a Redis server is: URLs of redis://, rediss:// and redis+socket:// read into an Address."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from celeriac.exceptions import ImproperlyConfigured

#: The question part of a URL may say these; anything else is a mistake worth telling.
SSL_OPTIONS = frozenset(
    (
        "ssl_cert_reqs",
        "ssl_ca_certs",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_check_hostname",
        "ssl_ca_path",
        "ssl_password",
    )
)
OTHER_OPTIONS = frozenset(("virtual_host", "db", "username", "password"))


class Address(msgspec.Struct, frozen=True):
    """One server and one database of it."""

    host: str = "localhost"
    port: int = 6379
    db: int = 0
    username: str | None = None
    password: str | None = None
    #: A unix socket instead of host and port.
    path: str | None = None
    tls: bool = False
    #: ssl_cert_reqs and its like, as redis-py names them.
    ssl: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """As a person may see it: without the password."""
        if self.path:
            return f"redis+socket://{self.path}?virtual_host={self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"


@lru_cache
def parse(url: str) -> Address:
    """Read a URL; a mistake in it is an ImproperlyConfigured that shows the right form. Each is read once: a
    worker for all its children."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _unreadable(url, error) from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.fragment or "@" in "".join(options) or ("@" in parts.path and parts.scheme != "redis+socket"):
        raise _unreadable(url, "in a password / ? # are written %2F %3F %23")
    unknown = options.keys() - SSL_OPTIONS - OTHER_OPTIONS
    if unknown:
        known = ", ".join(sorted(SSL_OPTIONS | OTHER_OPTIONS))
        raise ImproperlyConfigured(f"the Redis URL has an unknown option {min(unknown)!r}; known are {known}")
    try:
        port = parts.port or 6379
        if parts.scheme == "redis+socket":
            path, db = unquote(parts.path), _database(options.get("virtual_host", options.get("db", "0")))
        else:
            path, db = None, _database(parts.path or options.get("db", "0"))
    except ValueError as error:
        raise _unreadable(url, error) from None
    username = unquote(parts.username) if parts.username else options.get("username")
    return Address(
        host=parts.hostname or "localhost",
        port=port,
        db=db,
        username=username or None,
        password=unquote(parts.password) if parts.password else options.get("password"),
        path=path,
        tls=parts.scheme == "rediss",
        ssl=tuple(sorted((name, value) for name, value in options.items() if name in SSL_OPTIONS)),
    )


def _database(text: str) -> int:
    text = text.strip("/")
    if not text:
        return 0
    if not text.isdigit():
        raise ValueError(f"the database must be a number, not {text!r}")
    return int(text)


def _unreadable(url: str, why: object) -> ImproperlyConfigured:
    censored = re.sub("://.*@", "://***@", url)
    return ImproperlyConfigured(
        f"cannot read the Redis URL {censored!r}: {why}; it looks like redis://user:password@host:6379/0"
    )
