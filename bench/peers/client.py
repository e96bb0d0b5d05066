"""The calling side of one system, in a process of its own: obeys one line of JSON after another.

python -m peers.client huey
["enqueue", 1000]  ->  [seconds it took, what it gave]
"""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from typing import Any


def main() -> None:
    name = sys.argv[1]
    # Whatever a library prints goes to the errors: standard output belongs to the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = import_module(f"peers.{name}")
    for line in sys.stdin:
        try:
            answer = obey(peer, *json.loads(line))
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def obey(peer: Any, word: str, *arguments: Any) -> Any:
    own = {"start_latencies": start_latencies, "round_trips": round_trips}
    if word in own:
        return own[word](peer, *arguments)
    began = time.perf_counter()
    value = getattr(peer, word)(*arguments)
    return [time.perf_counter() - began, value if "worker" in word else None]


def start_latencies(peer: Any, n: int, pause: float = 0.01) -> list[float]:
    """Seconds from the call to the task's first line, n times at moments that nothing is in step with."""
    ledger = os.open(os.environ["BENCH_LEDGER"], os.O_RDONLY)
    seconds = []
    for _ in moments(n, pause):
        seen = os.fstat(ledger).st_size
        began = time.monotonic_ns()
        peer.stamp()
        deadline = time.monotonic() + 10
        while os.fstat(ledger).st_size < seen + 8:
            if time.monotonic() > deadline:
                raise TimeoutError("the task has not started within 10 s")
            time.sleep(0.001)
        (started,) = struct.unpack("q", os.pread(ledger, 8, seen))
        seconds.append((started - began) / 1e9)
    return seconds


def round_trips(peer: Any, n: int) -> list[float]:
    """Seconds from the call to its result in hand."""
    seconds = []
    for _ in moments(n):
        began = time.perf_counter()
        peer.round_trip()
        seconds.append(time.perf_counter() - began)
    return seconds


def moments(n: int, pause: float = 0.01) -> Iterator[None]:
    """n moments, `pause` seconds apart on average."""
    for _ in range(n):
        time.sleep(random.uniform(0.5 * pause, 1.5 * pause))
        yield


if __name__ == "__main__":
    main()
