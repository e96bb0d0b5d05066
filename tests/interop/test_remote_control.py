"""Remote control and events: the same session with our worker and with a stock one, compared."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from celeriac.events.event import Fields
from interop import shop
from interop.conftest import Customer, environment, our_worker, their_worker
from services import PATIENCE, Program, RedisServer

#: What an answer may hold more or less, by the name of the command: each has a row in celery-differences.md.
KNOWN: dict[str, tuple[set[str], set[str]]] = {
    # (only in Celery's, only in ours)
    "stats": ({"broker.credential_provider"}, {"events_ever_lost"}),
}
#: The same for events; Celery tells `signum` and its like only where they are set.
SAME = ("hostname", "utcoffset", "pid", "clock", "uuid", "timestamp", "type")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis of its own: remote control reaches every worker of a database."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def both(server: RedisServer, stock_celery: str) -> Iterator[dict[str, Program]]:
    started = {
        "ours": our_worker(server.url, shop.OURS, "-E"),
        # Not in "solo", where it answers nothing while it is busy.
        "theirs": their_worker(stock_celery, server.url, shop.THEIRS, "-E", "-P", "prefork", "-c", "1"),
    }
    try:
        for worker in started.values():
            worker.wait_for_line(r" ready\.")
        yield started
    finally:
        for worker in started.values():
            worker.stop()


@pytest.fixture(scope="module")
def app(server: RedisServer, both: object) -> Iterator[Any]:
    with shop.open_shop(Celery, server.url, set_as_current=False) as app:
        # Stock says that it is ready before it listens.
        wait_for(lambda: len(app.control.ping(timeout=1, limit=2)) == 2)
        yield app


@pytest.fixture(scope="module")
def customer(server: RedisServer, stock_celery: str, both: object) -> Iterator[Customer]:
    with Customer(stock_celery, server.url) as customer:
        yield customer


def answers(app: Any, command: str, **arguments: Any) -> tuple[Any, Any]:
    """(Celery's, ours)"""
    replies = app.control.broadcast(command, arguments, reply=True, timeout=PATIENCE, limit=2)
    by_node = {node.partition("@")[0]: answer for reply in replies for node, answer in reply.items()}
    assert by_node.keys() == {"ours", "theirs"}
    return by_node["theirs"], by_node["ours"]


def shape(value: Any, path: str = "") -> set[str]:
    """The names in an answer, with the types of what they stand for."""
    if isinstance(value, dict):
        return {
            inner for name, one in value.items() for inner in shape(one, f"{path}.{name}" if path else name)
        }
    if isinstance(value, list):
        return {inner for one in value[:1] for inner in shape(one, f"{path}[]")}
    return {path}


def test_RC_2_both_answer_in_one_shape(app: Any) -> None:
    gates = [app.send_task("shop.tracked", queue=queue) for queue in (shop.OURS, shop.THEIRS)]
    try:
        deadline = time.monotonic() + PATIENCE
        while not all(answers(app, "active")):
            assert time.monotonic() < deadline
        for command in ("active", "active_queues", "clock", "ping", "reserved", "revoked", "stats", "hello"):
            arguments = {"from_node": "me@test"} if command == "hello" else {}
            theirs, ours = answers(app, command, **arguments)
            assert type(ours) is type(theirs) or command == "hello", command
            less, more = KNOWN.get(command, (set(), set()))
            given, expected = shape(ours), shape(theirs)
            if command == "stats":
                # The names of tasks; what the pool says is each pool's own.
                given, expected = (
                    {name for name in names if not name.startswith(("total.", "pool."))}
                    for names in (given, expected)
                )
            assert expected - given == less, command
            assert given - expected == more, command
        theirs, ours = answers(app, "query_task", ids=[gate.id for gate in gates])
        assert [state for state, _ in theirs.values()] == [state for state, _ in ours.values()] == ["active"]
    finally:
        for gate in gates:
            app.store.lpush(f"go:{gate.id}", 1)
            gate.get(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("rate_limit", {"task_name": "shop.add", "rate_limit": "100/s"}),
        ("rate_limit", {"task_name": "shop.add", "rate_limit": 0}),
        ("rate_limit", {"task_name": "none", "rate_limit": "1/s"}),
        ("time_limit", {"task_name": "shop.add", "soft": 10, "hard": 20}),
        ("time_limit", {"task_name": "none", "soft": 10, "hard": 20}),
        ("add_consumer", {"queue": "more"}),
        ("cancel_consumer", {"queue": "more"}),
        ("enable_events", {}),
        ("revoke", {"task_id": "nothing"}),
        ("revoke", {"task_id": "nothing", "terminate": True}),
        ("terminate", {"task_id": "nothing", "signal": "SIGTERM"}),
        ("revoke_by_stamped_headers", {"headers": {"a": ["b"]}}),
        ("autoscale", {"max": 2, "min": 1}),
        ("pool_restart", {}),
        ("query_task", {"ids": ["nothing"]}),
        ("no_such_command", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_RC_4_both_say_the_same(app: Any, command: str, arguments: dict[str, Any]) -> None:
    theirs, ours = answers(app, command, **arguments)
    assert ours == theirs


def test_stock_clients_ask_our_workers(customer: Customer) -> None:
    asked = """
        inspect = app.control.inspect(timeout=5, limit=2)
        answer = {name: getattr(inspect, name)() for name in names}
    """
    found = customer(asked, names=["ping", "registered", "active", "stats", "report", "active_queues"])
    for by_node in found.values():
        assert {node.partition("@")[0] for node in by_node} == {"ours", "theirs"}
    registered = {node.partition("@")[0]: sorted(tasks) for node, tasks in found["registered"].items()}
    assert registered["ours"] == registered["theirs"]


def test_a_stock_client_revokes_what_our_worker_will_get(app: Any, customer: Customer) -> None:
    app.control.pause(shop.OURS)
    result = app.send_task("shop.add", (1, 1), queue=shop.OURS)
    customer("app.control.revoke(id, reply=True, timeout=5, limit=2); answer = None", id=result.id)
    app.control.resume(shop.OURS)
    result.get(timeout=PATIENCE, propagate=False)
    assert result.state == "REVOKED"


def test_EVT_1_both_tell_the_same_of_the_same_session(app: Any) -> None:
    heard: list[Fields] = []
    receiver = app.events.Receiver(handlers={"*": heard.append})
    with receiver:
        thread = threading.Thread(target=receiver.capture, kwargs={"wakeup": False})
        thread.start()
        told = {}
        for queue in (shop.THEIRS, shop.OURS):
            results = {
                "well": app.send_task("shop.add", (1, 2), queue=queue),
                "bad": app.send_task("shop.boom", queue=queue),
                "late": app.send_task("shop.add", (1, 2), queue=queue, expires=-1),
                "again": app.send_task("shop.stubborn", (1,), queue=queue),
            }
            for result in results.values():
                result.get(timeout=PATIENCE, propagate=False)
            told[queue] = {name: story(heard, result.id) for name, result in results.items()}
        app.control.heartbeat()
        wait_for(lambda: len(beats(heard)) == 2)
        receiver.should_stop = True
        thread.join(PATIENCE)
    theirs, ours = told[shop.THEIRS], told[shop.OURS]
    for name in ("well", "bad", "late", "again"):
        assert [kind for kind, _ in ours[name]] == [kind for kind, _ in theirs[name]], name
        for (kind, mine), (_, original) in zip(ours[name], theirs[name], strict=True):
            assert mine.keys() == original.keys(), (name, kind)
            same = mine.keys() - {
                *SAME,
                "runtime",
                "traceback",
                "local_received",
                "root_id",
                "parent_id",
                "expires",
                # Celery sends a retry with countdown=0 without one.
                "eta",
            }
            assert {key: mine[key] for key in same} == {key: original[key] for key in same}, (name, kind)
    mine, original = beats(heard)["ours"], beats(heard)["theirs"]
    assert mine.keys() >= original.keys()


@pytest.fixture(scope="module")
def stock_command(server: RedisServer, stock_celery: str) -> Iterator[Callable[..., Program]]:
    """Starts stock Celery's own executable: `stock_command("inspect", "ping")`."""
    started: list[Program] = []

    def start(*words: str) -> Program:
        executable = str(Path(stock_celery).with_name("celery"))
        started.append(Program([executable, "-b", server.url, *words], env=environment(server.url)))
        started[-1].start()
        return started[-1]

    yield start
    for program in started:
        program.stop()


def test_the_commands_of_stock_celery_see_and_steer_our_worker(
    app: Any, stock_command: Callable[..., Program]
) -> None:
    (node,) = (name for reply in app.control.ping(limit=2) for name in reply if name.startswith("ours@"))
    ours = ("-t", "5", "-d", node)
    dump = stock_command("events", "--dump")
    status = stock_command("status", "-t", "5")
    active = stock_command("inspect", *ours, "--json", "active_queues")
    limit = stock_command("control", *ours, "rate_limit", "shop.add", "1000/s")
    refused = stock_command("control", *ours, "time_limit", "none", "1")
    assert status.wait() == active.wait() == limit.wait() == 0
    assert f"->  {node}: OK" in status.output
    assert "2 nodes online." in status.output
    queues = json.loads(active.output)[node]
    assert [queue["name"] for queue in queues] == [shop.OURS]
    assert [line.strip() for line in limit.lines[:2]] == [
        f"->  {node}: OK",
        "new rate limit set successfully",
    ]
    assert refused.wait() == 0
    assert [line.strip() for line in refused.lines[:2]] == [f"->  {node}: ERROR", "unknown task"]
    dump.wait_for_line(rf"{node} \[.*\] heartbeat")
    done = app.send_task("shop.add", (1, 2), queue=shop.OURS)
    dump.wait_for_line(rf"{node} \[.*\] task received: shop\.add\({done.id}\) args=\(1, 2\)")
    dump.wait_for_line(rf"task succeeded: shop\.add\({done.id}\).* result=3")


def beats(heard: list[Fields]) -> dict[str, Fields]:
    return {
        event["hostname"].partition("@")[0]: event
        for event in heard
        if event["type"] == "worker-heartbeat" and "active" in event
    }


def story(heard: list[Fields], id: str) -> list[tuple[str, Fields]]:
    """What was told of one task, when its end was told."""
    ends = ("task-succeeded", "task-failed", "task-revoked")
    wait_for(lambda: any(event["type"] in ends for event in heard if event.get("uuid") == id))
    # A stock pool of processes may tell of a retry after it has received it.
    return sorted(
        ((event["type"], event) for event in heard if event.get("uuid") == id), key=lambda told: told[0]
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
