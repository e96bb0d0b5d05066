"""Keys that may be large, read in parts, so that nobody is held up for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

#: Elements that one command reads.
AT_ONCE = 1000


def scanned(operate: Callable[..., Any], command: str, key: str) -> Iterator[list[bytes]]:
    """The flat pairs of a hash (HSCAN) or a sorted set (ZSCAN). What is there all the time comes."""
    cursor: Any = "0"
    while True:
        cursor, flat = operate(command, key, cursor, "COUNT", AT_ONCE)
        yield flat
        if int(cursor) == 0:
            return


def listed(operate: Callable[..., Any], key: str) -> Iterator[list[bytes]]:
    """A list, from the end to which new ones are pushed: what is pushed there or popped at the other one
    moves nothing out of sight."""
    at = 0
    while part := operate("LRANGE", key, at, at + AT_ONCE - 1):
        yield part
        at += AT_ONCE
