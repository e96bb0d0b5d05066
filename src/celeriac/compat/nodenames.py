"""Names of nodes as Celery's users know them: name@host, and the patterns that stand for parts of it."""

from __future__ import annotations

import os
import re
import socket
from functools import cache

from celeriac.entities import Exchange, Queue
from celeriac.routing import DIRECT_EXCHANGE

#: The name of a node that was given none.
NODENAME_DEFAULT = "celery"


@cache
def gethostname() -> str:
    """This machine's name, asked once."""
    return socket.gethostname()


def nodename(name: str, hostname: str) -> str:
    return f"{name}@{hostname}"


def nodesplit(name: str) -> tuple[str | None, str]:
    """name@host apart; a text without @ is all host."""
    before, at, after = name.partition("@")
    return (before, after) if at else (None, name)


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """The name of a process that is no worker: gen1234@host."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def default_nodename(hostname: str | None) -> str:
    """What is missing is filled in. A bare word is a host: `w1` is celery@w1, `w1@` is w1@<this host>."""
    name, host = nodesplit(hostname or "")
    return nodename(name or NODENAME_DEFAULT, host or gethostname())


def host_format(pattern: str, host: str | None = None, name: str | None = None, **extra: str) -> str:
    """Fill in %h (host), %n (its first part, or `name`), %d (its other parts), %i and %I, %%."""
    host = host or gethostname()
    first, _, domain = host.partition(".")
    return _filled(pattern, {"h": host, "n": name or first, "d": domain, "i": "0", "I": "", "%": "%"} | extra)


def node_format(pattern: str, name: str, **extra: str) -> str:
    """The same for a node's name: %n is what stands before the @, %h what stands after it."""
    before, host = nodesplit(name)
    return host_format(pattern, host, before or NODENAME_DEFAULT, **({"p": name} | extra))


def worker_direct(hostname: str | Queue) -> Queue:
    """The queue of this worker alone (`worker_direct`)."""
    if isinstance(hostname, Queue):
        return hostname
    return Queue(f"{hostname}.dq2", Exchange(DIRECT_EXCHANGE), routing_key=hostname)


def _filled(pattern: str, keys: dict[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        key = match[1]
        if key not in keys:
            raise ValueError(
                f"%{key} in {pattern!r} stands for nothing; known are {', '.join('%' + k for k in keys)}"
            )
        return keys[key]

    return re.sub(r"%(.)", fill, pattern)
