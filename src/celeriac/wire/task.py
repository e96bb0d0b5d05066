"""A task message as bytes: `pack` writes Celery's envelope with protocol 2, `unpack` reads 1 and 2."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec

from celeriac import clock
from celeriac.exceptions import DecodeError, EncodeError
from celeriac.wire.codecs import (
    Codec,
    codec_named,
    compress,
    cure,
    decode,
    decompress,
    find_misfit,
    is_own_json,
    json_string,
    json_text,
    loads_json,
    loads_plain_json,
    place,
)
from celeriac.wire.ids import default_origin, new_tag
from celeriac.wire.saferepr import LIMIT, SCALARS, safe_repr

Limit = int | float | None
Embed = Mapping[str, Any]
Arguments = tuple[list[Any], dict[str, Any], "Embed | ChordAlone | ChainAlone"]

#: What most messages embed: no callbacks, no errbacks, no chain, no chord.
NOTHING_FOLLOWS: Embed = MappingProxyType(dict.fromkeys(("callbacks", "errbacks", "chain", "chord")))

#: What a reader accepts that does not say.
JSON_ONLY = ("json",)


#: Bytes of a body above which it is compressed when it carries what comes after the task: in a workflow every
#: message does, and most of that is repetition.
LONG_WORKFLOW = 4096
#: Of zlib for these: what repeats is found on the first level too, in a third of the time.
LEVEL = 1
#: So many bytes of a message that cannot be read are searched at its end, and then at its beginning.
FAR = 1 << 16
_ID, _NAME = (re.compile(rb'"%s": ?("(?:[^"\\]|\\.)+")' % key) for key in (b"id", b"task"))
_GROUP = re.compile(rb'"group": ?("(?:[^"\\]|\\.)+")(?:, ?"group_index": ?(\d+))?')


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
) -> bytes:
    """The envelope of one call, byte for byte as Celery writes it.

    `headers` and `properties` are the user's own; they win over the protocol's where they have its names.
    EncodeError names the argument that cannot travel.
    """
    codec = codec_named(serializer)
    args = args if isinstance(args, list | tuple) else list(args)
    kwargs = kwargs if isinstance(kwargs, dict) else dict(kwargs)
    body = _encode_body(codec, name, args, kwargs, callbacks, errbacks, chain, chord)
    # In a small body no value can be long, so that Python's own repr will do for plain ones.
    small = len(body) <= LIMIT
    if argsrepr is None:
        argsrepr = repr(args) if small and SCALARS.issuperset(map(type, args)) else safe_repr(args)
    if kwargsrepr is None:
        plain = small and SCALARS.issuperset(map(type, kwargs.values()))
        kwargsrepr = repr(kwargs) if plain else safe_repr(kwargs)
    more_headers = _members("header", name, headers, _HEADER_NAMES) if headers else ""
    more_properties = _members("property", name, properties, _PROPERTY_NAMES) if properties else ""
    level = -1
    if not small and not compression and len(body) > LONG_WORKFLOW and (chain or chord or callbacks):
        compression, level = "zlib", LEVEL
    if compression:
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
    if (headers and not _HEADER_NAMES.isdisjoint(headers)) or (
        properties and not _PROPERTY_NAMES.isdisjoint(properties)
    ):
        return _overruled(payload, headers or {}, properties or {})
    return payload


def unpack(payload: bytes, accept: Collection[str] = JSON_ONLY) -> TaskMessage:
    """The task message in these bytes, its arguments still encoded. DecodeError if they are none.

    `accept` matters to protocol 1 alone: there even the name of the task lies in the body.
    """
    try:
        envelope = _decode_envelope(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        envelope = _read_slowly(payload)
    else:
        if envelope.properties.body_encoding != "base64":
            envelope = _read_slowly(payload)
    if envelope.headers.task is None:
        return _of_protocol_1(payload, envelope, accept)
    return _message(payload, envelope, envelope.headers)


def unpack_identity(payload: bytes) -> TaskMessage | None:
    """Of a message that `unpack` refuses, or that is too large for it: name, id and group, if it shows them.
    Its sender, and perhaps a chord, waits for an answer. Nothing is decoded but these."""
    # The headers stand behind the body, which holds no quote; in other envelopes they may be the first.
    for part in (payload[-FAR:], payload[:FAR]):
        id, name, group = (pattern.search(part) for pattern in (_ID, _NAME, _GROUP))
        if id and name:
            try:
                known = _Headers(json.loads(name[1]), json.loads(id[1]))
                if group:
                    known.group = json.loads(group[1])
                    known.group_index = int(group[2]) if group[2] else None
                return _message(payload, _Envelope(b""), known)
            except (ValueError, DecodeError):
                return None
    return None


class TaskMessage(msgspec.Struct):
    """One call as it arrived. `arguments` decodes what to call it with, `headers` what the sender added."""

    name: str
    id: str
    body: bytes
    content_type: str
    content_encoding: str
    compression: str | None
    retries: int
    #: ISO 8601, as sent.
    eta: str | None
    expires: str | None
    group: str | None
    group_index: int | None
    shadow: str | None
    #: (hard, soft) seconds.
    timelimit: tuple[Limit, Limit]
    root_id: str | None
    parent_id: str | None
    argsrepr: str | None
    kwargsrepr: str | None
    origin: str | None
    ignore_result: bool
    replaced_task_nesting: int
    stamped_headers: list[str] | None
    stamps: dict[str, Any] | None
    reply_to: str
    correlation_id: str | None
    priority: int
    exchange: str
    routing_key: str
    redelivered: bool
    delivery_tag: str | None
    _payload: bytes
    _arguments: Arguments | None = None
    _headers: dict[str, Any] | None = None

    def arguments(self, accept: Collection[str]) -> Arguments:
        """(args, kwargs, embed): what to call with, and what follows (callbacks, errbacks, chain, chord)."""
        if self._arguments is None:
            self._arguments = _decode_arguments(self, accept)
        return self._arguments

    @property
    def headers(self) -> dict[str, Any]:
        """All headers, with those that the sender added."""
        if self._headers is None:
            self._headers = _section(self._payload, "headers")
        return self._headers

    @property
    def lang(self) -> str | None:
        """What the sender is written in."""
        return self.headers.get("lang")

    @property
    def properties(self) -> dict[str, Any]:
        """correlation_id, reply_to, delivery_info, priority and what else the sender gave."""
        return _section(self._payload, "properties")


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


# --- writing ----------------------------------------------------------------------------------------------


def sent_at(message: TaskMessage) -> float | None:
    """When one of our producers packed it, epoch seconds; a stock producer does not say."""
    tag = message.delivery_tag or ""
    if len(tag) != 36 or tag[14] != "7":
        return None
    try:
        return int(tag[:8] + tag[9:13], 16) / 1000
    except ValueError:
        return None


def age_of(payload: bytes, now: float) -> float:
    """For how many seconds this message has been waiting for its turn: since its eta, or since it was sent. 0
    where its sender does not say."""
    try:
        message = unpack(payload)
        sent = sent_at(message)
        eta = datetime.fromisoformat(message.eta).timestamp() if message.eta else 0.0
    except (DecodeError, ValueError, TypeError):
        return 0.0
    return 0.0 if sent is None else max(0.0, now - max(sent, eta))


NOTHING_FOLLOWS_JSON = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'


def _encode_body(
    codec: Codec,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    callbacks: Any,
    errbacks: Any,
    chain: Any,
    chord: Any,
) -> bytes:
    try:
        if codec.name == "json" and not (callbacks or errbacks or chain or chord):
            return f"{json_text((args, kwargs))[:-1]}, {NOTHING_FOLLOWS_JSON}]".encode("ascii")
        embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}
        return codec.dumps((args, kwargs, embed))
    except MemoryError:
        raise
    except Exception as error:
        follows = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}
        raise EncodeError(_complaint(codec, name, (args, kwargs, follows), error)) from error


def there_and_back(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], serializer: str
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as a worker would get them."""
    codec = codec_named(serializer)
    body = _encode_body(codec, name, args, kwargs, None, None, None, None)
    arrived: tuple[list[Any], dict[str, Any], Any] = codec.loads(body)
    return arrived[0], arrived[1]


