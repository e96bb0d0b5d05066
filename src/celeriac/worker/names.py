"""How nodes and owners are called in the store: unique for ever, and telling where they live."""

from __future__ import annotations

import os
import re

_ROOMS = re.compile(r"x(\d+)$")


def node_name(hostname: str) -> str:
    """One run of one worker: a worker that starts again under the same hostname is another node."""
    return f"{hostname}:{os.getpid()}:{os.urandom(4).hex()}"


def owner_name(node: str, child: str, rooms: int) -> str:
    """One life of one child. The number of rooms stands in it for whoever has to judge its claims when all
    else is lost."""
    return f"{node}/{child}x{rooms}"


def heir_name(node: str) -> str:
    """Who takes over the claims of a dead owner."""
    return f"{node}/heir-{os.urandom(4).hex()}x1"


def rooms_of(owner: str) -> int:
    """How many claims of this owner can have been running at once."""
    found = _ROOMS.search(owner)
    return int(found[1]) if found else 1
