"""A call as Celery's envelope of protocol 2, byte for byte; `unpack` of task.py reads it."""

from __future__ import annotations

import binascii
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from celeriac import clock
from celeriac.exceptions import EncodeError
from celeriac.wire.body import encode_body
from celeriac.wire.codecs import codec_named, find_misfit, json_string, json_text, loads_plain_json, place
from celeriac.wire.compression import MOST_UNFOLDED, compress, decompress, in_units
from celeriac.wire.envelope import HEADER_NAMES, PROPERTY_NAMES, Limit
from celeriac.wire.ids import default_origin, new_tag
from celeriac.wire.saferepr import LIMIT, SCALARS, safe_repr

#: Bytes of a body above which it is compressed when it carries what comes after the task: in a workflow every
#: message does, and most of that is repetition.
LONG_WORKFLOW = 4096
#: Of zlib for these: what repeats is found on the first level too, in a third of the time.
LEVEL = 1
#: How the body is written is not the user's to say, for it would only make it unreadable.
_OF_THE_BODY = frozenset({"compression", "body_encoding"})


def too_large(name: str, size: int, most: float, what: str = "task_max_bytes") -> EncodeError:
    """More than any message may have, seen before it is copied into an envelope."""
    return EncodeError(
        f"the arguments of {name} have {in_units(size)}, more than {what} ({in_units(int(most))}); "
        "store the data elsewhere and send where it is"
    )


def pack(
    *,
    name: str,
    id: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    queue: str,
    serializer: str = "json",
    exchange: str = "",
    routing_key: str | None = None,
    priority: int = 0,
    eta: datetime | str | None = None,
    expires: datetime | str | None = None,
    retries: int = 0,
    timelimit: Sequence[Limit] = (None, None),
    root_id: str | None = None,
    parent_id: str | None = None,
    shadow: str | None = None,
    group: str | None = None,
    group_index: int | None = None,
    argsrepr: str | None = None,
    kwargsrepr: str | None = None,
    ignore_result: bool | None = False,
    replaced_task_nesting: int = 0,
    stamped_headers: Sequence[str] | None = None,
    stamps: Mapping[str, Any] | None = None,
    reply_to: str = "",
    origin: str | None = None,
    callbacks: Any = None,
    errbacks: Any = None,
    chain: Any = None,
    chord: Any = None,
    headers: Mapping[str, Any] | None = None,
    compression: str | None = None,
    properties: Mapping[str, Any] | None = None,
    most: float = math.inf,
) -> bytes:
    """The envelope of one call, byte for byte as Celery writes it. EncodeError if its body has more than
    `most` bytes and nothing makes it smaller.

    `headers` and `properties` are the user's own; they win over the protocol's where they have its names.
    EncodeError names the argument that cannot travel.
    """
    codec = codec_named(serializer)
    args = args if isinstance(args, list | tuple) else list(args)
    kwargs = kwargs if isinstance(kwargs, dict) else dict(kwargs)
    body = encode_body(codec, name, args, kwargs, callbacks, errbacks, chain, chord)
    if len(body) > most and not (compression or callbacks or chain or chord):
        raise too_large(name, len(body), most)
    # In a small body no value can be long, so that Python's own repr will do for plain ones.
    small = len(body) <= LIMIT
    if argsrepr is None:
        argsrepr = repr(args) if small and SCALARS.issuperset(map(type, args)) else safe_repr(args)
    if kwargsrepr is None:
        plain = small and SCALARS.issuperset(map(type, kwargs.values()))
        kwargsrepr = repr(kwargs) if plain else safe_repr(kwargs)
    more_headers = _members("header", name, headers, HEADER_NAMES) if headers else ""
    more_properties = _members("property", name, properties, PROPERTY_NAMES) if properties else ""
    level = -1
    if not small and not compression and len(body) > LONG_WORKFLOW and (chain or chord or callbacks):
        compression, level = "zlib", LEVEL
    if compression:
        if len(body) > MOST_UNFOLDED:
            raise too_large(name, len(body), MOST_UNFOLDED, "compressed content may unfold to")
        compressed_as, body = compress(body, compression, level)
        more_headers += f', "compression": {json_string(compressed_as)}'
    json_id = json_string(id)
    rest = (
        f'", "content-encoding": "{codec.content_encoding}", "content-type": "{codec.content_type}", '
        f'"headers": {{"lang": "py", "task": {json_string(name)}, "id": {json_id}, '
        f'"shadow": {_text(shadow)}, "eta": {_moment(eta)}, "expires": {_moment(expires)}, '
        f'"group": {_text(group)}, "group_index": {_value(group_index)}, "retries": {retries:d}, '
        f'"timelimit": {_limits(timelimit)}, '
        f'"root_id": {json_string(root_id) if root_id else json_id}, "parent_id": {_text(parent_id)}, '
        f'"argsrepr": {json_string(argsrepr)}, "kwargsrepr": {json_string(kwargsrepr)}, '
        f'"origin": {json_string(origin or default_origin())}, '
        f'"ignore_result": {"true" if ignore_result else "null" if ignore_result is None else "false"}, '
        f'"replaced_task_nesting": {replaced_task_nesting:d}, "stamped_headers": {_value(stamped_headers)}, '
        f'"stamps": {{{_members("stamp", name, stamps)[2:] if stamps else ""}}}{more_headers}}}, '
        f'"properties": {{"correlation_id": {json_id}, "reply_to": {json_string(reply_to)}{more_properties}, '
        f'"delivery_mode": 2, {_expiration(expires) if expires else ""}'
        f'"delivery_info": {{"exchange": {json_string(exchange)}, '
        f'"routing_key": {json_string(queue if routing_key is None else routing_key)}}}, '
        f'"priority": {priority:d}, "body_encoding": "base64", "delivery_tag": "{new_tag()}"}}}}'
    )
    payload = b"".join((b'{"body": "', binascii.b2a_base64(body, newline=False), rest.encode("ascii")))
    if (headers and not HEADER_NAMES.isdisjoint(headers)) or (
        properties and not PROPERTY_NAMES.isdisjoint(properties)
    ):
        return _overruled(payload, headers or {}, properties or {})
    return payload