def _complaint(codec: Codec, name: str, body: tuple[Any, ...], error: Exception) -> str:
    """Which argument of the call cannot travel, and what to do."""
    (part, which, *inside), why = _padded(*find_misfit(body, codec, error, frame=2))
    if which is None:
        who = f"the call of {name}"
    elif part == 2:
        who = f"what follows {name} (its {which})"
    else:
        who = f"argument {which + 1 if part == 0 else repr(which)} of {name}"
    where = f": the value{place(tuple(inside))}" if inside else ""
    return f"{who}{where} {why}; {cure(codec)}"


def _padded(path: tuple[Any, ...], why: str) -> tuple[tuple[Any, ...], str]:
    return (*path, *(None,) * (2 - len(path))), why


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
        (envelope["headers"], _HEADER_NAMES, headers),
        (envelope["properties"], _PROPERTY_NAMES, properties),
    ):
        # How the body is written is not the user's to say, for it would only make it unreadable.
        section.update({key: wanted[key] for key in wanted if key in known and key not in _OF_THE_BODY})
    return json_text(envelope).encode("ascii")


_OF_THE_BODY = frozenset({"compression", "body_encoding"})


# --- reading ----------------------------------------------------------------------------------------------


class _Headers(msgspec.Struct, gc=False):
    task: str | None = None
    id: str | None = None
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    retries: int | None = 0
    timelimit: tuple[Limit, Limit] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = False
    replaced_task_nesting: int | None = 0
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    compression: str | None = None


