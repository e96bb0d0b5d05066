"""The moves of messages between their places; each runs inside a transaction of its caller."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from celeriac.drivers.counting import is_alone
from celeriac.drivers.sqlite import chords
from celeriac.drivers.sqlite import statements as sql
from celeriac.message import (
    LEFT_BEGUN,
    MOST_DEATHS,
    Claim,
    Count,
    Fate,
    Message,
    Outcome,
    Result,
    priority_step,
)

#: How many delayed messages one transaction makes ready at most, so that it stays short.
DUE_AT_ONCE = 256
#: Numbers are reserved in steps, so that a turn seldom writes its owner's row. An owner that goes on over
#: another connection starts above what was reserved and leaves a gap, but no number ever comes twice.
NUMBERS_AT_ONCE = 1000

#: How many messages became ready in a transaction, by queue: for so many somebody may have to be woken.
Fresh = Counter[str]


def add(db: sqlite3.Connection, messages: Iterable[Message], now: float, fresh: Fresh) -> None:
    """To the tail of their queues, or delayed."""
    rows, ready, delayed = [], [], []
    for id, message in enumerate(messages, _next_id(db)):
        if message.members:
            chords.tell(db, (message,), now)
        queue, step = message.queue, priority_step(message.priority)
        rows.append((id, queue, step, message.payload))
        if message.eta is None or message.eta <= now:
            ready.append((queue, step, id, id))
            fresh[queue] += 1
        else:
            delayed.append((message.eta, id, queue))
    db.executemany(sql.ADD_MESSAGE, rows)
    if ready:
        db.executemany(sql.ADD_READY, ready)
    if delayed:
        db.executemany(sql.ADD_DELAYED, delayed)


def promote(db: sqlite3.Connection, now: float, fresh: Fresh) -> None:
    """What is due, of any queue, to the tail of its queue."""
    due = db.execute(sql.DUE, (now, DUE_AT_ONCE)).fetchall()
    if not due:
        return
    first = _next_id(db)
    # To the tail is to be the youngest, so they get new ids.
    db.executemany(sql.RENUMBER, [(first + n, message) for n, (_, message, _, _) in enumerate(due)])
    db.executemany(
        sql.ADD_READY, [(queue, step, first + n, first + n) for n, (_, _, queue, step) in enumerate(due)]
    )
    db.execute(sql.DELETE_DUE, due[-1][:2])
    fresh.update(queue for _, _, queue, _ in due)


def claim(
    db: sqlite3.Connection, owner: int, queues: Sequence[str], want: int, last: int
) -> tuple[list[Claim], str]:
    """Up to `want` claims, numbered from `last` + 1, of one queue after the other; and the last that gave."""
    claims: list[Claim] = []
    gave = ""
    for queue in queues:
        rows = db.execute(sql.FIRST_READY, (queue, want - len(claims))).fetchall()
        if not rows:
            continue
        gave = queue
        first = last + len(claims) + 1
        db.execute(sql.DELETE_FIRST_READY, (queue, rows[-1][0], rows[-1][1]))
        db.executemany(sql.ADD_CLAIM, [(owner, first + n, row[2]) for n, row in enumerate(rows)])
        claims += [
            Claim(first + n, queue, payload, deliveries, begun != 0, _deaths(deaths))
            for n, (_, _, _, payload, deliveries, begun, deaths) in enumerate(rows)
        ]
        if len(claims) >= want:
            break
    return claims, gave


def seize(db: sqlite3.Connection, owner: int, queue: str, most: int, *, every: bool) -> int:
    """Take messages out of a queue: for the owner, or (but for `every`) for nobody if nothing comes after."""
    rows = db.execute(sql.FIRST_READY, (queue, most)).fetchall()
    ready = [(row[2], row[3]) for row in rows]
    delayed = db.execute(sql.FIRST_DELAYED, (queue, most - len(ready))).fetchall()
    if ready:
        last = rows[-1]
        db.execute(sql.DELETE_FIRST_READY, (queue, last[0], last[1]))
    db.execute(sql.DELETE_DELAYED, (as_json([message for message, _ in delayed]),))
    taken = ready + delayed
    kept = [message for message, payload in taken if every or not is_alone(payload)]
    gone = {message for message, _ in taken}.difference(kept)
    db.execute(sql.DELETE_MESSAGES, (as_json(list(gone)),))
    held = len(db.execute(sql.ALL_HELD, (owner,)).fetchall())
    db.executemany(sql.ADD_CLAIM, [(owner, number, message) for number, message in enumerate(kept, held + 1)])
    reserve(db, owner, held + len(kept), 0)
    return len(taken)


def reserve(db: sqlite3.Connection, owner: int, last: int, reserved: int) -> None:
    """See to it that the numbers up to `last` are reserved."""
    if last > reserved:
        db.execute(sql.RESERVE_NUMBERS, (last + NUMBERS_AT_ONCE, owner))


def claims_above(db: sqlite3.Connection, owner: int, number: int) -> list[Claim]:
    """What an owner holds, by number."""
    rows = db.execute(sql.CLAIMS_ABOVE, (owner, number)).fetchall()
    return [
        Claim(n, queue, payload, deliveries, begun != 0, _deaths(deaths))
        for n, queue, payload, deliveries, begun, deaths in rows
    ]


def settle(
    db: sqlite3.Connection, owner: int, outcomes: Sequence[Outcome], now: float, fresh: Fresh
) -> list[Result]:
    """What became of claims; returns the results to save. The outcome of what is not held settles nothing."""
    held = dict(db.execute(sql.HELD, (owner, as_json([o.number for o in outcomes]))).fetchall())
    results: list[Result] = []
    follow_ups: list[Message] = []
    counts: list[Count] = []
    numbers: list[int] = []
    done: list[int] = []
    lost: list[tuple[int, str]] = []
    back: list[tuple[int, int]] = []
    for outcome in outcomes:
        message = held.get(outcome.number)
        if message is None:
            continue
        if outcome.fate is Fate.BEGUN:
            if not db.execute(sql.BEGIN_ONCE, (message,)).rowcount:
                continue
        else:
            del held[outcome.number]
            numbers.append(outcome.number)
        if outcome.result is not None:
            results.append(outcome.result)
        results += outcome.also
        follow_ups += outcome.follow_ups
        counts += outcome.counts
        match outcome.fate:
            case Fate.ACKED:
                done.append(message)
            case Fate.GIVEN_BACK:
                db.execute(sql.UNBEGIN, (message,))
                back.append((outcome.number, message))
            case Fate.LOST:
                lost.append((message, outcome.reason))
                back.append((outcome.number, message))
            case Fate.DEFERRED:
                db.execute(sql.DEFER, (outcome.eta, message))
            case Fate.DEAD:
                db.execute(sql.ADD_DEAD, (message, outcome.id, outcome.reason, now))
    follow_ups += chords.count(db, counts, now)
    if numbers:
        db.execute(sql.DELETE_CLAIMS, (owner, as_json(numbers)))
    for message, how in lost:
        _count_death(db, message, how)
    if back:
        put_back(db, back, fresh)
    if follow_ups:
        # Before the messages that caused them go, so that no id is given to a second message in one step.
        add(db, follow_ups, now, fresh)
    if done:
        db.execute(sql.DELETE_MESSAGES, (as_json(done),))
    return results


def part(db: sqlite3.Connection, owner: int, name: str, now: float, fresh: Fresh) -> None:
    """What an owner holds when it leaves: back, but what it had begun and must not run again is dead."""
    held = db.execute(sql.ALL_HELD, (owner,)).fetchall()
    put_back(db, [(number, message) for number, message, begun in held if not begun], fresh)
    for number, message, begun in held:
        if begun:
            db.execute(sql.ADD_DEAD, (message, f"{name}:{number}", LEFT_BEGUN, now))


def put_back(db: sqlite3.Connection, numbered: Iterable[tuple[int, int]], fresh: Fresh) -> None:
    """To the head of their queues, so that they come again in the order of their numbers."""
    for _, message in sorted(numbered, reverse=True):
        ((queue,),) = db.execute(sql.PUT_FIRST, (message,)).fetchall()
        fresh[queue] += 1


def replay(db: sqlite3.Connection, names: Sequence[str], fresh: Fresh) -> int:
    """Dead letters to the tail of their queues, as new."""
    letters = db.execute(sql.DEAD_OF, (as_json(names),)).fetchall()
    for id, (place, message, queue, step) in enumerate(letters, _next_id(db)):
        db.execute(sql.RENEW, (id, message))
        db.execute(sql.ADD_READY, (queue, step, id, id))
        db.execute(sql.DELETE_DEAD, (place,))
        fresh[queue] += 1
    return len(letters)


def as_json(values: Sequence[object]) -> str:
    """A list as a statement takes it."""
    return msgspec.json.encode(values).decode()


def _count_death(db: sqlite3.Connection, message: int, how: str) -> None:
    deaths = _deaths(db.execute(sql.DEATHS, (message,)).fetchone()[0])
    if how:
        deaths = (*deaths, how)[-MOST_DEATHS:]
    db.execute(sql.COUNT_DELIVERY, (as_json(deaths), message))


def _deaths(stored: str | None) -> tuple[str, ...]:
    return msgspec.json.decode(stored, type=tuple[str, ...]) if stored else ()


def _next_id(db: sqlite3.Connection) -> int:
    return (db.execute(sql.LAST_MESSAGE).fetchone()[0] or 0) + 1
