"""A replica takes over: in order nothing is lost, after a death what it had not heard; nothing is stuck."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac import Celery
from celeriac.exceptions import OperationalError
from celeriac.message import Depth
from chaos import faults
from chaos.failover import ReplicatedStore, hand_over
from chaos.stage import Stage, kill, until
from chaos.storm import BACK_WHEN_BUSY, Storm
from conftest import demand
from services import RedisServer


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    demand("redis-server", RedisServer.executable() is not None)
    stage = Stage(tmp_path, ReplicatedStore())
    yield stage
    stage.close()


def test_a_failover_in_order_loses_nothing_and_everyone_consumes_again(stage: Stage) -> None:
    stage.start_worker("-c", "2")
    storm = Storm(stage, seed=14, most=300, rate=400, back=BACK_WHEN_BUSY)
    storm.begin()
    storm.run([hand_over, faults.reset_connections, hand_over], pause=(0.1, 0.3))
    storm.end()


def test_what_a_replica_still_holds_as_claimed_runs_though_its_child_has_settled_it(stage: Stage) -> None:
    store = stage.store
    assert isinstance(store, ReplicatedStore)
    stage.start_worker("-c", "1")
    stage.send("first")
    stage.wait_until_done(20)
    stage.send("claimed", task="held")
    until(lambda: stage.ledger.has_begun("claimed"), "it begins")
    store.catch_up()  # the replica knows it as claimed
    store.link.swallow()
    stage.send("unheard")
    stage.open_gate()
    until(
        lambda: stage.ledger.has_ended("claimed", "unheard"), "both are done, and the replica knows of none"
    )
    until(lambda: store.census(harvest=False).depth == Depth(), "both are settled")
    store.lose_the_master()
    until(lambda: stage.ledger.read() or stage.ledger.ends["claimed"] == 2, "it runs once more")
    until(lambda: store.census(harvest=False).depth == Depth(), "nothing is held for ever")
    assert stage.ledger.begins["unheard"] == 1


def test_what_a_replica_still_holds_for_a_child_that_has_left_runs(stage: Stage) -> None:
    store = stage.store
    assert isinstance(store, ReplicatedStore)
    worker = stage.start_worker("-c", "1")
    stage.send("claimed", task="held")
    until(lambda: stage.ledger.has_begun("claimed"), "it begins")
    store.catch_up()  # the replica knows it as claimed
    store.link.swallow()
    (child,) = stage.children(worker)
    kill(child)
    stage.open_gate()
    until(lambda: stage.ledger.has_ended("claimed"), "another child has run it")
    until(lambda: store.census(harvest=False).depth == Depth(), "and settled it")
    store.lose_the_master()
    until(lambda: stage.ledger.read() or stage.ledger.ends["claimed"] == 2, "it runs once more")
    until(lambda: store.census(harvest=False).depth == Depth(), "nothing is held for ever")


def test_a_publish_that_waits_for_replicas_outlives_the_master(stage: Stage) -> None:
    store = stage.store
    assert isinstance(store, ReplicatedStore)
    hasty, patient = _careful(store.url, 1.0), _careful(store.url, 20.0)
    patient.send_task("some.task", task_id="heard")
    store.link.swallow()
    with pytest.raises(OperationalError, match=r"only 0 of 1 replicas have it too after .* send it again"):
        hasty.send_task("some.task", task_id="unheard")
    store.lose_the_master()
    patient.send_task("some.task", task_id="unheard")
    patient.send_task("some.task", task_id="unheard2")
    shown = b"".join(patient.broker.peek("celery", 10))
    assert [shown.count(b'"id": "%b"' % id) for id in (b"heard", b"unheard", b"unheard2")] == [1, 1, 1]
    hasty.close()
    patient.close()


def _careful(url: str, patience: float) -> Celery:
    app = Celery("careful", broker=url, set_as_current=False)
    app.conf.broker_transport_options = {"wait_replicas": 1}
    app.conf.publish_timeout = patience
    return app
