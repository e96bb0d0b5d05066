"""The outcomes of a turn as turn.lua takes them: plain acks flat, everything else as tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from celeriac.drivers.counting import by_chord
from celeriac.drivers.redis.holding import Holding
from celeriac.drivers.redis.keys import Keys
from celeriac.exceptions import OperationalError
from celeriac.message import Count, Fate, Message, Outcome, Result

#: Seconds until the store is told again of a queue, when it could not be.
PAUSE = 10.0
#: Where what is not packed begins among the arguments of turn.lua.
FIRST_FLAT = 6

#: Letters that tell how an owner died: an envelope may hold eight of them.
LONGEST_DEATH = 200
_WITHOUT_BRACKETS = str.maketrans("[]", "()")
_encode = msgspec.msgpack.encode
#: In an item: what stands before the id of a member, and after that of one that ended well.
_BEFORE_ID, _SUCCEEDED = len('[1, "'), b'", "SUCCESS", '

#: Keys, results, members of chords and payloads, as they are.
Flat = list[str | bytes | int]


class Registered(dict[str, str]):
    """The queues that this process knows to be in the registry; another one is noted there when it is first
    asked for."""

    def __init__(self, note: Callable[[str], object]) -> None:
        self._note = note
        #: Monotonic seconds at which the store may be asked again.
        self._next_try = 0.0

    def __missing__(self, queue: str) -> str:
        if time.monotonic() >= self._next_try:
            try:
                self._note(queue)
            except OperationalError:
                # The turn that asks will say so, and shall not wait for a silent store once a message.
                self._next_try = time.monotonic() + PAUSE
            else:
                self[queue] = queue
        return queue


def packed_outcomes(
    keys: Keys,
    registered: Registered,
    owner: str,
    holding: Holding,
    outcomes: Sequence[Outcome],
    *,
    with_results: bool,
) -> tuple[bytes, bytes, Flat]:
    """The arguments 4, 5 and 6 to the last of turn.lua, empty where there is nothing to say. What they settle
    is held no longer."""
    if not outcomes:
        return b"", b"", []
    batches, prefix = holding.batches, keys.result
    seconds: float | None = None
    flat: Flat = []
    counted: list[Count] = []
    others: list[Outcome] = []
    settled: set[int] = set()
    for outcome in outcomes:
        number = outcome.number
        if number not in batches or number in settled:
            continue
        if outcome.fate is not Fate.BEGUN:
            settled.add(number)
        counts = outcome.counts
        if outcome.fate is not Fate.ACKED or outcome.follow_ups or outcome.also or len(counts) > 1:
            others.append(outcome)
            continue
        result = outcome.result
        if result is not None and with_results:
            if not flat:
                seconds = result.ttl
            elif seconds != result.ttl:
                others.append(outcome)
                continue
            flat.append(prefix + result.task_id)
            flat.append(result.payload)
        if counts:
            counted.append(counts[0])
    ttl = str(int(seconds * 1000)) if seconds else ""
    results = len(flat) // 2
    if not others and not counted:
        return _encode((results, ttl, *holding.settle(settled))), b"", flat
    members = [(told[-1], _tell(told, flat), len(told)) for told in by_chord(counted)]
    tables = _Tables(keys, registered, owner, holding, FIRST_FLAT + len(flat), with_results)
    for last, place, number in members:
        tables.chord(last)[-4:] = place, number, last.member, last.root
    packed = _encode(([tables.outcome(outcome) for outcome in others], list(tables.chords.values())))
    acks = _encode((results, ttl, *holding.settle(settled)))
    flat += tables.payloads
    return acks, packed, flat


def _tell(counted: list[Count], flat: Flat) -> int:
    """Add members of one chord as a run, as count.lua takes it; returns where it stands."""
    # Of MessagePack's kinds of bytes Redis knows only text.
    run: list[list[Any]] = []
    stretch: list[Any] = []
    ids: list[str] = []
    following = -1
    for count in counted:
        index, member, item = count.index, count.member, count.item
        at = _BEFORE_ID + len(member)
        if item[at : at + len(_SUCCEEDED)] != _SUCCEEDED:
            run.append([index, False, item.decode()])
            continue
        if index != following:
            if ids:
                stretch[1] = "\n".join(ids)
            stretch, ids = [index, ""], []
            run.append(stretch)
        ids.append(member)
        stretch.append(item[at + len(_SUCCEEDED) : -1].decode())
        following = index + 1
    if ids:
        stretch[1] = "\n".join(ids)
    flat.append(_encode(run))
    return FIRST_FLAT + len(flat) - 1


class _Tables:
    """What of a turn's outcomes goes as tables, and the payloads that these name."""

    def __init__(
        self,
        keys: Keys,
        registered: Registered,
        owner: str,
        holding: Holding,
        first: int,
        with_results: bool,
    ) -> None:
        self._keys = keys
        self._registered = registered
        self._owner = owner
        self._holding = holding
        self._with_results = with_results
        #: Where the first payload stands among the arguments.
        self._first = first
        self.payloads: list[bytes] = []
        #: Where in `payloads` one stands, by its identity.
        self._places: dict[int, int] = {}
        #: What all members of a chord say alike travels once.
        self.chords: dict[tuple[str, int, int], list[Any]] = {}

    def outcome(self, outcome: Outcome) -> Any:
        number, result = outcome.number, outcome.result if self._with_results else None
        if outcome.fate is Fate.BEGUN:
            self._holding.begun.add(number)
        return (
            number,
            *self._holding.place(number),
            int(outcome.fate),
            result is not None and self._stored(result),
            self._sent(outcome.follow_ups),
            int(outcome.eta * 1000),
            _reason(outcome),
            outcome.id or f"{self._owner}:{number}",
            [self._stored(result) for result in outcome.also] if self._with_results else [],
            [
                (self.chord(count)[0], count.member, count.root, count.index, self._put(count.item))
                for count in outcome.counts
            ],
        )

    def chord(self, count: Count) -> list[Any]:
        """The chord of this member, in which nothing is counted with plain acks as yet."""
        which = count.chord, id(count.body), id(count.broken)
        chord = self.chords.get(which)
        if chord is None:
            key, ttl = self._keys.group + count.chord, int((count.ttl or 0) * 1000)
            messages = self._sent(count.body), self._sent(count.broken)
            chord = [len(self.chords) + 1, key, count.size, ttl, *messages, 0, 0, "", ""]
            self.chords[which] = chord
        return chord

    def _put(self, payload: bytes) -> int:
        # Members of one chord have the same body, which need not travel for each of them.
        place = self._places.setdefault(id(payload), len(self.payloads))
        if place == len(self.payloads):
            self.payloads.append(payload)
        return self._first + place

    def _stored(self, result: Result) -> tuple[str, int, int]:
        return self._keys.meta(result.task_id), self._put(result.payload), int((result.ttl or 0) * 1000)

    def _sent(self, messages: Sequence[Message]) -> list[tuple[Any, ...]]:
        return [
            (
                self._registered[message.queue],
                self._keys.ready(message.queue, message.priority),
                int((message.eta or 0) * 1000),
                self._put(message.payload),
                self._keys.told((message,)) if message.members else (),
            )
            for message in messages
        ]


def _reason(outcome: Outcome) -> str:
    """How an owner died is short and without brackets, for it is kept in the envelope."""
    reason = outcome.reason
    return reason if outcome.fate is not Fate.LOST else reason[:LONGEST_DEATH].translate(_WITHOUT_BRACKETS)
