"""What a store sends when all members of a chord were counted, for drivers that work it out in Python."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Sequence

import msgspec

from celeriac.message import FAILED_HOLE, PARENT_HOLE, ROOT_HOLE, VALUES_HOLE, Count, Message

#: Seconds for which a store remembers that a chord is through: a member that comes once more, as a message
#: that was delivered twice does, must not begin a new count.
THROUGH = 300.0

#: How the encoded body of a message ends after which nothing comes: one for each way that base64 can fall.
_NOTHING_FOLLOWS = b'{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
ALONE = tuple(b2a_base64(_NOTHING_FOLLOWS[-length:], newline=False) + b'"' for length in (63, 64, 65))

_ITEM = re.compile(rb'\[1, "([^"]*)", "([A-Z]+)", (.*)\]\Z', re.DOTALL)
_SUCCESS = b"SUCCESS"


def is_alone(envelope: bytes) -> bool:
    """Nothing comes after this message, so nobody waits for its end but who asks for its result."""
    return any(ending in envelope for ending in ALONE)


def set_off(last: Count, items: Sequence[bytes]) -> list[Message]:
    """The messages that the last member sets off; `items` of all members, in order of their indices."""
    read = [_ITEM.match(item) for item in items]
    known = [
        (b"", b"FAILURE", item) if m is None else m.groups() for item, m in zip(items, read, strict=True)
    ]
    broken = next((n for n, (_, status, _) in enumerate(known) if status != _SUCCESS), None)
    said = {PARENT_HOLE: last.member.encode(), ROOT_HOLE: last.root.encode()}
    if broken is None:
        said[VALUES_HOLE] = b"[" + b", ".join(value for _, _, value in known) + b"]"
    else:
        said[VALUES_HOLE], said[FAILED_HOLE] = items[broken], known[broken][0]
    holes = {hole: _escaped(text) for hole, text in said.items()}
    return [_filled(message, holes) for message in (last.body if broken is None else last.broken)]


def _filled(message: Message, holes: dict[bytes, bytes]) -> Message:
    payload = message.payload
    for hole, text in holes.items():
        payload = payload.replace(hole, text)
    return msgspec.structs.replace(message, payload=payload)


def _escaped(text: bytes) -> bytes:
    return msgspec.json.encode(text.decode())[1:-1]
