"""A process that is never mistaken for another one: by its number and the moment at which it started."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import NamedTuple


class Life(NamedTuple):
    """One process from its start to its end; in a long run numbers of processes come again."""

    pid: int
    #: Ticks of the system's clock since it booted, as /proc/PID/stat tells it.
    started: int


def lives(pids: Iterable[int]) -> tuple[Life, ...]:
    """Those of them that live; who has ended and only waits for its parent does not."""
    return tuple(life for life in map(_alive, pids) if life is not None)


def myself() -> Life:
    """That of this process, which is another one after a fork."""
    return _of_number(os.getpid())


@functools.cache
def _of_number(pid: int) -> Life:
    life = _alive(pid)
    assert life is not None
    return life


def _alive(pid: int) -> Life | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the program, in parentheses, may hold anything.
            state, *numbers = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in b"ZX" else Life(pid, int(numbers[18]))
