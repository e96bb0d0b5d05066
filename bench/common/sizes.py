"""How long everything takes; each number can be set in the environment.

BENCH_ROUNDS=9 BENCH_SCALE=5 BENCH_PEERS=celeriac,huey python bench/drain.py
"""

from __future__ import annotations

import os

#: Rounds of each system; the report shows medians.
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
#: Multiplies the number of messages.
SCALE = float(os.environ.get("BENCH_SCALE", "1"))

EVERYBODY = ("celeriac", "celery", "huey", "dramatiq", "taskiq", "saq", "rq")


def chosen(*names: str) -> list[str]:
    """Those of `names` (all, if none is given) that are wanted."""
    wanted = os.environ.get("BENCH_PEERS", ",".join(EVERYBODY)).split(",")
    return [name for name in names or EVERYBODY if name in wanted]


def scaled(n: float) -> int:
    """So many messages, more or fewer as the environment says."""
    return max(1, round(n * SCALE))
