"""A result meta as bytes: what became of one task, as Celery's backends store it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError
from celeriac.states import EXCEPTION_STATES, READY_STATES
from celeriac.wire.codecs import (
    Codec,
    codec_named,
    cure,
    decode,
    encode,
    find_misfit,
    json_string,
    json_text,
    own_codecs,
    place,
)
from celeriac.wire.compression import compress, decompress, in_units
from celeriac.wire.raised import decode_exception, encode_exception, pickled
from celeriac.wire.saferepr import safe_repr

__all__ = [
    "decode_exception",
    "decode_part",
    "decode_result",
    "encode_exception",
    "encode_part",
    "encode_result",
    "encode_success",
    "is_end",
    "too_large",
]

#: Starts a payload that Celery's result_compression made smaller; the content type and a zero byte follow.
_COMPRESSED = b"\x00celery-compressed\x00"


def encode_result(
    *,
    task_id: str,
    status: str,
    result: Any,
    traceback: str | None = None,
    children: Sequence[Any] = (),
    date_done: str | None = None,
    group_id: str | None = None,
    parent_id: str | None = None,
    extra: Mapping[str, Any] | None = None,
    serializer: str = "json",
    compression: str | None = None,
) -> bytes:
    """The meta of one task; `result` may be an exception. EncodeError if it is a value that cannot travel.

    `extra` are the fields of result_extended; one that cannot travel is replaced by its repr.
    """
    codec = codec_named(serializer)
    if status in EXCEPTION_STATES and isinstance(result, BaseException):
        result = pickled(result) if codec.name == "pickle" else encode_exception(result, serializer)
    write = _json_meta if codec.name == "json" else _other_meta
    rest = (task_id, traceback, children, date_done, group_id, parent_id, extra)
    try:
        payload = write(codec, status, result, *rest)
    except MemoryError:
        raise
    except Exception as error:
        if status not in EXCEPTION_STATES or not isinstance(result, dict) or "exc_message" not in result:
            raise EncodeError(_complaint(task_id, result, codec, error)) from error
        # Each argument fitted alone, but not so deep in a meta. That a task failed must always be said.
        shown = [safe_repr(argument) for argument in result["exc_message"]]
        payload = write(codec, status, {**result, "exc_message": shown}, *rest)
    if compression:
        content_type, smaller = compress(payload, compression)
        return b"".join((_COMPRESSED, content_type.encode(), b"\x00", smaller))
    return payload


def encode_success(
    *, task_id: str, value: Any, date_done: str, group_id: str | None = None, parent_id: str | None = None
) -> bytes:
    """The bytes that `encode_result` would give, in half the time, for what nearly every task leaves: a
    value, as JSON, with nothing else to say."""
    try:
        # The commonest values need no encoder.
        text = "null" if value is None else str(value) if type(value) is int else json_text(value)
    except MemoryError:
        raise
    except Exception as error:
        raise EncodeError(_complaint(task_id, value, codec_named("json"), error)) from error
    more = f', "group_id": {json_string(group_id)}' if group_id else ""
    if parent_id:
        more += f', "parent_id": {json_string(parent_id)}'
    return (
        f'{{"status": "SUCCESS", "result": {text}, "traceback": null, "children": [], '
        f'"date_done": "{date_done}"{more}, "task_id": {json_string(task_id)}}}'
    ).encode("ascii")


def decode_result(payload: bytes, accept: Collection[str]) -> dict[str, Any]:
    """The meta as a dict; an exception in it is still plain data (`decode_exception`).

    A stored result does not say how it was written, so its first byte must. Serializers of the user's own are
    tried before: their text may begin like JSON.
    """
    if payload.startswith(_COMPRESSED):
        content_type, _, smaller = payload[len(_COMPRESSED) :].partition(b"\x00")
        payload = decompress(smaller, content_type.decode("ascii", "replace"))
    for own in own_codecs(accept):
        with suppress(DecodeError):
            meta = decode(payload, own.content_type, own.content_encoding, accept)
            if isinstance(meta, dict) and "status" in meta:
                return meta
    meta = decode(payload, _content_type_of(payload), "utf-8", accept)
    if not isinstance(meta, dict) or "status" not in meta:
        raise DecodeError("this is no result of a task: it has no status")
    return meta


def is_end(payload: bytes, accept: Collection[str]) -> bool:
    """Whether this meta says that its task has ended. What nobody here can read says nothing."""
    # Celery's JSON begins with the state.
    state, quote, _ = payload[12:32].partition(b'"') if payload[:12] == b'{"status": "' else (b"", b"", b"")
    if quote:
        return state.decode("ascii", "replace") in READY_STATES
    try:
        return decode_result(payload, accept)["status"] in READY_STATES
    except (DecodeError, ContentDisallowed):
        return False


def too_large(task_id: str, size: int, most: int) -> EncodeError:
    """Of a result, or what a task tells on the way, that has more bytes than anybody would look at."""
    return EncodeError(
        f"the result of task {task_id} has {in_units(size)}, more than task_max_bytes "
        f"({in_units(most)}); store it elsewhere and return where it is"
    )


def encode_part(value: Any, serializer: str) -> bytes:
    """One part of a task's stream; unlike a result it says how it is written."""
    content_type, _, data = encode(value, serializer)
    return b"".join((content_type.encode("ascii"), b"\x00", data))


