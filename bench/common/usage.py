"""What a family of processes has used: CPU time and memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil


def cpu(family: Iterable[psutil.Process]) -> float:
    """CPU seconds of these processes, and of those children that have ended; exact to 10 ms."""
    seconds = 0.0
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def cpu_exact(family: Iterable[psutil.Process]) -> float:
    """CPU seconds of all living threads of these processes, exact to the nanosecond."""
    nanoseconds = 0
    for process in family:
        for thread in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                nanoseconds += int(thread.read_text().split()[0])
    return nanoseconds / 1e9


def memory(family: Iterable[psutil.Process]) -> tuple[float, list[float]]:
    """(MiB of all together, each shared page counted once; MiB of each process that are its own)."""
    together, own = 0.0, []
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            used = process.memory_full_info()
            together += used.pss / 2**20
            own.append(used.uss / 2**20)
    return together, own
