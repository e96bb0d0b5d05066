"""How the members of a chord are counted; each runs inside a transaction of its caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from celeriac.drivers.counting import THROUGH, set_off
from celeriac.drivers.sqlite import statements as sql
from celeriac.message import Count, Message


def count(db: sqlite3.Connection, counts: Iterable[Count], now: float) -> list[Message]:
    """Count members; returns the messages that the last ones set off."""
    messages: list[Message] = []
    for counted in counts:
        messages += _count(db, counted, now)
    return messages


def sweep(db: sqlite3.Connection, now: float) -> None:
    """Forget chords that were through, or that nobody will finish."""
    db.execute(sql.DELETE_OLD_CHORDS, (now,))
    db.execute(sql.DELETE_OLD_MEMBERS, (now,))


def _count(db: sqlite3.Connection, counted: Count, now: float) -> list[Message]:
    chord = counted.chord
    if db.execute(sql.CHORD_IS_THROUGH, (chord, now)).fetchone() is not None:
        return []
    expires = None if counted.ttl is None else now + counted.ttl
    member = (chord, counted.index, counted.member, counted.item, expires)
    if not db.execute(sql.ADD_MEMBER, member).rowcount:
        return []
    ((so_far,),) = db.execute(sql.COUNT_MEMBER, (chord, expires)).fetchall()
    if so_far < counted.size or not counted.size:
        return []
    items = [item for (item,) in db.execute(sql.ITEMS, (chord,)).fetchall()]
    db.execute(sql.DELETE_MEMBERS, (chord,))
    db.execute(sql.CLOSE_CHORD, (now + THROUGH, chord))
    return set_off(counted, items)
