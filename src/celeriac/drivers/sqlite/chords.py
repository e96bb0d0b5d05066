"""How the members of a chord are counted; each runs inside a transaction of its caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from celeriac.drivers import counting
from celeriac.drivers.counting import THROUGH, broken_off, by_chord, set_off
from celeriac.drivers.sqlite import statements as sql
from celeriac.message import Count, Message

#: Its index, its id, its item.
_Member = tuple[int, str, bytes]

_broken = msgspec.json.Decoder(tuple[Message, ...])
_encode = msgspec.msgpack.encode
_run = msgspec.msgpack.Decoder(list[_Member])


def tell(db: sqlite3.Connection, messages: Iterable[Message], now: float) -> None:
    """Note down what they tell of the headers that begin with them."""
    for message in messages:
        for members in message.members:
            if members.adds:
                db.execute(sql.ADD_TO_HEADER, (members.size, members.chord))
                continue
            expires = None if members.ttl is None else now + members.ttl
            broken = msgspec.json.encode(members.broken)
            db.execute(sql.ADD_HEADER, (members.chord, members.size, broken, expires))


def keep_headers(db: sqlite3.Connection, open: Iterable[str], whole: Iterable[str], now: float) -> None:
    """More is to come of the headers that are `open`, and of others nothing."""
    db.executemany(sql.WAIT_FOR_HEADER, [(now + counting.PATIENCE, chord) for chord in open])
    db.executemany(sql.WAIT_FOR_HEADER, [(None, chord) for chord in whole])


def break_lost(db: sqlite3.Connection, now: float) -> list[Message]:
    """The messages that come of headers whose producers are given up."""
    messages: list[Message] = []
    for chord, broken, expires in db.execute(sql.LOST_HEADERS, (now,)).fetchall():
        db.execute(sql.DELETE_RUNS, (chord,))
        db.execute(sql.DELETE_HEADER, (chord,))
        db.execute(sql.BREAK_CHORD, (chord, expires))
        messages += broken_off(chord, _broken.decode(broken))
    return messages


def count(db: sqlite3.Connection, counts: Sequence[Count], now: float) -> list[Message]:
    """Count members; returns the messages that the last ones set off."""
    messages: list[Message] = []
    for members in by_chord(counts):
        messages += _count(db, members, now)
    return messages


def sweep(db: sqlite3.Connection, now: float) -> None:
    """Forget chords that were through, or that nobody will finish."""
    db.execute(sql.DELETE_OLD_CHORDS, (now,))
    db.execute(sql.DELETE_OLD_RUNS, (now,))
    db.execute(sql.DELETE_OLD_HEADERS, (now,))


def _count(db: sqlite3.Connection, members: Sequence[Count], now: float) -> list[Message]:
    """Count members of one chord, which say alike what comes of it."""
    last = members[-1]
    chord = last.chord
    if db.execute(sql.CHORD_IS_THROUGH, (chord, now)).fetchone() is not None:
        return []
    header = db.execute(sql.HEADER, (chord,)).fetchone()
    size = last.size if header is None else header[0]
    if not size:
        return []
    if header is not None and not last.broken:
        last = msgspec.structs.replace(last, broken=_broken.decode(header[1]))
    expires = None if last.ttl is None else now + last.ttl
    ((so_far,),) = db.execute(sql.COUNT_MEMBERS, (chord, len(members), expires)).fetchall()
    run = [(member.index, member.member, member.item) for member in members]
    if so_far < size:
        db.execute(sql.ADD_RUN, (chord, _encode(run), expires))
        return []
    counted = _each_once(db.execute(sql.RUNS, (chord,)).fetchall(), run)
    db.execute(sql.DELETE_RUNS, (chord,))
    if len(counted) < size:
        # Some were delivered twice, and all are not there.
        db.execute(sql.ADD_RUN, (chord, _encode(counted), expires))
        db.execute(sql.RECOUNT, (len(counted), chord))
        return []
    db.execute(sql.DELETE_HEADER, (chord,))
    db.execute(sql.CLOSE_CHORD, (now + THROUGH, chord))
    return set_off(last, [item for _, _, item in sorted(counted)])


def _each_once(stored: Sequence[tuple[bytes]], run: Sequence[_Member]) -> list[_Member]:
    """The members of all runs; of one that is there twice what came first."""
    known: dict[tuple[int, str], _Member] = {}
    for members in (*(_run.decode(packed) for (packed,) in stored), run):
        for member in members:
            known.setdefault(member[:2], member)
    return list(known.values())
