"""A task message as it arrived: `unpack` reads protocols 1 and 2; `pack` of packing.py wrote it."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec

from celeriac.exceptions import DecodeError
from celeriac.wire.body import Arguments, decode_body
from celeriac.wire.codecs import loads_json, loads_plain_json
from celeriac.wire.compression import decompress
from celeriac.wire.envelope import Envelope, Headers, Limit
from celeriac.wire.ids import is_storable
from celeriac.wire.older import from_protocol_1

#: What a reader accepts that does not say.
JSON_ONLY = ("json",)
#: So many bytes of a message that cannot be read are searched at its end, and then at its beginning.
FAR = 1 << 16
_ID, _NAME = (re.compile(rb'"%s": ?("(?:[^"\\]|\\.)+")' % key) for key in (b"id", b"task"))
_GROUP = re.compile(rb'"group": ?("(?:[^"\\]|\\.)+")(?:, ?"group_index": ?(\d+))?')


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
        headers, arguments = from_protocol_1(envelope, accept)
        message = _message(payload, envelope, _storable(headers))
        message._arguments = arguments
        return message
    return _message(payload, envelope, envelope.headers)


def unpack_identity(payload: bytes) -> TaskMessage | None:
    """Of a message that `unpack` refuses, or that is too large for it: name, id and group, if it shows them.
    Its sender, and perhaps a chord, waits for an answer. Nothing is decoded but these."""
    # The headers stand behind the body, which holds no quote; in other envelopes they may be the first.
    for part in (payload[-FAR:], payload[:FAR]):
        id, name, group = (pattern.search(part) for pattern in (_ID, _NAME, _GROUP))
        if id and name:
            try:
                known = Headers(json.loads(name[1]), json.loads(id[1]))
                if group:
                    known.group = json.loads(group[1])
                    known.group_index = int(group[2]) if group[2] else None
                return _message(payload, Envelope(b""), _storable(known))
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
            body = decompress(self.body, self.compression) if self.compression else self.body
            self._arguments = decode_body(body, self.content_type, self.content_encoding, accept)
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


class _Sections(msgspec.Struct, gc=False):
    headers: msgspec.Raw = msgspec.Raw(b"{}")
    properties: msgspec.Raw = msgspec.Raw(b"{}")


_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_sections = msgspec.json.Decoder(_Sections).decode


def _message(payload: bytes, envelope: Envelope, headers: Headers) -> TaskMessage:
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


def _read_slowly(payload: bytes) -> Envelope:
    """The envelope of a sender who writes what msgspec refuses: NaN, numbers as text, a body as it is."""
    try:
        data = loads_plain_json(payload)
    except RecursionError:
        raise DecodeError("this is no task message: it is nested too deeply") from None
    except ValueError as error:
        raise DecodeError(f"this is no task message, it is not even JSON: {error}") from None
    try:
        envelope = msgspec.convert({**data, "body": _raw_body(data)}, Envelope, strict=False)
    except (TypeError, KeyError, AttributeError):
        raise DecodeError("this is no task message: it is JSON, but has no body as text") from None
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise DecodeError(f"this is no task message: {error}") from None
    _storable(envelope.headers)
    return envelope


def _storable(headers: Headers) -> Headers:
    """Headers whose ids a store can keep; msgspec refuses others by itself."""
    for id in (headers.id, headers.group, headers.root_id):
        if id is not None and not is_storable(id):
            raise DecodeError(f"this is no task message: the id {id!r} is no text that can be stored")
    return headers


def _raw_body(data: dict[str, Any]) -> bytes:
    body: str = data["body"]
    if (data.get("properties") or {}).get("body_encoding") == "base64":
        return binascii.a2b_base64(body)
    return body.encode("utf-8", "surrogatepass")


def _section(payload: bytes, name: str) -> dict[str, Any]:
    """All headers or properties of an envelope; DecodeError if it shows none. The message may be one that
    `unpack` refused: then anything can stand here."""
    try:
        section = _written_section(payload, name) or {}
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the {name} of this message cannot be read: {error}") from error
    if not isinstance(section, dict):
        raise DecodeError(f"the {name} of this message are no object")
    return section


def _written_section(payload: bytes, name: str) -> Any:
    try:
        text = bytes(getattr(_decode_sections(payload), name))
    except (msgspec.DecodeError, UnicodeDecodeError):
        whole = loads_plain_json(payload)
        return whole.get(name) if isinstance(whole, dict) else None
    try:
        return loads_json(text)
    except (ValueError, RecursionError):
        # A type that is registered at the sender only, or bytes that are no UTF-8: better as it is written
        # than not at all.
        return loads_plain_json(text.decode("utf-8", "replace").encode())
