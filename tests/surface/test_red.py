"""RED-4: protocol 1, which `task_protocol=1` sends for workers of Celery 3."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from celeriac import Celery, chain, signals
from celeriac.wire.task import unpack


def sent(app: Celery) -> tuple[dict[str, Any], dict[str, Any]]:
    """(envelope, body) of the one message that waits."""
    (payload,) = app.broker.peek("celery", 9)
    envelope = json.loads(payload)
    return envelope, json.loads(base64.b64decode(envelope["body"]))


@pytest.fixture
def older(app: Celery) -> Celery:
    app.conf.task_protocol = 1
    return app


def test_RED_4_protocol_1_says_everything_in_its_body(older: Celery) -> None:
    result = older.send_task("work", (1,), {"a": 2}, link=older.signature("then"), headers={"x": 1})
    envelope, body = sent(older)
    assert (body["task"], body["id"], body["args"], body["kwargs"]) == ("work", result.id, [1], {"a": 2})
    assert body.keys() == {
        *("task", "id", "args", "kwargs", "group", "group_index", "retries", "eta", "expires", "utc"),
        *("callbacks", "errbacks", "timelimit", "taskset", "chord"),
    }
    assert [link["task"] for link in body["callbacks"]] == ["then"]
    assert envelope["headers"] == {"x": 1}
    assert envelope["properties"]["correlation_id"] == result.id


def test_RED_4_what_follows_is_nested_and_we_read_it_ourselves(older: Celery) -> None:
    one, two, three = (older.signature(name, args=(number,)) for number, name in enumerate(("a", "b", "c")))
    chain(one, two, three).apply_async(link=older.signature("last"))
    _, body = sent(older)
    (second,) = body["callbacks"]
    (third,) = second["options"]["link"]
    assert (body["task"], second["task"], third["task"]) == ("a", "b", "c")
    assert [link["task"] for link in third["options"]["link"]] == ["last"]
    message = unpack(older.broker.peek("celery", 1)[0])
    assert (message.name, message.arguments({"json"})[0]) == ("a", [0])


def test_RED_4_a_worker_of_ours_runs_protocol_1(older: Celery) -> None:
    add = older.task(name="add")(lambda x, y: x + y)
    with older.testing() as stepper:
        last = chain(add.s(1, 2), add.s(10)).apply_async()
        assert [one.value for one in stepper.run()] == [3, 13]
        assert last.get() == 13


def test_RED_4_signals_see_it_too(older: Celery) -> None:
    heard: list[dict[str, Any]] = []

    def hear(**named: Any) -> None:
        heard.append(named)

    for signal in (signals.before_task_publish, signals.after_task_publish, signals.task_sent):
        signal.connect(hear)
    try:
        older.send_task("work", (5,))
    finally:
        for signal in (signals.before_task_publish, signals.after_task_publish, signals.task_sent):
            signal.disconnect(hear)
    assert [one["sender"] for one in heard] == ["work"] * 3
    assert heard[0]["body"]["args"] == heard[2]["args"] == [5]