class _DeliveryInfo(msgspec.Struct, gc=False):
    exchange: str | None = ""
    routing_key: str | None = ""
    redelivered: bool | None = False


class _Properties(msgspec.Struct, gc=False):
    correlation_id: str | None = None
    reply_to: str | None = None
    delivery_info: _DeliveryInfo = msgspec.field(default_factory=_DeliveryInfo)
    priority: int | None = 0
    body_encoding: str | None = None
    delivery_tag: str | int | None = None


class _Envelope(msgspec.Struct, gc=False):
    #: msgspec undoes base64 itself.
    body: bytes
    content_encoding: str | None = msgspec.field(name="content-encoding", default="utf-8")
    content_type: str | None = msgspec.field(name="content-type", default="application/json")
    headers: _Headers = msgspec.field(default_factory=_Headers)
    properties: _Properties = msgspec.field(default_factory=_Properties)


class _Sections(msgspec.Struct, gc=False):
    headers: msgspec.Raw = msgspec.Raw(b"{}")
    properties: msgspec.Raw = msgspec.Raw(b"{}")


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_sections = msgspec.json.Decoder(_Sections).decode

_HEADER_NAMES = frozenset(_Headers.__struct_fields__) | {"lang"}
_PROPERTY_NAMES = frozenset(_Properties.__struct_fields__) | {"delivery_mode", "expiration"}


def _message(payload: bytes, envelope: _Envelope, headers: _Headers) -> TaskMessage:
    if not headers.task or not headers.id:
        raise DecodeError("this is no task message: the name or the id of the task is missing")
    stamps = headers.stamps
    if stamps and b'"__type__"' in payload:
        stamps = _section(payload, "headers")["stamps"]
    properties = envelope.properties
    info = properties.delivery_info
    tag = properties.delivery_tag
    return TaskMessage(
        headers.task,
        headers.id,
        envelope.body,
        envelope.content_type or "application/json",
        envelope.content_encoding or "utf-8",
        headers.compression,
        headers.retries or 0,
        headers.eta,
        headers.expires,
        headers.group,
        headers.group_index,
        headers.shadow,
        headers.timelimit or (None, None),
        headers.root_id,
        headers.parent_id,
        headers.argsrepr,
        headers.kwargsrepr,
        headers.origin,
        headers.ignore_result or False,
        headers.replaced_task_nesting or 0,
        headers.stamped_headers,
        stamps,
        properties.reply_to or "",
        properties.correlation_id,
        properties.priority or 0,
        info.exchange or "",
        info.routing_key or "",
        info.redelivered or False,
        tag if tag is None else str(tag),
        payload,
    )


def _read_slowly(payload: bytes) -> _Envelope:
    """The envelope of a sender who writes what msgspec refuses: NaN, numbers as text, a body as it is."""
    try:
        data = loads_plain_json(payload)
    except RecursionError:
        raise DecodeError("this is no task message: it is nested too deeply") from None
    except ValueError as error:
        raise DecodeError(f"this is no task message, it is not even JSON: {error}") from None
    try:
        return msgspec.convert({**data, "body": _raw_body(data)}, _Envelope, strict=False)
    except (TypeError, KeyError, AttributeError):
        raise DecodeError("this is no task message: it is JSON, but has no body as text") from None
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise DecodeError(f"this is no task message: {error}") from None


def _raw_body(data: dict[str, Any]) -> bytes:
    body: str = data["body"]
    if (data.get("properties") or {}).get("body_encoding") == "base64":
        return binascii.a2b_base64(body)
    return body.encode("utf-8", "surrogatepass")


def _section(payload: bytes, name: str) -> dict[str, Any]:
    """All headers or properties of an envelope that has been read once already."""
    try:
        text = bytes(getattr(_decode_sections(payload), name))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return loads_plain_json(payload).get(name) or {}
    try:
        return loads_json(text) or {}
    except (ValueError, RecursionError):
        # A type that is registered at the sender only, or bytes that are no UTF-8: better as it is written
        # than not at all.
        readable = text.decode("utf-8", "replace").encode()
    try:
        return loads_plain_json(readable) or {}
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the {name} of this message cannot be read: {error}") from error


