"""A call packed and unpacked, and bytes that are no call."""

from __future__ import annotations

import base64
import contextlib
import json
import multiprocessing
import os
import socket
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError
from celeriac.wire.ids import default_origin, new_id
from celeriac.wire.packing import pack
from celeriac.wire.task import unpack


def packed(*args: Any, **options: Any) -> bytes:
    return pack(**{"name": "proj.save", "id": "i", "args": args, "kwargs": {}, "queue": "celery", **options})


def changed(payload: bytes, **changes: Any) -> bytes:
    envelope = json.loads(payload)
    for key, value in changes.items():
        section = key.replace("_", "-") if key.startswith("content") else key
        if isinstance(value, dict) and section in envelope:
            envelope[section].update(value)
        else:
            envelope[section] = value
    return json.dumps(envelope).encode()


def with_body(body: Any, **changes: Any) -> bytes:
    return changed(packed(), body=base64.b64encode(json.dumps(body).encode()).decode(), **changes)


def test_all_fields_come_back() -> None:
    eta = datetime(2030, 1, 2, tzinfo=UTC)
    message = unpack(
        packed(
            1,
            kwargs={"a": 2},
            queue="q",
            exchange="x",
            priority=6,
            eta=eta,
            expires=eta + timedelta(1),
            retries=2,
            timelimit=(10, 5.5),
            root_id="r",
            parent_id="p",
            shadow="s",
            group="g",
            group_index=3,
            ignore_result=True,
            replaced_task_nesting=1,
            stamped_headers=["who"],
            stamps={"who": {"me"}},
            reply_to="there",
            origin="gen1@here",
            headers={"tenant": "t", "at": eta},
            properties={"app_id": "me"},
        )
    )
    assert (message.name, message.id, message.retries, message.priority) == ("proj.save", "i", 2, 6)
    assert (message.eta, message.expires) == ("2030-01-02T00:00:00+00:00", "2030-01-03T00:00:00+00:00")
    assert (message.group, message.group_index, message.shadow) == ("g", 3, "s")
    assert (message.root_id, message.parent_id, message.timelimit) == ("r", "p", (10, 5.5))
    assert (message.argsrepr, message.kwargsrepr) == ("(1,)", "{'a': 2}")
    assert (message.exchange, message.routing_key, message.redelivered) == ("x", "q", False)
    assert (message.origin, message.reply_to, message.correlation_id) == ("gen1@here", "there", "i")
    assert (message.ignore_result, message.replaced_task_nesting) == (True, 1)
    assert (message.stamped_headers, message.stamps) == (["who"], {"who": {"me"}})
    assert message.headers["tenant"] == "t"
    assert message.headers["at"] == eta
    assert message.properties["app_id"] == "me"
    assert message.arguments(["json"])[:2] == ([1], {"a": 2})


@given(st.text(min_size=1), st.text(), st.lists(st.text() | st.integers()), st.text())
def test_any_text_survives_in_names_queues_arguments_and_headers(
    name: str, queue: str, args: list[Any], header: str
) -> None:
    payload = packed(
        name=name, id=name, args=args, queue=queue, headers={"x-" + header: header}, shadow=header
    )
    message = unpack(payload)
    assert (message.name, message.id, message.routing_key, message.shadow) == (name, name, queue, header)
    assert message.headers["x-" + header] == header
    assert message.arguments(["json"])[0] == args


def test_lone_surrogates_survive_everywhere() -> None:
    message = unpack(packed("\ud800", name="n\ud800", headers={"h": "\udfff"}))
    assert message.name == "n\ud800"
    assert message.headers["h"] == "\udfff"
    assert message.arguments(["json"])[0] == ["\ud800"]


def test_a_body_of_64_mib_passes() -> None:
    big = "x" * (64 << 20)
    message = unpack(packed(big))
    assert len(message.argsrepr or "") == 1024
    assert message.arguments(["json"])[0] == [big]


def test_the_users_headers_and_properties_win_over_the_protocols() -> None:
    message = unpack(packed(1, headers={"shadow": "mine", "root_id": "r"}, properties={"priority": 3}))
    assert (message.shadow, message.root_id, message.priority) == ("mine", "r", 3)
    assert message.arguments(["json"])[0] == [1]


def test_a_header_cannot_make_the_body_unreadable() -> None:
    message = unpack(packed(1, headers={"compression": "lzma"}, properties={"body_encoding": "none"}))
    assert message.arguments(["json"])[0] == [1]


def test_a_retry_of_a_compressed_call_may_pass_all_headers_on() -> None:
    first = unpack(packed(1, compression="gzip"))
    again = unpack(packed(1, headers=first.headers))
    assert again.arguments(["json"])[0] == [1]


