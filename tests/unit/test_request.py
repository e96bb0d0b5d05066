"""The request: what a running task knows of its call."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from celeriac import request as requests
from celeriac.request import Request
from celeriac.wire.packing import pack
from celeriac.wire.task import unpack


def request_of(**call: object) -> Request:
    said = {"name": "t", "id": "1", "args": (1,), "kwargs": {"b": 2}, "queue": "mail", **call}
    message = unpack(pack(**said))  # type: ignore[arg-type]
    args, kwargs, embed = message.arguments({"json"})
    return Request.from_message(message, args, kwargs, embed, hostname="w@h", deliveries=1)


def test_a_request_has_what_the_message_says() -> None:
    request = request_of(
        retries=2,
        group="g",
        group_index=3,
        root_id="r",
        parent_id="p",
        timelimit=(9, 5),
        priority=4,
        shadow="s",
        reply_to="me",
        expires=datetime(2090, 1, 1, tzinfo=UTC),
        callbacks=[{"task": "c"}],
        errbacks=[{"task": "e"}],
        chain=[{"task": "n"}],
    )
    assert (request.id, request.task, request.name) == ("1", "t", "t")
    assert (request.args, request.kwargs) == ([1], {"b": 2})
    assert (request.retries, request.group, request.taskset, request.group_index) == (2, "g", "g", 3)
    assert (request.root_id, request.parent_id, request.shadow) == ("r", "p", "s")
    assert (request.time_limit, request.soft_time_limit) == (9, 5)
    assert (request.reply_to, request.correlation_id, request.hostname) == ("me", "1", "w@h")
    assert request.expires == "2090-01-01T00:00:00+00:00"
    assert (request.callbacks, request.errbacks) == ([{"task": "c"}], [{"task": "e"}])
    assert request.chain == [{"task": "n"}]
    assert request.delivery_info == {
        "exchange": "",
        "routing_key": "mail",
        "priority": 4,
        "redelivered": True,
    }
    assert not request.called_directly
    assert not request.is_eager


def test_custom_headers_read_like_fields() -> None:
    request = request_of(headers={"tenant": "x", "__context__": {"id": 1}})
    assert request.tenant == "x"
    assert getattr(request, "__context__") == {"id": 1}  # noqa: B009 - as packages ask for it
    assert request.headers == {"tenant": "x", "__context__": {"id": 1}}
    assert request.get("tenant") == "x"
    assert request.get("nothing", 5) == 5
    with pytest.raises(AttributeError, match="nothing"):
        _ = request.nothing


def test_the_options_of_a_request_call_the_task_the_same_way_again() -> None:
    request = request_of(headers={"tenant": "x"}, priority=6, ignore_result=True, timelimit=(9, None))
    options = request.as_execution_options()
    assert options["headers"] == {"tenant": "x"}
    assert (options["task_id"], options["priority"], options["ignore_result"]) == ("1", 6, True)
    assert (options["time_limit"], options["soft_time_limit"]) == (9, None)


def test_a_request_of_a_plain_call_is_empty() -> None:
    request = Request()
    assert request.called_directly
    assert (request.id, request.retries, request.headers, request.delivery_info) == (None, 0, {}, {})
    request.update(id="5", headers={"a": 1})
    assert (request.id, request.a) == ("5", 1)
    request.clear()
    assert request.id is None


def test_requests_do_not_share_what_they_collect() -> None:
    one, other = Request(), Request()
    one.children.append("x")
    assert other.children == []


def test_the_current_request_is_the_one_pushed_last() -> None:
    outer, inner = Request(id="outer"), Request(id="inner")
    assert requests.current() is None
    requests.push(outer)
    requests.push(inner)
    assert requests.current() is inner
    requests.pop()
    assert requests.current() is outer
    requests.pop()
    requests.pop()
    assert requests.current() is None


def test_every_thread_has_a_current_request_of_its_own() -> None:
    seen: list[Request | None] = []
    requests.push(Request(id="here"))
    try:
        thread = threading.Thread(target=lambda: seen.append(requests.current()))
        thread.start()
        thread.join()
    finally:
        requests.pop()
    assert seen == [None]