def _decode_arguments(message: TaskMessage, accept: Collection[str]) -> Arguments:
    body = decompress(message.body, message.compression) if message.compression else message.body
    if (
        message.content_type == "application/json"
        and message.content_encoding == "utf-8"
        and "json" in accept
        and body.find(b'"__type__"') < 0
        and is_own_json()
    ):
        # Nearly every body is of this kind and can be decoded in one go.
        try:
            args, kwargs, embed = _decode_body(body)
            if embed == _NOTHING_FOLLOWS_RAW:
                return args, kwargs, NOTHING_FOLLOWS
            raw = bytes(embed)
            if raw.startswith(_CHORD_ALONE):
                return args, kwargs, ChordAlone(raw)
            if raw.startswith(_CHAIN_ALONE) and raw.endswith(_CHAIN_ENDS):
                return args, kwargs, ChainAlone(raw)
            return args, kwargs, _decode_embed(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            pass  # below it is read by those who can read more, or say what is wrong
    data = decode(body, message.content_type, message.content_encoding, accept)
    if isinstance(data, dict) and "args" in data:
        # A hybrid: the headers of protocol 2 over the body of protocol 1.
        return _arguments_of_protocol_1(data)
    if not isinstance(data, list | tuple) or len(data) != 3:
        raise DecodeError(f"the body of task {message.name}[{message.id}] is not [args, kwargs, embed]")
    return _checked(*data)


_decode_body = msgspec.json.Decoder(tuple[list[Any], dict[str, Any], msgspec.Raw]).decode
_decode_embed = msgspec.json.Decoder(dict[str, Any]).decode
#: So it begins where nothing but the body of a chord follows.
_CHORD_ALONE = b'{"callbacks": null, "errbacks": null, "chain": null, "chord": {'
_NOTHING_FOLLOWS_RAW = msgspec.Raw(NOTHING_FOLLOWS_JSON.encode("ascii"))


#: The same where nothing but the rest of a chain does; its next step is the last in the list.
_CHAIN_ALONE, _CHAIN_ENDS = b'{"callbacks": null, "errbacks": null, "chain": [{', b'}], "chord": null}'
_decode_steps = msgspec.json.Decoder(list[msgspec.Raw]).decode


class ChordAlone(msgspec.Struct, frozen=True, gc=False):
    """What a member of a chord embeds: its chord, of which hardly anybody asks more than that it is there."""

    raw: bytes

    def __getitem__(self, name: str) -> Any:
        return _decode_embed(self.raw)[name]


class ChainAlone(msgspec.Struct, frozen=True, gc=False):
    """What a step of a chain embeds: the steps after it, of which most travel on as they came."""

    raw: bytes

    def __getitem__(self, name: str) -> Any:
        return _decode_embed(self.raw)[name]

    def next_and_rest(self) -> tuple[dict[str, Any], str]:
        """The next step, and the text of those after it as they stand in the list, if there are any."""
        steps = self.raw[len(_CHAIN_ALONE) - 2 : 2 - len(_CHAIN_ENDS)]
        following = bytes(_decode_steps(steps)[-1])
        rest = steps[1 : -1 - len(following)].rstrip(b", ")
        return _decode_embed(following), rest.decode()


def _checked(args: Any, kwargs: Any, embed: Any) -> Arguments:
    args = [] if args is None else args
    kwargs = {} if kwargs is None else kwargs
    embed = {} if embed is None else embed
    if not isinstance(args, list):
        if not isinstance(args, tuple):
            raise DecodeError("the arguments in this message are not a list")
        args = list(args)
    if not isinstance(kwargs, dict) or not isinstance(embed, dict):
        raise DecodeError("the keyword arguments in this message are not a mapping")
    return args, kwargs, embed


# --- protocol 1 -------------------------------------------------------------------------------------------


def _of_protocol_1(payload: bytes, envelope: _Envelope, accept: Collection[str]) -> TaskMessage:
    compression = envelope.headers.compression
    body = decompress(envelope.body, compression) if compression else envelope.body
    data = decode(
        body, envelope.content_type or "application/json", envelope.content_encoding or "utf-8", accept
    )
    if not isinstance(data, dict) or "task" not in data:
        raise DecodeError("this is no task message: neither its headers nor its body name a task")
    arguments = _arguments_of_protocol_1(data)
    try:
        headers = msgspec.convert(data, _Headers, strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        raise DecodeError(f"this is no task message: {error}") from None
    headers.group = headers.group or data.get("taskset")
    headers.argsrepr = safe_repr(arguments[0])
    headers.kwargsrepr = safe_repr(arguments[1])
    if data.get("utc") is False:
        headers.eta, headers.expires = _with_offset(headers.eta), _with_offset(headers.expires)
    message = _message(payload, envelope, headers)
    message._arguments = arguments
    return message


def _arguments_of_protocol_1(data: dict[str, Any]) -> Arguments:
    embed = {name: data.get(name) for name in ("callbacks", "errbacks", "chord")}
    return _checked(data.get("args"), data.get("kwargs"), {**embed, "chain": None})


def _with_offset(moment: str | None) -> str | None:
    # Without `utc` a moment was meant in the sender's local time, which we take to be ours.
    try:
        return datetime.fromisoformat(moment).astimezone().isoformat() if moment else moment
    except ValueError:
        return moment
