"""Who waits for which queue, and who of them must be woken; each runs inside a transaction of its caller.

Two things hold after every transaction: nobody sits on the bench for a queue with a message that nobody was
woken for; and if a delayed message falls due while somebody sits there, one of them at least looks in time.
Who is woken leaves the bench in the same transaction, so no two ring the same bell for two messages. Who is
killed breaks both, until somebody adopts its owner; the others that know of the delayed message look a little
later.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence

from celeriac.drivers.sqlite import statements as sql

#: Seconds by which an alarm may be late before others stop relying on it.
LATE = 1.0
#: Seconds past the due time after which those look who have no alarm: the net for one that was killed.
SECOND_LOOK = 0.5
#: Seconds after which rows of processes that were killed are removed.
OLD = 60.0

#: Whom to ring, and for which queue.
Call = tuple[str, str]


def sit(
    db: sqlite3.Connection,
    address: str,
    queues: Sequence[str],
    until: float,
    monotonic: float,
    now: float,
    *,
    alarms: bool,
) -> float | None:
    """Wait for these queues; returns the time (epoch) at which this one must look by itself, if it must.

    Without `alarms` it takes no such duty now: `rouse` gives it to the next.
    """
    alarm = look = None
    row = db.execute(sql.NEXT_ETA).fetchone() if alarms else None
    if row is not None and monotonic + (row[0] - now) < until:
        eta = row[0]
        if db.execute(sql.ALARM_IS_SET, (now - LATE, eta, address)).fetchone() is None:
            alarm = look = eta
        else:
            look = max(eta, now) + SECOND_LOOK
    if db.execute(sql.WAITS_SO, (address, until, alarm)).fetchone() is None:
        db.execute(sql.DELETE_WAITER, (address,))
        db.executemany(sql.ADD_WAITER, [(queue, address, until, alarm) for queue in queues])
    return look


def leave(db: sqlite3.Connection, address: str) -> None:
    """Wait no more."""
    db.execute(sql.DELETE_WAITER, (address,))


def rouse(
    db: sqlite3.Connection, fresh: Mapping[str, int], left: Iterable[str], monotonic: float, now: float
) -> list[Call]:
    """Whom to ring after this transaction: one for each new message, one for what was `left` in a queue."""
    if db.execute(sql.ANYBODY_WAITS).fetchone() is None:
        return []
    calls: list[Call] = []
    for queue in {*fresh, *left}:
        # What was claimed again in the same transaction needs nobody.
        ((ready,),) = db.execute(sql.COUNT_READY_TO, (queue, max(fresh.get(queue, 0), 1))).fetchall()
        if ready:
            calls += _take(db, db.execute(sql.WAITERS_FOR, (queue, monotonic, ready)).fetchall(), queue)
    row = db.execute(sql.NEXT_ETA).fetchone()
    if row is not None and db.execute(sql.ALARM_IS_SET, (now - LATE, row[0], "")).fetchone() is None:
        due = monotonic + (row[0] - now)
        for address, queue in db.execute(sql.WAITS_BEYOND, (max(due, monotonic),)).fetchall():
            calls += _take(db, [(address,)], queue)
    return calls


def tidy(db: sqlite3.Connection) -> None:
    """Forget who was killed while it waited."""
    db.execute(sql.DELETE_OLD_WAITERS, (time.monotonic() - OLD,))


def _take(db: sqlite3.Connection, rows: list[tuple[str]], queue: str) -> list[Call]:
    for (address,) in rows:
        db.execute(sql.DELETE_WAITER, (address,))
    return [(address, queue) for (address,) in rows]
