"""What every system runs: the same few lines of Python, seen from outside through one file, the ledger."""

from __future__ import annotations

import os
import struct
import time

#: Where messages and results go, and whether there are any results.
BROKER = os.environ["BENCH_BROKER"]
RESULTS = os.environ.get("BENCH_RESULTS") == "1"

_ledger = os.open(os.environ["BENCH_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def append() -> int:
    """One byte for one execution."""
    return os.write(_ledger, b".")


def stamp() -> int:
    """The nanosecond at which the task's first line ran; the clock is one for all processes."""
    return os.write(_ledger, struct.pack("q", time.monotonic_ns()))


def spin(seconds: float) -> int:
    """Compute for so many seconds of this thread's own CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))
    return append()