def test_a_long_or_hostile_argument_is_shown_cut_and_safely() -> None:
    class Hostile(str):
        def __repr__(self) -> str:
            raise RuntimeError

    message = unpack(packed(Hostile("x"), "y" * 5000, kwargs={"k": [[[[1]]]]}))
    assert "its repr() raises" in (message.argsrepr or "")
    assert len(message.argsrepr or "") == 1024
    assert message.kwargsrepr == "{'k': [[[...]]]}"


def test_times_may_be_given_as_text_and_naive_ones_are_utc() -> None:
    message = unpack(packed(eta="2030-01-02T00:00:00+02:00", expires=datetime(2030, 1, 2)))
    assert message.eta == "2030-01-02T00:00:00+02:00"
    assert message.expires == "2030-01-02T00:00:00+00:00"


def test_what_expired_long_ago_has_an_expiration_of_zero() -> None:
    assert unpack(packed(expires=datetime(2020, 1, 1, tzinfo=UTC))).properties["expiration"] == "0"


def test_ids_are_random_uuids_of_version_4() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(UUID(one).version == 4 and str(UUID(one)) == one for one in ids)


def test_a_forked_process_has_an_origin_of_its_own() -> None:
    assert default_origin() == f"gen{os.getpid()}@{socket.gethostname()}"
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=lambda: writer.send(default_origin()))
    child.start()
    assert reader.recv() == f"gen{child.pid}@{socket.gethostname()}"
    child.join()


# --- arguments that cannot travel -------------------------------------------------------------------------


def test_an_argument_that_cannot_travel_is_named() -> None:
    with socket.socket() as conn, pytest.raises(EncodeError) as caught:
        packed(kwargs={"conn": conn})
    assert str(caught.value) == (
        "argument 'conn' of proj.save is a socket.socket, which json cannot carry; "
        "pass plain data or set serializer='pickle'"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"args": (1, object())}, "argument 2 of proj.save is an object, which json cannot carry"),
        (
            {"args": ([{"a": object()}],)},
            "argument 1 of proj.save: the value at [0]['a'] is an object, which",
        ),
        ({"kwargs": {"k": {(1,): 2}}}, "argument 'k' of proj.save has a key that is a tuple, which json"),
        (
            {"args": ({"x": 1j},), "serializer": "yaml"},
            "argument 1 of proj.save: the value at ['x'] is a complex",
        ),
        (
            {"args": (2**70,), "serializer": "msgpack"},
            "argument 1 of proj.save is an int of 71 bits, which msgpack",
        ),
        ({"callbacks": [object()]}, "what follows proj.save (its callbacks): the value at [0] is an object"),
        ({"headers": {"h": object()}}, "the header 'h' of proj.save is an object, which json cannot carry"),
        ({"properties": {"p": [object()]}}, "the property 'p' of proj.save: the value at [0] is an object"),
        ({"stamps": {"s": object()}}, "the stamp 's' of proj.save is an object"),
    ],
)
def test_the_part_of_a_call_that_cannot_travel_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(EncodeError) as caught:
        packed(**options)
    assert str(caught.value).startswith(words)


def test_an_argument_that_contains_itself_is_named() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(EncodeError, match=r"argument 'c' of proj.save is nested too deeply for json"):
        packed(1, kwargs={"c": circle})


# --- bytes that are no call -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "not even JSON"),
        (b"\xff\x00", "not even JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"headers":' * 100_000, "nested too deeply"),
        (b"null", "no body"),
        (b"[]", "no body"),
        (b'"text"', "no body"),
        (b"{}", "no body"),
        (b'{"task": "proj.save", "id": "i"}', "no body"),
        (b'{"body": 5}', "no body"),
        (b'{"body": "e30=", "properties": {"body_encoding": "base64"}}', "neither its headers nor its body"),
        (changed(packed(), body="###"), "this is no json content"),
        (changed(packed(), headers={"task": None}), "neither its headers nor its body"),
        (changed(packed(), headers={"id": None}), "the name or the id"),
        (changed(packed(), headers={"task": ""}), "the name or the id"),
        (changed(packed(), headers={"retries": "many"}), "retries"),
        (changed(packed(), headers={"timelimit": [1, 2, 3]}), "timelimit"),
        (changed(packed(), headers={"task": {}}), "task"),
        (changed(packed(), headers={"task": "x", "stamps": 3}), "stamps"),
    ],
)
def test_bytes_that_are_no_task_message_are_a_decode_error(payload: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        unpack(payload).arguments(["json"])


@pytest.mark.parametrize(
    "body",
    [
        None,
        1,
        "x",
        [],
        [1],
        [[], {}],
        [[], {}, {}, {}],
        [5, {}, {}],
        [[], 5, {}],
        [[], {}, 5],
        [{}, {}, {}],
        {"x": 1},
    ],
)
def test_a_body_of_another_shape_is_a_decode_error(body: Any) -> None:
    with pytest.raises(DecodeError):
        unpack(with_body(body)).arguments(["json"])


def test_a_body_nested_too_deeply_is_a_decode_error() -> None:
    body = base64.b64encode(b"[" * 100_000 + b"]" * 100_000).decode()
    with pytest.raises(DecodeError, match="nested too deeply"):
        unpack(changed(packed(), body=body)).arguments(["json"])


def test_an_unknown_compression_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="rar"):
        unpack(changed(packed(), headers={"compression": "rar"})).arguments(["json"])


