"""Commands, their answers, and events as bytes: Celery's envelopes around JSON."""

from __future__ import annotations

import binascii
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from celeriac.exceptions import DecodeError, EncodeError
from celeriac.wire.codecs import decode, encode
from celeriac.wire.saferepr import safe_repr

Json = dict[str, Any]

JSON = "application/json"


class Command(msgspec.Struct, frozen=True):
    """Something that all workers, or some of them, shall do or say."""

    method: str
    arguments: Json
    #: Names of nodes; None is all.
    destination: Sequence[str] | None = None
    #: The same by a pattern, and how that is to be read: glob or pcre.
    pattern: str | None = None
    matcher: str | None = None
    #: Who asked, so that an answer finds its question; None: no answer is wanted.
    ticket: str | None = None
    #: The box that takes the answers.
    box: str | None = None
    #: Epoch seconds after which nobody shall obey any more.
    expires: float | None = None
    clock: int = 0
    #: Unique: what is said twice after a connection broke is done once.
    tag: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What one node said."""

    node: str
    value: Any
    ticket: str | None
    clock: int


def pack_command(command: Command, exchange: str, reply_exchange: str) -> bytes:
    """As stock Celery writes it. Arguments that JSON cannot carry are an EncodeError."""
    body: Json = {
        "method": command.method,
        "arguments": command.arguments,
        "destination": command.destination,
        "pattern": command.pattern,
        "matcher": command.matcher,
    }
    if command.ticket is not None and command.box is not None:
        body["ticket"] = command.ticket
        body["reply_to"] = {
            "exchange": reply_exchange,
            "routing_key": command.box.removesuffix("." + reply_exchange),
        }
    headers = {"clock": command.clock, "expires": command.expires}
    return _envelope(encode(body, "json")[2], headers, exchange, "", 2, command.tag)


def unpack_command(payload: bytes) -> Command:
    """A command of ours or of stock Celery's. DecodeError if it is none."""
    headers, body, tag = _opened(payload)
    reply_to = body.get("reply_to") if isinstance(body, dict) else None
    try:
        said = {
            "method": body["method"],
            "arguments": dict(body.get("arguments") or {}),
            "destination": body.get("destination"),
            "pattern": body.get("pattern"),
            "matcher": body.get("matcher"),
            "ticket": body.get("ticket"),
            "box": f"{reply_to['routing_key']}.{reply_to['exchange']}" if reply_to else None,
            "expires": headers.get("expires"),
            "clock": headers.get("clock") or 0,
            "tag": tag,
        }
        return msgspec.convert(said, Command)
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"this is no command: {error!r}") from error


def pack_answer(answer: Answer, box: str) -> bytes:
    """The same for an answer; what JSON cannot carry goes as its repr."""
    key, _, exchange = box.partition(".")
    try:
        data = encode({answer.node: answer.value}, "json")[2]
    except (EncodeError, RecursionError):
        data = _by_repr(answer)
    headers = {"ticket": answer.ticket, "clock": answer.clock}
    return _envelope(data, headers, exchange, key, 1, new_tag())


def _by_repr(answer: Answer) -> bytes:
    try:
        return json.dumps({answer.node: answer.value}, default=safe_repr, skipkeys=True).encode()
    except (ValueError, RecursionError):  # it contains itself, or is nested too deeply
        return json.dumps({answer.node: safe_repr(answer.value)}).encode()


def unpack_answer(payload: bytes) -> Answer:
    headers, body, _ = _opened(payload)
    if not isinstance(body, dict) or len(body) != 1:
        raise DecodeError("this is no answer of one node")
    ((node, value),) = body.items()
    return Answer(node, value, headers.get("ticket"), headers.get("clock") or 0)


def pack_events(events: Json | Sequence[Json], exchange: str, routing_key: str, hostname: str) -> bytes:
    """One event, or several as one message."""
    try:
        data = msgspec.json.encode(events)
    except (TypeError, ValueError, OverflowError):
        data = json.dumps(events, default=safe_repr, skipkeys=True).encode()
    return _envelope(data, {"hostname": hostname}, exchange, routing_key, 1, new_tag())


def unpack_events(payload: bytes, accept: Sequence[str] = ("json",)) -> list[Json]:
    """The events in one message. DecodeError if there are none."""
    _, body, _ = _opened(payload, accept)
    events = body if isinstance(body, list) else [body]
    if not all(isinstance(event, dict) and isinstance(event.get("type"), str) for event in events):
        raise DecodeError("this is no event")
    return events


def new_tag() -> str:
    """A random UUID, quicker than the module of that name."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _envelope(
    body: bytes, headers: Mapping[str, Any], exchange: str, routing_key: str, mode: int, tag: str
) -> bytes:
    return msgspec.json.encode(
        {
            "body": binascii.b2a_base64(body, newline=False).decode(),
            "content-encoding": "utf-8",
            "content-type": JSON,
            "headers": headers,
            "properties": {
                "delivery_mode": mode,
                "delivery_info": {"exchange": exchange, "routing_key": routing_key},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": tag,
            },
        }
    )


def _opened(payload: bytes, accept: Sequence[str] = ("json",)) -> tuple[Json, Any, str]:
    try:
        envelope = json.loads(payload)
        properties = envelope.get("properties") or {}
        body = envelope["body"]
        data = binascii.a2b_base64(body) if properties.get("body_encoding") == "base64" else body.encode()
        content_type = str(envelope.get("content-type") or JSON)
        encoding = envelope.get("content-encoding") or "utf-8"
        headers = dict(envelope.get("headers") or {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DecodeError(f"this is no message of the bus: {error!r}") from error
    return headers, decode(data, content_type, encoding, accept), str(properties.get("delivery_tag") or "")
