"""Who may take over from whom, when leases ran out because the store was away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from celeriac.drivers.opening import open_broker
from celeriac.message import Claim, Depth, Fate, Message, Outcome
from celeriac.ports import Broker
from celeriac.routing import Served
from celeriac.worker.heartbeat import Heartbeat

LEASE = 0.5


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = open_broker(f"memory://{uuid4()}")
    broker.consume(["celery"])
    yield broker
    broker.close()


def heart(broker: Broker, node: str) -> Heartbeat:
    def judge(claims: list[Claim], begun: int | None, rooms: int, how: str) -> list[Outcome]:
        return [Outcome(claim.number, Fate.GIVEN_BACK) for claim in claims]

    return Heartbeat(broker, node, LEASE, judge, Served([], [], []))


def test_a_worker_that_starts_when_the_store_comes_back_takes_nothing_from_those_that_live(
    broker: Broker,
) -> None:
    living, new = heart(broker, "living"), heart(broker, "new")
    living.beat()
    broker.enlist("living/1", "living", LEASE)
    broker.publish([Message("a", "celery", b"a")])
    (claim,) = broker.turn("living/1", (), 1)
    # For so long nobody reaches the store.
    time.sleep(LEASE * 1.2)
    new.beat()
    living.beat()
    time.sleep(LEASE / 2)
    new.beat()
    assert broker.held("living/1") == [claim]


def test_from_one_that_stays_silent_it_takes_over_with_its_second_beat(broker: Broker) -> None:
    broker.enlist("dead/1", "dead", LEASE)
    broker.publish([Message("a", "celery", b"a")])
    assert broker.turn("dead/1", (), 1)
    time.sleep(LEASE * 1.2)
    new = heart(broker, "new")
    pause = new.beat()
    assert broker.depth(["celery"])["celery"] == Depth(claimed=1)
    assert pause <= LEASE / 3
    time.sleep(pause)
    new.beat()
    assert broker.depth(["celery"])["celery"] == Depth(ready=1)
