"""A solo worker, here in the process of the tests: what it is from the moment it says that it is ready."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery, signals
from celeriac.exceptions import OperationalError
from celeriac.message import Fate, Message, Outcome
from celeriac.ports import Broker
from celeriac.routing import Router
from celeriac.signals import Signal
from celeriac.wire.broadcast import unpack_events
from celeriac.wire.packing import pack
from celeriac.worker.household import Household
from celeriac.worker.options import WorkerOptions
from celeriac.worker.presence import LONGEST_WAIT
from celeriac.worker.slots import Slots
from celeriac.worker.solo import Solo
from proxy import Proxy
from services import RedisServer
from stand import until

#: Seconds.
LEASE = 4.0


def live(url: str, on_ready: Callable[[Celery], object], **named: Any) -> None:
    """A whole life of a solo worker, which stops as soon as it is ready; fails as `on_ready` does."""
    app = Celery("alone", broker=url, set_as_current=False)
    options = WorkerOptions(hostname="solo@test", pool="solo", **{"lease": LEASE, **named})
    household = Household(app, options, Slots(1, 1))
    household.import_app(alone=True)
    household.served = Router(app.conf).served(None, (), "solo@test")
    solo = Solo(household, app.open_worker_broker(), tuple(household.served.queues))
    failures: list[BaseException] = []

    def ready(**_: Any) -> None:
        try:
            on_ready(app)
        except BaseException as error:
            failures.append(error)
        finally:
            solo.shut_down()

    try:
        with Receiving(signals.worker_ready, ready):
            assert solo.run() == 0
    finally:
        app.close()
        household.limits.close()
        os.close(household.slots.descriptor)
    for failure in failures:
        raise failure


class Receiving:
    """Connects a receiver for as long as the block runs."""

    def __init__(self, signal: Signal, receiver: Callable[..., None]) -> None:
        self._signal, self._receiver = signal, receiver

    def __enter__(self) -> None:
        self._signal.connect(self._receiver)

    def __exit__(self, *_: object) -> None:
        self._signal.disconnect(self._receiver)


def test_a_solo_worker_says_that_it_is_ready_when_it_can_be_asked(tmp_path: Path) -> None:
    asked, answers = threading.Event(), []

    def dawdle(**_: Any) -> None:
        # The thread of remote control comes by here first. Who does not wait for it is ready meanwhile.
        asked.wait(0.2)

    def ask(app: Celery) -> None:
        answers.extend(app.control.ping(timeout=2, limit=1))
        asked.set()

    with Receiving(signals.heartbeat_sent, dawdle):
        live(f"sqlite:///{tmp_path}/store.db", ask)
    assert answers == [{"solo@test": {"ok": "pong"}}]


def test_a_node_waits_no_longer_for_its_bus_than_its_lease_allows(redis_server: RedisServer) -> None:
    with Proxy(redis_server.port) as proxy:

        def lose_the_store(app: Celery) -> None:
            proxy.swallow()
            try:
                with pytest.raises(OperationalError, match=f"no reply within {LEASE * LONGEST_WAIT:g} s"):
                    app.bus.say("nobody", b"hears")
            finally:
                proxy.pass_on()

        live(proxy.url, lose_the_store)


def test_a_solo_worker_tells_monitors_of_tasks_that_other_nodes_lost(tmp_path: Path) -> None:
    url, told = f"sqlite:///{tmp_path}/store.db", []

    def listen(app: Celery) -> None:
        with closing(app.bus.listen(["celeryev/*"])) as monitor:
            lose_a_task(app.broker)
            until(lambda: told.extend(monitor.hear(1.0)) or told, what="word of it")

    live(url, listen, lease=0.6, task_events=True, without_heartbeat=True)
    ((topic, payload),) = told
    (event,) = unpack_events(payload)
    assert (topic, event["uuid"]) == ("celeryev/task.failed", "lost")
    assert "its node fell silent" in event["exception"]


def lose_a_task(broker: Broker) -> None:
    """It had begun, was acknowledged early, and its node fell silent."""
    payload = pack(name="shop.pay", id="lost", args=(), kwargs={}, queue="elsewhere")
    broker.publish([Message("lost", "elsewhere", payload)])
    broker.consume(["elsewhere"])
    broker.enlist("dead/owner", "dead", 0.05)
    (claim,) = broker.turn("dead/owner", (), 1)
    broker.turn("dead/owner", [Outcome(claim.number, Fate.BEGUN)], 0)
