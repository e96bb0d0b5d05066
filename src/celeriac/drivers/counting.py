"""What a store sends when all members of a chord were counted, for drivers that work it out in Python."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence

import msgspec

from celeriac.message import FAILED_HOLE, PARENT_HOLE, ROOT_HOLE, VALUES_HOLE, Count, Message

#: Seconds for which a store remembers that a chord is through: a member that comes once more, as a message
#: that was delivered twice does, must not begin a new count.
THROUGH = 300.0

#: How the encoded body of a message ends after which nothing comes: one for each way that base64 can fall.
_NOTHING_FOLLOWS = b'{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
ALONE = tuple(b2a_base64(_NOTHING_FOLLOWS[-length:], newline=False) + b'"' for length in (63, 64, 65))

#: Seconds without another message after which the producer of a header that is not whole is given up.
PATIENCE = 60.0

_ITEM = re.compile(rb'\[1, "((?:[^"\\]|\\.)*)", "([A-Z]+)", (.*)\]\Z', re.DOTALL)
_SUCCESS = b"SUCCESS"


def is_alone(envelope: bytes) -> bool:
    """Nothing comes after this message, so nobody waits for its end but who asks for its result."""
    return any(ending in envelope for ending in ALONE)


def by_chord(counts: Sequence[Count]) -> list[list[Count]]:
    """Members that say alike what comes of their chord, together."""
    chords: dict[tuple[str, int, int], list[Count]] = {}
    for count in counts:
        which = count.chord, id(count.body), id(count.broken)
        known = chords.get(which)
        if known is None:
            chords[which] = [count]
        else:
            known.append(count)
    return list(chords.values())


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
        # The id stands in a text within the body's JSON, as it stands in the item.
        said[VALUES_HOLE], said[FAILED_HOLE] = items[broken], known[broken][0]
    holes = {hole: _escaped(text) for hole, text in said.items()}
    return [_filled(message, holes) for message in (last.body if broken is None else last.broken)]


def broken_off(chord: str, broken: Sequence[Message]) -> list[Message]:
    """The messages that a chord comes to whose producer sent a part of its header and no more."""
    holes = {
        VALUES_HOLE: item_of_the_lost(chord),
        FAILED_HOLE: msgspec.json.encode(chord).decode()[1:-1],
        **dict.fromkeys((PARENT_HOLE, ROOT_HOLE), chord),
    }
    escaped = {hole: _escaped(text.encode()) for hole, text in holes.items()}
    return [_filled(message, escaped) for message in broken]


def item_of_the_lost(chord: str) -> str:
    """What is counted for members that were never sent."""
    error = {
        "exc_type": "OperationalError",
        "exc_message": ["its producer sent a part of the header and then no more: it was ended, or failed"],
        "exc_module": "celeriac.exceptions",
    }
    return f'[1, {msgspec.json.encode(chord).decode()}, "FAILURE", {msgspec.json.encode(error).decode()}]'


class Headers:
    """Of the chords that pass by in messages: those of whose headers a part is sent and a part is to come."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open: set[str] = set()

    def after(self, messages: Iterable[Message]) -> set[str]:
        """Take note of what is sent in one step; returns the chords that were open before it and are whole
        now."""
        begun: set[str] = set()
        whole: set[str] = set()
        for message in messages:
            if message.members:
                begun.update(members.chord for members in message.members if not members.adds)
            if message.completes:
                whole.update(message.completes)
        before = self.open
        self.open = (before | begun) - whole if begun or whole else before
        return before & whole


def _filled(message: Message, holes: dict[bytes, bytes]) -> Message:
    payload = message.payload
    for hole, text in holes.items():
        payload = payload.replace(hole, text)
    return msgspec.structs.replace(message, payload=payload)


def _escaped(text: bytes) -> bytes:
    return msgspec.json.encode(text.decode())[1:-1]
