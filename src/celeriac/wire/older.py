"""Protocol 1, of Celery 3: read, and written for its workers. Slow, for it is rare."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import msgspec

from celeriac.exceptions import DecodeError
from celeriac.wire import codecs
from celeriac.wire.body import Arguments, arguments_of_protocol_1
from celeriac.wire.codecs import json_text, loads_plain_json
from celeriac.wire.compression import compress, decompress
from celeriac.wire.envelope import Envelope, Headers
from celeriac.wire.saferepr import safe_repr

#: Headers of protocol 2 that are parts of the body in protocol 1.
_IN_THE_BODY = ("task", "id", "group", "group_index", "retries", "eta", "expires", "timelimit")
#: Headers that protocol 1 does not have.
_UNKNOWN = (
    *("lang", "shadow", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result"),
    *("replaced_task_nesting", "stamped_headers", "stamps"),
)


def as_protocol_1(payload: bytes) -> bytes:
    """The same call as protocol 1 says it: everything in the body, what follows nested in callbacks."""
    envelope = loads_plain_json(payload)
    headers, content_type = envelope["headers"], envelope["content-type"]
    compression = headers.get("compression")
    data = base64.b64decode(envelope["body"])
    if compression:
        data = decompress(data, compression)
    # One's own bytes, written a moment ago.
    body = codecs.decode(data, content_type, envelope["content-encoding"], accept=(content_type,))
    args, kwargs, embed = body
    flat = {
        **{name: headers.pop(name, None) for name in _IN_THE_BODY},
        "args": args,
        "kwargs": kwargs,
        "utc": True,
        "callbacks": _callbacks(embed.get("callbacks"), embed.get("chain")),
        "errbacks": embed.get("errbacks"),
        "chord": embed.get("chord"),
    }
    flat["taskset"] = flat["group"]
    for name in _UNKNOWN:
        headers.pop(name, None)
    _, _, data = codecs.encode(flat, content_type)
    if compression:
        _, data = compress(data, compression)
    return json_text({**envelope, "body": base64.b64encode(data).decode()}).encode("ascii")


def from_protocol_1(envelope: Envelope, accept: Collection[str]) -> tuple[Headers, Arguments]:
    """What its headers would say in protocol 2, and what to call with."""
    compression = envelope.headers.compression
    body = decompress(envelope.body, compression) if compression else envelope.body
    data = codecs.decode(
        body, envelope.content_type or "application/json", envelope.content_encoding or "utf-8", accept
    )
    if not isinstance(data, dict) or "task" not in data:
        raise DecodeError("this is no task message: neither its headers nor its body name a task")
    arguments = arguments_of_protocol_1(data)
    try:
        headers = msgspec.convert(data, Headers, strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        raise DecodeError(f"this is no task message: {error}") from None
    headers.group = headers.group or data.get("taskset")
    headers.argsrepr = safe_repr(arguments[0])
    headers.kwargsrepr = safe_repr(arguments[1])
    if data.get("utc") is False:
        headers.eta, headers.expires = _with_offset(headers.eta), _with_offset(headers.expires)
    return headers, arguments


def _callbacks(callbacks: Any, chain: Any) -> list[Any] | None:
    """The next step of a chain is a callback, whose own callback is the step after it."""
    following: dict[str, Any] | None = None
    for step in chain or ():  # the last one first
        following = step if following is None else _linked(step, following)
    return [*(callbacks or ()), following] if following is not None else callbacks


def _linked(step: Mapping[str, Any], following: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(step.get("options") or {})
    options["link"] = [*(options.get("link") or ()), following]
    return {**step, "options": options}


def _with_offset(moment: str | None) -> str | None:
    # Without `utc` a moment was meant in the sender's local time, which we take to be ours.
    try:
        return datetime.fromisoformat(moment).astimezone().isoformat() if moment else moment
    except ValueError:
        return moment
