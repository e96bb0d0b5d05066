"""Events in one process: how they are sent, heard, kept, put together; nothing is kept without end."""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from celeriac import Celery, Task
from celeriac.control import flatten_reply
from celeriac.events import Event, State, group_from
from celeriac.events.dispatcher import MOST_WAITING
from celeriac.events.dumper import Dumper
from celeriac.events.snapshot import Polaroid
from celeriac.exceptions import DuplicateNodenameWarning, ImproperlyConfigured, OperationalError
from celeriac.logical import LogicalClock
from celeriac.patterns import matcher_of
from celeriac.wire.broadcast import Answer, pack_answer, unpack_answer


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("told", broker=f"memory://{uuid4().hex}", set_as_current=False) as app:
        yield app


def heard(app: Celery, n: int, **options: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    app.events.Receiver(handlers={"*": events.append}, **options).capture(limit=n, timeout=5, wakeup=False)
    return events


class Broken:
    """A bus that is away."""

    def say(self, topic: str, payload: bytes) -> int:
        raise OperationalError("away")

    def close(self) -> None:
        pass


def test_EVT_1_an_event_is_completed_and_heard(app: Celery) -> None:
    with app.events.Receiver() as receiver:
        with app.events.default_dispatcher(hostname="me@here") as dispatcher:
            dispatcher.send("shop-sold", article=7)
        got: list[dict[str, Any]] = []
        receiver.handlers["*"] = got.append
        receiver.capture(limit=1, timeout=5, wakeup=False)
    (event,) = got
    assert (event["type"], event["article"], event["hostname"]) == ("shop-sold", 7, "me@here")
    assert event.keys() >= {"timestamp", "utcoffset", "pid", "clock", "local_received"}


def test_EVT_4_events_of_tasks_travel_together_and_routing_keys_choose(app: Celery) -> None:
    tasks, workers = app.bus.listen(["celeryev/task.multi"]), app.bus.listen(["celeryev/worker.*"])
    dispatcher = app.events.Dispatcher(buffer_group={"task"}, buffer_limit=100)
    for n in range(3):
        dispatcher.send("task-started", uuid=str(n))
    dispatcher.send("worker-online")
    assert tasks.hear() == []
    dispatcher.close()
    assert len(tasks.hear()) == len(workers.hear()) == 1
    tasks.close()
    workers.close()


def test_a_receiver_says_when_nothing_comes(app: Celery) -> None:
    with pytest.raises(TimeoutError, match="no event came"):
        app.events.Receiver().capture(timeout=0.05, wakeup=False)


def test_nonsense_on_the_channel_is_passed_over(app: Celery) -> None:
    with app.events.Receiver() as receiver:
        for payload in (
            *(b"nonsense", b"{}", b'{"body": "W10="}', b'{"body": "MQ==", "properties": 7}'),
            *(b"[" * 100_000, b'{"body": "", "headers": 5}', b'{"body": "", "content-type": []}'),
        ):
            app.bus.say("celeryev/task.multi", payload)
        app.events.Dispatcher().send("worker-online", timestamp=datetime.now(UTC))
        ((event,),) = receiver.itercapture(1, 5, wakeup=False)
    assert event["type"] == "worker-online"
    assert event["timestamp"] == event["local_received"], "a date is no time of an event"


def test_while_the_store_is_away_events_wait_but_not_without_end(app: Celery) -> None:
    dispatcher = app.events.Dispatcher(buffer_group={"task"}, buffer_limit=10**9)
    good, app.connections._bus = app.bus, Broken()  # type: ignore[assignment]
    for n in range(MOST_WAITING + 5):
        dispatcher.send("task-started", uuid=str(n))
    dispatcher.flush()
    assert (dispatcher.waiting, dispatcher.lost) == (MOST_WAITING, 5)
    app.connections._bus = good
    listening = app.bus.listen(["celeryev/*"])
    dispatcher.flush()
    assert dispatcher.waiting == 0
    assert len(listening.hear()) == MOST_WAITING // 200
    listening.close()


def test_TSK_4_a_task_tells_monitors_of_something_of_its_own(app: Celery) -> None:
    @app.task(bind=True, name="pack")
    def pack(self: Task[Any, Any]) -> None:
        self.send_event("task-packed", parcels=3)

    with app.events.Receiver() as receiver:
        result = pack.apply()
        ((event,),) = receiver.itercapture(1, 5, wakeup=False)
    assert (event["type"], event["uuid"], event["parcels"]) == ("task-packed", result.id, 3)


def test_EVT_2_producers_tell_of_what_they_send(app: Celery) -> None:
    app.conf.task_send_sent_event = True
    with app.events.Receiver() as receiver:
        result = app.send_task("shop.pay", (1,), {"b": 2}, queue="till")
        app.send_task("shop.last")
        event, last = (one for batch in receiver.itercapture(2, 5, wakeup=False) for one in batch)
    assert last["name"] == "shop.last", "each is told of once"
    assert (event["type"], event["uuid"], event["name"]) == ("task-sent", result.id, "shop.pay")
    assert (event["args"], event["kwargs"], event["queue"]) == ("(1,)", "{'b': 2}", "till")
    assert event.keys() >= {"root_id", "parent_id", "retries", "eta", "expires", "exchange", "routing_key"}


def told(kind: str, clock: int, **fields: Any) -> dict[str, Any]:
    return Event(kind, hostname="w@h", clock=clock, local_received=1000.0 + clock, **fields)


def test_EVT_6_a_state_survives_any_order(app: Celery) -> None:
    joined: list[Any] = []
    state = State(on_node_join=joined.append, on_node_leave=joined.append)
    events = [
        told("worker-online", 1, freq=2.0, sw_ident="x", active=0, processed=0),
        told("task-received", 2, uuid="a", name="shop.pay", args="(1,)", kwargs="{}", root_id="a", retries=0),
        told("task-started", 3, uuid="a"),
        told("task-succeeded", 4, uuid="a", result="3", runtime=0.1),
        told("task-received", 5, uuid="b", name="shop.add", parent_id="a", root_id="a"),
        told("task-failed", 6, uuid="b", exception="ValueError()", traceback="tb"),
    ]
    for event in [events[0], events[3], events[2], events[1], *events[4:]]:
        state.event(dict(event))
    (pay, add) = (state.tasks["a"], state.tasks["b"])
    assert (pay.state, pay.name, pay.result, pay.runtime, pay.ready) == (
        "SUCCESS",
        "shop.pay",
        "3",
        0.1,
        True,
    )
    assert (add.state, add.exception, add.parent, add.root) == ("FAILURE", "ValueError()", pay, pay)
    assert pay.children == [add]
    assert [id for id, _ in state.tasks_by_time()] == ["b", "a"]
    assert [id for id, _ in state.tasks_by_type("shop.pay")] == ["a"]
    assert len(state.tasks_by_worker["w@h"]) == 2
    assert state.task_types() == ["shop.add", "shop.pay"]
    assert (state.event_count, state.task_count) == (6, 2)
    assert pay.info(["args"]) == {"args": "(1,)"}
    assert pay.as_dict()["uuid"] == "a"
    copy = pickle.loads(pickle.dumps(state))
    assert copy.tasks["b"].parent is copy.tasks["a"]
    state.event(told("worker-offline", 7))
    assert [worker.hostname for worker in joined] == ["w@h", "w@h"]
    assert state.workers == {}
    state.clear_tasks(ready=False)
    assert not state.tasks


def test_EVT_6_an_event_of_ones_own_may_have_any_name_and_any_fields() -> None:
    state = State()
    state.event(told("task-received", 1, uuid="a", name="shop.pay"))
    for kind in ("task-ready", "task-event", "task-name", "task-packed"):
        of_ones_own = {"id": 5, "ready": False, "parent": "x", "info": "y", "event": "z", "worker": "gpu1"}
        state.event({**told(kind, 2, uuid="a", parcels=3, **of_ones_own), "clock": "12:00"})
    state.event(told("task-succeeded", 3, uuid="a"))
    ((_, task),) = state.tasks_by_worker("w@h")
    assert (task.id, task.name, task.ready, task.parent) == ("a", "shop.pay", True, None)
    assert task.info(["parcels"]) == {"parcels": 3}


def test_a_state_forgets_what_is_too_much() -> None:
    state = State(max_tasks_in_memory=10, max_workers_in_memory=3)
    for n in range(50):
        state.event({**told("task-received", n, uuid=str(n)), "hostname": f"w{n}@h"})
    assert list(state.tasks) == [str(n) for n in range(40, 50)]
    assert len(state.workers) == 3


def test_a_worker_that_is_silent_is_gone() -> None:
    state = State()
    state.event({**told("worker-heartbeat", 1, freq=2.0), "local_received": 5.0})
    worker = state.workers["w@h"]
    assert (worker.alive, worker.status_string, worker.heartbeat_expires) == (False, "OFFLINE", 9.0)


def test_EVT_7_a_camera_is_shown_the_state() -> None:
    seen = threading.Event()

    class Camera(Polaroid):
        clear_after = True

        def on_shutter(self, state: State) -> None:
            if state.tasks:
                seen.set()

    state = State()
    state.event(told("task-failed", 1, uuid="a"))
    with Camera(state, freq=0.01):
        assert seen.wait(5)
    assert not state.tasks


def test_EVT_7_a_camera_that_fails_once_takes_its_next_picture(caplog: pytest.LogCaptureFixture) -> None:
    seen = threading.Event()

    class Camera(Polaroid):
        tried = 0

        def on_shutter(self, state: State) -> None:
            self.tried += 1
            if self.tried == 1:
                raise ConnectionError("the database is away")
            seen.set()

    with Camera(State(), freq=0.01):
        assert seen.wait(5)
    assert "the database is away" in caplog.text


def test_EVT_7_each_event_is_a_line() -> None:
    out = io.StringIO()
    dumper = Dumper(out)
    dumper.on_event(told("worker-online", 1, sw_ver="1"))
    dumper.on_event(told("task-received", 2, uuid="u", name="n", args="(1,)", kwargs="{}"))
    dumper.on_event(told("task-succeeded", 3, uuid="u", result="2"))
    first, second, third = out.getvalue().splitlines()
    assert first.startswith("w@h [")
    assert " started: " in first
    assert "task received: n(u) args=(1,) kwargs={}" in second
    assert "task succeeded: n(u) args=(1,) kwargs={}" in third
    assert "result=2" in third
    assert group_from("task-sent") == "task"


def test_a_clock_never_runs_back() -> None:
    clock = LogicalClock()
    first = clock.tick()
    assert clock.tick() > first
    clock.hear(first + 10**6)
    assert clock.tick() == first + 10**6 + 1
    clock.hear("nonsense")
    clock.hear(1 << 70)
    assert clock.tick() == first + 10**6 + 2, "what no message can carry is no time"


def test_patterns_choose_nodes() -> None:
    assert matcher_of("web*@h", None)("web1@h")
    assert not matcher_of("web*@h", "glob")("db@h")
    assert matcher_of(r"web\d@", "pcre")("web1@h")
    with pytest.raises(ImproperlyConfigured, match="no regular expression"):
        matcher_of("(", "pcre")
    with pytest.raises(ImproperlyConfigured, match="glob and pcre"):
        matcher_of("x", "sql")


def test_two_nodes_of_one_name_are_told_of() -> None:
    with pytest.warns(DuplicateNodenameWarning, match="Give each its own"):
        assert flatten_reply([{"a": 1}, {"b": 2}, {"a": 3}]) == {"a": 3, "b": 2}


def test_an_answer_that_no_json_can_carry_goes_as_its_repr() -> None:
    ring: list[Any] = []
    ring.append(ring)
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    for value in (ring, deep):
        packed = pack_answer(Answer("w@h", value, "ticket", 1), "box.reply")
        assert str(unpack_answer(packed).value).startswith("[[[")


def test_an_app_without_workers_is_answered_at_once(app: Celery) -> None:
    assert app.control.ping(timeout=60) == []
    assert app.control.inspect(timeout=60).active() is None
    assert app.control.enable_events() is None