@given(st.binary())
def test_any_bytes_are_unpacked_or_are_a_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack(payload)


# --- messages of other senders ----------------------------------------------------------------------------


def test_missing_parts_have_their_defaults() -> None:
    envelope = {
        "body": base64.b64encode(b"[[1], null, null]").decode(),
        "headers": {"task": "t", "id": "i"},
        "properties": {"body_encoding": "base64"},
    }
    message = unpack(json.dumps(envelope).encode())
    assert (message.retries, message.timelimit, message.priority) == (0, (None, None), 0)
    assert (message.ignore_result, message.stamps, message.routing_key) == (False, None, "")
    assert message.arguments(["json"]) == ([1], {}, {})


def test_a_body_without_base64_is_read() -> None:
    payload = changed(packed(), body="[[1], {}, {}]", properties={"body_encoding": None})
    assert unpack(payload).arguments(["json"])[0] == [1]


def test_numbers_as_text_and_numeric_tags_are_read() -> None:
    payload = changed(packed(), headers={"retries": "3"}, properties={"delivery_tag": 7})
    message = unpack(payload)
    assert (message.retries, message.delivery_tag) == (3, "7")


def test_a_header_that_is_not_a_number_for_json_is_read() -> None:
    payload = changed(packed(1), headers={"x": float("nan")})
    message = unpack(payload)
    assert message.headers["x"] != message.headers["x"]
    assert message.arguments(["json"])[0] == [1]


def test_a_header_of_a_type_that_only_its_sender_knows_stays_as_written() -> None:
    written = {"__type__": "theirs", "__value__": 1}
    message = unpack(changed(packed(), headers={"x": written}))
    assert message.headers["x"] == written


def test_the_redelivered_mark_is_read() -> None:
    info = {"exchange": "", "routing_key": "celery", "redelivered": True}
    assert unpack(changed(packed(), properties={"delivery_info": info})).redelivered


PROTOCOL_1 = {"task": "proj.add", "id": "i", "args": [1], "kwargs": {"k": 2}, "taskset": "g", "retries": 4}


def test_protocol_1_is_read() -> None:
    message = unpack(with_body({**PROTOCOL_1, "timelimit": [3, 2]}, headers={"task": None, "id": None}))
    assert (message.name, message.id, message.group, message.retries) == ("proj.add", "i", "g", 4)
    assert (message.timelimit, message.argsrepr, message.kwargsrepr) == ((3, 2), "[1]", "{'k': 2}")
    assert message.arguments([])[:2] == ([1], {"k": 2})


def test_protocol_1_without_utc_means_local_time() -> None:
    body = {**PROTOCOL_1, "utc": False, "eta": "2030-01-02T03:04:05"}
    message = unpack(with_body(body, headers={"task": None, "id": None}))
    assert message.eta == datetime(2030, 1, 2, 3, 4, 5).astimezone().isoformat()


def test_protocol_1_in_pickle_is_refused_unless_it_is_accepted() -> None:
    payload = changed(packed(serializer="pickle"), headers={"task": None, "id": None})
    with pytest.raises(ContentDisallowed):
        unpack(payload)


def test_a_body_of_protocol_1_under_headers_of_protocol_2_is_read() -> None:
    message = unpack(with_body({"args": [1], "kwargs": {}, "callbacks": [{"task": "t"}]}))
    assert message.name == "proj.save"
    args, kwargs, embed = message.arguments(["json"])
    assert (args, kwargs, embed["callbacks"]) == ([1], {}, [{"task": "t"}])


def test_the_recursion_limit_of_a_busy_stack_is_a_decode_error_at_most() -> None:
    # Up to Python 3.11 the decoder shares the limit with those who called it; later it has one of its own.
    body = base64.b64encode(b"[[" + b"[" * 150 + b"]" * 150 + b"], {}, {}]").decode()
    payload = changed(packed(), body=body)

    def descend(levels: int) -> Any:
        return descend(levels - 1) if levels else unpack(payload).arguments(["json"])

    frames = len(__import__("inspect").stack())
    shared = sys.version_info < (3, 12)
    with pytest.raises(DecodeError) if shared else contextlib.nullcontext():
        descend(sys.getrecursionlimit() - frames - 120)
