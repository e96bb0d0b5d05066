"""Results there and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import pytest

from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError
from celeriac.wire.raised import encode_exception
from celeriac.wire.result import decode_exception, decode_result, encode_result, encode_success

ALL = ("json", "pickle", "yaml", "msgpack")
DONE = "2030-01-02T00:00:00+00:00"


@pytest.mark.parametrize("serializer", ALL)
def test_a_result_comes_back_from_every_serializer(serializer: str) -> None:
    payload = encode_result(
        task_id="i",
        status="SUCCESS",
        result={"a": [1, "ž"]},
        children=((("c", None), None),),
        date_done=DONE,
        group_id="g",
        parent_id="p",
        extra={"name": "proj.add", "args": [1], "retries": 0},
        serializer=serializer,
    )
    meta = decode_result(payload, [serializer])
    child = meta.pop("children")[0]
    assert (child[0][0], child[0][1], child[1]) == ("c", None, None)
    assert meta == {
        "status": "SUCCESS",
        "result": {"a": [1, "ž"]},
        "traceback": None,
        "date_done": DONE,
        "group_id": "g",
        "parent_id": "p",
        "name": "proj.add",
        "args": [1],
        "retries": 0,
        "task_id": "i",
    }
    assert list(meta)[-1] == "task_id" or serializer == "yaml"


@pytest.mark.parametrize("serializer", ALL)
def test_a_result_is_decoded_only_if_its_serializer_is_accepted(serializer: str) -> None:
    payload = encode_result(task_id="i", status="SUCCESS", result=1, serializer=serializer)
    with pytest.raises(ContentDisallowed, match=serializer):
        decode_result(payload, [other for other in ALL if other != serializer])


@pytest.mark.parametrize("compression", ["gzip", "bzip2"])
def test_a_compressed_result_carries_celerys_mark(compression: str) -> None:
    payload = encode_result(task_id="i", status="SUCCESS", result="x" * 1000, compression=compression)
    assert payload.startswith(b"\x00celery-compressed\x00application/x-")
    assert decode_result(payload, ["json"])["result"] == "x" * 1000


@pytest.mark.parametrize("serializer", ALL)
@pytest.mark.parametrize("status", ["FAILURE", "RETRY", "REVOKED"])
def test_an_exception_comes_back_from_every_serializer(serializer: str, status: str) -> None:
    payload = encode_result(task_id="i", status=status, result=KeyError("k"), serializer=serializer)
    error = decode_exception(decode_result(payload, [serializer])["result"])
    assert type(error) is KeyError
    assert error.args == ("k",)


def test_pickle_keeps_the_exception_itself_when_it_can() -> None:
    payload = encode_result(task_id="i", status="FAILURE", result=ValueError({1}), serializer="pickle")
    assert decode_result(payload, ["pickle"])["result"].args == ({1},)

    class Local(Exception):
        pass

    payload = encode_result(task_id="i", status="FAILURE", result=Local(1), serializer="pickle")
    assert decode_result(payload, ["pickle"])["result"]["exc_message"] == [1]


def test_a_traceback_and_a_state_of_the_users_own_come_back_whatever_they_hold() -> None:
    payload = encode_result(task_id="i", status='HALF "way"', result={"done": 5}, traceback="\ud800\n")
    meta = decode_result(payload, ["json"])
    assert (meta["status"], meta["result"], meta["traceback"]) == ('HALF "way"', {"done": 5}, "\ud800\n")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            object(),
            "the result of task i is an object, which json cannot carry; return plain data or set result_",
        ),
        ({"a": [1j]}, "the result of task i: the value at ['a'][0] is a complex, which json cannot carry"),
    ],
)
def test_a_result_that_cannot_travel_is_an_error_that_names_it(value: Any, words: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode_result(task_id="i", status="SUCCESS", result=value)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("serializer", ["json", "yaml"])
def test_an_extra_that_cannot_travel_is_replaced_by_its_repr(serializer: str) -> None:
    extra = {"args": [object()], "worker": "w1@h"}
    payload = encode_result(task_id="i", status="SUCCESS", result=1, extra=extra, serializer=serializer)
    meta = decode_result(payload, [serializer])
    assert meta["args"].startswith("[<object object at")
    assert meta["worker"] == "w1@h"


def nested(depth: int) -> list[Any]:
    return reduce(lambda inner, _: [inner], range(depth), [])


def test_a_failure_is_told_even_if_its_arguments_fit_no_more_in_a_meta() -> None:
    bearable, too_deep = 1, 1 << 17
    while too_deep - bearable > 1:
        depth = (bearable + too_deep) // 2
        try:
            json.dumps(nested(depth))
            bearable = depth
        except RecursionError:
            too_deep = depth
    deep = nested(too_deep)
    for value in (deep, deep[0], deep[0][0], deep[0][0][0]):
        payload = encode_result(task_id="i", status="FAILURE", result=ValueError(value))
        plain = encode_result(task_id="i", status="FAILURE", result=encode_exception(ValueError(value)))
        assert b'"exc_type": "ValueError"' in payload
        assert b'"exc_type": "ValueError"' in plain


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{", b"[]", b"{}", b"x", b"\x80\x04.", b"\x81", b"\xff", b"[" * 100_000),
        b"\x00celery-compressed\x00rar\x00x",
        b"\x00celery-compressed\x00",
    ],
)
def test_bytes_that_are_no_result_are_a_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_result(payload, ALL)


def test_a_result_keeps_the_extended_types() -> None:
    value = {"at": datetime(2030, 1, 2, tzinfo=UTC), "raw": b"\xff", "set": {1}}
    payload = encode_result(task_id="i", status="SUCCESS", result=value)
    assert decode_result(payload, ["json"])["result"] == value


@pytest.mark.parametrize("value", [None, 1, 'ä"\\', {"a": [1.5, datetime(2026, 1, 1, tzinfo=UTC)]}], ids=repr)
@pytest.mark.parametrize(
    "came_from", [{}, {"group_id": "g\u00fc"}, {"group_id": "g", "parent_id": "p"}], ids=repr
)
def test_a_plain_success_has_the_bytes_of_any_result(value: Any, came_from: dict[str, str]) -> None:
    date = "2026-11-23T02:00:00.123456+00:00"
    assert encode_success(task_id="id", value=value, date_done=date, **came_from) == encode_result(
        task_id="id", status="SUCCESS", result=value, date_done=date, **came_from
    )
    with pytest.raises(EncodeError, match="the result of task id is an object"):
        encode_success(task_id="id", value=object(), date_done=date)
