"""Our bytes against those of stock Celery, as tests/interop/golden/capture.py caught them."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from celeriac import exceptions
from celeriac.exceptions import ContentDisallowed
from celeriac.wire.packing import pack
from celeriac.wire.result import decode_exception, decode_result, encode_result
from celeriac.wire.task import unpack

GOLDEN = Path(__file__).parents[1] / "interop" / "golden"
MESSAGES = json.loads((GOLDEN / "messages.json").read_text(encoding="utf-8"))
PROTOCOL_1 = json.loads((GOLDEN / "messages_protocol_1.json").read_text(encoding="utf-8"))
RESULTS = json.loads((GOLDEN / "results.json").read_text(encoding="utf-8"))
RESULTS_EXTENDED = json.loads((GOLDEN / "results_extended.json").read_text(encoding="utf-8"))
ALL = ("json", "pickle", "yaml", "msgpack")

ETA = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TEXT = 'žluť \N{GRINNING FACE} "q" \\ \x07'


def signature(*args: Any, immutable: bool = False, **options: Any) -> dict[str, Any]:
    return {
        "task": "proj.add",
        "args": args,
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "immutable": immutable,
    }


#: What capture.py asked of Celery, said to `pack`.
CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "args": {"args": (2, 3)},
    "kwargs": {"args": (2,), "kwargs": {"y": TEXT}},
    "nested": {"args": ([1, [2, {"a": (3, None, True, 1.5)}]],)},
    "extended": {
        "args": (ETA, date(2030, 1, 2), time(3, 4, 5), UUID(int=5), Decimal("1.10"), b"text", b"\xff\xfe")
    },
    "long": {"args": ("x" * 1500, list(range(300)))},
    "eta": {"args": (1,), "eta": ETA},
    "expires": {"args": (1,), "expires": ETA},
    "priority": {"args": (1,), "priority": 7},
    "queue": {"args": (1,), "queue": "high priority"},
    "headers": {"args": (1,), "headers": {"tenant": "t1", "when": ETA, "shadow": "mine"}},
    "limits": {"args": (1,), "timelimit": (10, 5.5), "shadow": "dark"},
    "ignore": {"args": (1,), "ignore_result": True},
    "link": {"args": (1,), "callbacks": [signature(2)], "errbacks": [signature(3, immutable=True)]},
    "group": {"args": (1,), "group": "g1", "group_index": 2, "root_id": "r", "parent_id": "p"},
    "stamped": {"args": (1,), "stamped_headers": ["who"], "stamps": {"who": "me"}},
    "retried": {"args": (1,), "retries": 3},
    "gzip": {"args": (1,), "compression": "gzip"},
    "pickle": {"args": (1, {2}), "serializer": "pickle"},
    "yaml": {"args": (1,), "serializer": "yaml"},
    "msgpack": {"args": (1, b"raw"), "serializer": "msgpack"},
}


@pytest.mark.parametrize("name", CALLS)
def test_a_message_is_byte_for_byte_celerys(name: str) -> None:
    theirs = MESSAGES[name]["payload"]
    call = {"args": (), "kwargs": {}, "queue": "celery", **CALLS[name]}
    envelope = json.loads(theirs)
    if name in ("extended", "long", "kwargs"):
        # Ours is Python's own repr: control characters are escaped, bytes are bytes, the cut is a cut.
        call["argsrepr"] = envelope["headers"]["argsrepr"]
        call["kwargsrepr"] = envelope["headers"]["kwargsrepr"]
    ours = pack(
        name="proj.add",
        id=name,
        reply_to=envelope["properties"]["reply_to"],
        origin=envelope["headers"]["origin"],
        **call,
    )
    assert steady(ours.decode()) == steady(theirs)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_header_of_celerys_message_is_read(name: str) -> None:
    payload = MESSAGES[name]["payload"].encode()
    envelope = json.loads(payload)
    headers, properties = envelope["headers"], envelope["properties"]
    message = unpack(payload)
    assert message.name == headers["task"]
    assert list(message.timelimit) == headers["timelimit"]
    for header in set(headers) - {"lang", "task", "timelimit", "tenant", "when", "who"}:
        assert getattr(message, header) == headers[header], header
    assert message.reply_to == properties["reply_to"]
    assert message.correlation_id == properties["correlation_id"]
    assert message.priority == properties["priority"]
    assert message.exchange == ""
    assert message.routing_key == properties["delivery_info"]["routing_key"]
    assert message.delivery_tag == properties["delivery_tag"]
    assert message.properties == properties
    if name != "headers":
        assert message.headers == headers


@pytest.mark.parametrize("name", CALLS)
def test_celerys_arguments_are_read(name: str) -> None:
    message = unpack(MESSAGES[name]["payload"].encode())
    args, kwargs, embed = message.arguments(ALL)
    call = CALLS[name]
    expected = listed(call.get("args", ()))
    assert args == expected
    assert [type(arg) for arg in args] == [type(arg) for arg in expected]
    assert kwargs == call.get("kwargs", {})
    assert embed == {
        "callbacks": listed(call.get("callbacks")),
        "errbacks": listed(call.get("errbacks")),
        "chain": None,
        "chord": None,
    }


def test_the_rest_of_celerys_chain_is_read_in_its_order() -> None:
    message = unpack(MESSAGES["chain"]["payload"].encode())
    args, _, embed = message.arguments(ALL)
    assert args == [1]
    assert [step["options"]["task_id"] for step in embed["chain"]] == ["c3", "c2"]


def test_custom_headers_are_read_with_their_types() -> None:
    message = unpack(MESSAGES["headers"]["payload"].encode())
    assert message.headers["tenant"] == "t1"
    assert message.headers["when"] == ETA
    assert message.shadow == "mine"


@pytest.mark.parametrize("name", ["pickle", "yaml", "msgpack"])
def test_other_content_is_refused_unless_it_is_accepted(name: str) -> None:
    message = unpack(MESSAGES[name]["payload"].encode())
    with pytest.raises(ContentDisallowed, match=f"add '{name}' to accept_content"):
        message.arguments(["json"])
    assert message.arguments([message.content_type])[0][0] == 1


@pytest.mark.parametrize("name", PROTOCOL_1)
def test_celerys_protocol_1_is_read(name: str) -> None:
    payload = PROTOCOL_1[name]["payload"].encode()
    message = unpack(payload)
    args, kwargs, embed = message.arguments(["json"])
    call = CALLS[name]
    assert (message.name, message.id, message.retries) == ("proj.add", name, 0)
    assert message.timelimit == (None, None)
    assert message.eta == (call["eta"].isoformat() if "eta" in call else None)
    assert message.argsrepr == str(args)
    assert args == listed(call["args"])
    assert kwargs == {}
    assert embed["callbacks"] == listed(call.get("callbacks"))
    assert embed["errbacks"] == listed(call.get("errbacks"))
    assert embed["chain"] is None


@pytest.mark.parametrize("samples", [RESULTS, RESULTS_EXTENDED], ids=["short", "extended"])
@pytest.mark.parametrize("name", [name for name, sample in RESULTS.items() if sample])
def test_a_result_is_byte_for_byte_celerys(name: str, samples: dict[str, str]) -> None:
    theirs = samples[name]
    meta = decode_result(theirs.encode(), ["json"])
    known = ("task_id", "status", "result", "traceback", "children", "date_done", "group_id", "parent_id")
    extra = {key: value for key, value in meta.items() if key not in known}
    ours = encode_result(**{key: meta[key] for key in known if key in meta}, extra=extra)
    assert ours.decode() == theirs


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("failure", ValueError("no", 7)),
        ("missing", KeyError("key")),
        ("retry", FileNotFoundError(2, "gone")),
        ("revoked", exceptions.TaskRevokedError("expired")),
        ("unregistered", exceptions.NotRegistered("proj.nowhere")),
    ],
)
def test_an_exception_is_written_and_read_as_by_celery(name: str, error: BaseException) -> None:
    theirs = json.loads(RESULTS[name])
    ours = json.loads(encode_result(task_id=name, status=theirs["status"], result=error))
    assert ours["result"] == theirs["result"]
    rebuilt = decode_exception(theirs["result"])
    assert type(rebuilt) is type(error)
    assert rebuilt.args == error.args


def test_an_exception_of_an_unknown_class_keeps_its_name_and_arguments() -> None:
    rebuilt = decode_exception(json.loads(RESULTS["curious"])["result"])
    assert (type(rebuilt).__name__, type(rebuilt).__module__) == ("Curious", "capture")
    assert rebuilt.args[:2] == (4, "there")


def steady(payload: str) -> str:
    """The payload without what differs from call to call."""
    payload = re.sub(r'"delivery_tag": "[0-9a-f-]{36}"', '"delivery_tag": "TAG"', payload)
    return re.sub(r'"expiration": "\d+"', '"expiration": "MS"', payload)


def listed(value: Any) -> Any:
    """As JSON leaves it: tuples are lists."""
    if isinstance(value, list | tuple):
        return [listed(item) for item in value]
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return value