def decode_part(payload: bytes, accept: Collection[str]) -> Any:
    """The value that a part holds."""
    content_type, _, data = payload.partition(b"\x00")
    return decode(data, content_type.decode("ascii", "replace"), "utf-8", accept)


# --- in detail --------------------------------------------------------------------------------------------


def _json_meta(
    codec: Codec,
    status: str,
    result: Any,
    task_id: str,
    traceback: str | None,
    children: Sequence[Any],
    date_done: str | None,
    group_id: str | None,
    parent_id: str | None,
    extra: Mapping[str, Any] | None,
) -> bytes:
    more = f', "group_id": {json_string(group_id)}' if group_id else ""
    if parent_id:
        more += f', "parent_id": {json_string(parent_id)}'
    if extra:
        more += "".join(f", {json_string(name)}: {_text_of_extra(value)}" for name, value in extra.items())
    return (
        f'{{"status": {json_string(status)}, "result": {json_text(result)}, '
        f'"traceback": {"null" if traceback is None else json_string(traceback)}, '
        f'"children": {json_text(children) if children else "[]"}, '
        f'"date_done": {"null" if date_done is None else json_string(date_done)}{more}, '
        f'"task_id": {json_string(task_id)}}}'
    ).encode("ascii")


def _text_of_extra(value: Any) -> str:
    try:
        return json_text(value)
    except Exception:
        return json_string(safe_repr(value))


def _other_meta(
    codec: Codec,
    status: str,
    result: Any,
    task_id: str,
    traceback: str | None,
    children: Sequence[Any],
    date_done: str | None,
    group_id: str | None,
    parent_id: str | None,
    extra: Mapping[str, Any] | None,
) -> bytes:
    meta = {
        "status": status,
        "result": result,
        "traceback": traceback,
        "children": list(children),
        "date_done": date_done,
    }
    if group_id:
        meta["group_id"] = group_id
    if parent_id:
        meta["parent_id"] = parent_id
    if extra:
        meta |= {name: _fit(value, codec) for name, value in extra.items()}
    meta["task_id"] = task_id
    return codec.dumps(meta)


def _fit(value: Any, codec: Codec) -> Any:
    try:
        codec.dumps(value)
    except Exception:
        return safe_repr(value)
    return value


def _complaint(task_id: str, result: Any, codec: Codec, error: Exception) -> str:
    where, why = find_misfit([result], codec, error, frame=1)
    value = f": the value{place(where[1:])}" if where[1:] else ""
    remedy = cure(codec).replace("pass", "return", 1).replace("serializer=", "result_serializer=")
    return f"the result of task {task_id}{value} {why}; {remedy}"


def _content_type_of(payload: bytes) -> str:
    first = payload[:1]
    if first == b"{":
        return "application/json"
    if first == b"\x80":
        return "application/x-python-serialize"
    if b"\x81" <= first <= b"\x8f" or first in (b"\xde", b"\xdf"):
        return "application/x-msgpack"
    # Celery's yaml starts with the name of a field; anything else is no result, and json says so best.
    return "application/x-yaml" if first.isalpha() else "application/json"