def with_open_body(payload: bytes, holes: Mapping[str, bytes]) -> bytes:
    """The envelope with its JSON body as plain text, and in it these texts replaced: there a store that knows
    no base64 can put in what is known only later."""
    envelope = loads_plain_json(payload)
    headers, properties = envelope["headers"], envelope["properties"]
    body = binascii.a2b_base64(envelope["body"])
    compression = headers.pop("compression", None)
    if compression:
        body = decompress(body, compression)
    del properties["body_encoding"]
    for hole in holes:
        for name in ("argsrepr", "kwargsrepr"):
            headers[name] = (headers.get(name) or "").replace(hole.strip('"'), "...")
    text = json_text({**envelope, "body": body.decode()}).encode("ascii")
    for hole, byte in holes.items():
        text = text.replace(json_string(hole)[1:-1].encode("ascii"), byte)
    return text


def _members(what: str, name: str, members: Mapping[str, Any], known: frozenset[str] = frozenset()) -> str:
    """`, "key": value` for all members whose names the protocol does not use itself."""
    try:
        return "".join(f", {json_string(k)}: {json_text(v)}" for k, v in members.items() if k not in known)
    except Exception as error:
        codec = codec_named("json")
        (which, *inside), why = find_misfit(dict(members), codec, error, frame=1)
        where = f": the value{place(tuple(inside))}" if inside else ""
        raise EncodeError(f"the {what} {which!r} of {name}{where} {why}; a {what} is always json") from error


def _text(value: str | None) -> str:
    return "null" if value is None else json_string(value)


def _value(value: Any) -> str:
    return "null" if value is None else json_text(value)


def _moment(value: datetime | str | None) -> str:
    if value is None:
        return "null"
    return json_string(value if isinstance(value, str) else clock.to_iso(value))


def _limits(limits: Sequence[Limit]) -> str:
    return "[null, null]" if limits == (None, None) else json_text(limits)


def _expiration(expires: datetime | str) -> str:
    # Milliseconds from now, as AMQP wants it; elsewhere it is there because Celery's messages have it.
    try:
        seconds = (clock.to_datetime(expires) - clock.utc_now()).total_seconds()
    except ValueError:
        return ""
    return f'"expiration": "{max(0, int(seconds * 1000))}", '


def _overruled(payload: bytes, headers: Mapping[str, Any], properties: Mapping[str, Any]) -> bytes:
    """The envelope with the protocol's own headers and properties as the user wants them; rare and slow."""
    envelope = loads_plain_json(payload)
    for section, known, wanted in (
        (envelope["headers"], HEADER_NAMES, headers),
        (envelope["properties"], PROPERTY_NAMES, properties),
    ):
        section.update({key: wanted[key] for key in wanted if key in known and key not in _OF_THE_BODY})
    return json_text(envelope).encode("ascii")
