"""A fleet of 300 workers answers at once, also while a third of it comes and goes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from services import PATIENCE, clean_environment
from stand import until

FLEET, BOUNCED = 300, 100


class Fleet:
    """The switchboards of many workers in one process, steered by lines."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "fleet_of_nodes.py"), url, str(FLEET)],
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.says("ready")

    def tell(self, *words: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def says(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == word

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def fleet(redis_db: str) -> Iterator[Fleet]:
    fleet = Fleet(redis_db)
    yield fleet
    fleet.close()


def test_300_workers_answer_within_two_seconds_while_100_are_bounced(redis_db: str, fleet: Fleet) -> None:
    with Celery("client", broker=redis_db, set_as_current=False) as client:
        control = client.control
        assert len(control.ping()) == FLEET  # connections are warm
        began = time.monotonic()
        assert len(control.ping()) == FLEET
        stats = control.inspect().stats()
        assert stats is not None
        assert len(stats) == FLEET
        took = time.monotonic() - began
        print(f"ping and stats of {FLEET}: {took:.2f} s")
        assert took < 4
        fleet.tell("bounce", BOUNCED)
        began = time.monotonic()
        steady = control.ping()
        # Who stopped listening before it could answer is waited for: a second after the last answer.
        assert time.monotonic() - began < 3
        assert len(steady) >= FLEET - BOUNCED
        fleet.says("bounced")
        until(lambda: len(control.ping()) == FLEET, PATIENCE)
        began = time.monotonic()
        assert control.ping(destination=["node7@fleet"]) == [{"node7@fleet": {"ok": "pong"}}]
        assert time.monotonic() - began < 1
    keys = [key for key in _keys(redis_db) if "pidbox" in key]
    assert keys == [], "no box is left behind"


def _keys(url: str) -> list[str]:
    import redis

    with redis.Redis.from_url(url, decode_responses=True) as client:
        return list(client.scan_iter())
