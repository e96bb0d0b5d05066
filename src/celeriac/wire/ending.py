"""What follows a call whose arguments nobody can read, or may: it stands at the end of the body."""

from __future__ import annotations

import binascii
import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from celeriac.wire.body import NOTHING_FOLLOWS, Embed
from celeriac.wire.compression import end_of

#: Bytes of an envelope behind its body, and of the end of a body, that are looked at.
FAR = 1 << 16
#: The header that `member_after` gives.
MEMBER = "celeriac_member"
#: Places where it might begin that are tried: arguments may hold the same words.
TRIES = 20

_BEFORE = b'{"body": "'
_BEHIND = b'", "content-encoding": "utf-8", "content-type": "application/json"'
_BEGINS = b'{"callbacks": '


def embed_at_end(payload: bytes, accept: Collection[str]) -> Embed | None:
    """Callbacks, errbacks, chain and chord of this message; None if they are not plain to see."""
    end = payload.rfind(_BEHIND, -FAR)
    if end < 0 or not payload.startswith(_BEFORE) or not {"json", "application/json"}.intersection(accept):
        return None
    size = min(end - len(_BEFORE), FAR)
    headers = payload[end:]
    if b'"compression": "application/x-gzip"' in headers:
        return _last_of(end_of(_unpacked(payload[len(_BEFORE) : end]), FAR))
    if b'"body_encoding": "base64"' in headers:
        # Four characters are three bytes, from the beginning on and so from the end too.
        return _last_of(_unpacked(payload[end - size // 4 * 4 : end]))
    # A text within the text; the cut may have gone through one of its escapes.
    quoted = payload[end - size : end]
    for skipped in range(6):
        with contextlib.suppress(ValueError):
            return _last_of(json.loads(b'"%b"' % quoted[skipped:]).encode())
    return None


def member_after(chain: Sequence[Mapping[str, Any]]) -> list[Any] | None:
    """Of a chain, the last step first, that stands in the header of a chord: the id of the group, the index
    in it, and the id under which its end is counted. To be shown where not all may read the body."""
    step = chain[0]
    while step.get("subtask_type") in ("chord", "chain"):
        inside = step["kwargs"]
        step = inside["tasks"][-1] if step["subtask_type"] == "chain" else inside["body"]
    options = step.get("options") or {}
    if not options.get("chord"):
        return None
    return [options.get("group_id"), options.get("group_index"), options.get("task_id")]


def _unpacked(body: bytes) -> bytes:
    with contextlib.suppress(binascii.Error):
        return binascii.a2b_base64(body)
    return b""


def _last_of(body: bytes) -> Embed | None:
    at = len(body)
    for _ in range(TRIES):
        at = body.rfind(_BEGINS, 0, at)
        if at < 0:
            break
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(body[at:].rstrip().removesuffix(b"]"))
            if found.keys() == NOTHING_FOLLOWS.keys():
                return dict(found)
    return None
