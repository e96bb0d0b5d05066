"""A fleet of 300 workers answers at once, also while a third of it comes and goes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from celeriac import Celery
from celeriac.wire.broadcast import Command, pack_command
from celeriac.worker.switchboard import KEEP
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


def test_300_workers_answer_and_nobody_waits_for_longer_while_100_are_bounced_and_1000_leave_nothing(
    redis_db: str, fleet: Fleet
) -> None:
    with Celery("client", broker=redis_db, set_as_current=False) as client:
        control = client.control
        # However busy the machine is: all are waited for, and no longer than that.
        assert len(control.ping(timeout=PATIENCE)) == FLEET  # connections are warm
        began = time.monotonic()
        assert len(control.ping(timeout=PATIENCE)) == FLEET
        stats = control.inspect(timeout=PATIENCE).stats()
        assert stats is not None
        assert len(stats) == FLEET
        took = time.monotonic() - began
        print(f"ping and stats of {FLEET}: {took:.2f} s")
        assert took < PATIENCE
        fleet.tell("bounce", BOUNCED)
        began = time.monotonic()
        # Who stopped listening before it could answer is waited for: a second after the last answer. On a
        # busy machine there may be a second between any two.
        until(lambda: len(control.ping()) >= FLEET - BOUNCED, PATIENCE)
        assert time.monotonic() - began < PATIENCE
        fleet.says("bounced")
        until(lambda: len(control.ping()) == FLEET, PATIENCE)
        began = time.monotonic()
        assert control.ping(destination=["node7@fleet"]) == [{"node7@fleet": {"ok": "pong"}}]
        assert time.monotonic() - began < PATIENCE / 2
        with redis.Redis.from_url(redis_db, decode_responses=True) as store:
            assert list(store.scan_iter("*pidbox*")) == [], "no box is left behind"
            # 1,000 comings and goings in all, and clients that are gone before they are answered.
            for _ in range(3):
                fleet.tell("bounce", FLEET)
                ask_and_go(client, None)
                for number in range(60):
                    ask_and_go(client, f"node{number}@fleet")
                fleet.says("bounced")
            until(lambda: len(control.ping()) == FLEET, PATIENCE)
            left = {key: store.ttl(key) for key in store.scan_iter()}
            assert left, "there were answers that nobody took"
            assert all(0 <= seconds <= KEEP for seconds in left.values()), left


def ask_and_go(client: Celery, node: str | None) -> None:
    """As a client does that is killed before the answers come."""
    box = f"{uuid4()}.reply.celery.pidbox"
    asked = Command("ping", {}, node and [node], ticket=box, box=box, tag=str(uuid4()))
    client.bus.say("celery.pidbox", pack_command(asked, "celery.pidbox", "reply.celery.pidbox"))
