"""Protocol 1, for workers of Celery 3: a message of protocol 2 written anew. Slow, for it is rare."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from celeriac.wire import codecs
from celeriac.wire.codecs import json_text, loads_plain_json

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
        data = codecs.decompress(data, compression)
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
        _, data = codecs.compress(data, compression)
    return json_text({**envelope, "body": base64.b64encode(data).decode()}).encode("ascii")


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
