"""How the members of a chord are counted; for one thread at a time, as the store is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from celeriac.drivers import counting
from celeriac.drivers.counting import THROUGH, broken_off, set_off
from celeriac.message import Count, Members, Message

#: Seconds between two looks at all chords.
SWEEP = 1.0


class Chords:
    """All chords of one store."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        #: By chord: what was counted, by index and member; None when it is through. And until when.
        self._counted: dict[str, dict[tuple[int, str], bytes] | None] = {}
        self._ends: dict[str, float] = {}
        #: By chord: what was told of its header, and the tick until which more of it is waited for.
        self._headers: dict[str, tuple[Members, float | None]] = {}
        #: The tick from which on all are looked at, to forget those whose time is over.
        self._next_sweep = 0.0

    def unfinished(self) -> int:
        """How many are neither through nor forgotten."""
        return sum(members is not None for members in self._counted.values())

    def tell(self, told: Iterable[Members]) -> None:
        """Note down what a message tells of the headers that begin with it."""
        for members in told:
            if not members.adds:
                self._headers[members.chord] = members, None
            elif members.chord in self._headers:
                known, until = self._headers[members.chord]
                more = msgspec.structs.replace(known, size=known.size + members.size)
                self._headers[members.chord] = more, until

    def keep(self, open: Iterable[str], whole: Iterable[str]) -> None:
        """More is to come of the headers that are `open`, and of others nothing."""
        until = self._ticks() + counting.PATIENCE
        for chord in (*open, *whole):
            if chord in self._headers:
                self._headers[chord] = self._headers[chord][0], until if chord in open else None

    def break_lost(self) -> list[Message]:
        """The messages that come of headers whose producers are given up."""
        now = self._ticks()
        messages: list[Message] = []
        for chord, (members, until) in list(self._headers.items()):
            if until is not None and until <= now:
                self._close(chord, members.ttl or THROUGH)
                messages += broken_off(chord, members.broken)
        return messages

    def count(self, counted: Count) -> list[Message]:
        """Count one member; returns the messages that the last one sets off."""
        now, chord = self._ticks(), counted.chord
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP
            for over in [name for name, until in self._ends.items() if until <= now]:
                self._forget(over)
        elif self._ends.get(chord, now + 1) <= now:
            self._forget(chord)
        header, _ = self._headers.get(chord, (None, None))
        size = counted.size if header is None else header.size
        if not size:
            return []
        if header is not None and not counted.broken:
            counted = msgspec.structs.replace(counted, broken=header.broken)
        members = self._counted.setdefault(chord, {})
        if members is None and header is not None:
            # Another one was sent under the same id.
            members = self._counted[chord] = {}
            del self._ends[chord]
        place = (counted.index, counted.member)
        if members is None or place in members:
            return []
        members[place] = counted.item
        if counted.ttl is not None:
            self._ends[chord] = now + counted.ttl
        if len(members) < size:
            return []
        self._close(chord, THROUGH)
        return set_off(counted, [item for _, item in sorted(members.items())])

    def _forget(self, chord: str) -> None:
        del self._counted[chord], self._ends[chord]
        self._headers.pop(chord, None)

    def _close(self, chord: str, keep: float) -> None:
        """It is through, and for so long nothing of it is counted."""
        self._counted[chord], self._ends[chord] = None, self._ticks() + keep
        self._headers.pop(chord, None)
