"""Which queues are bound to which exchange, in a file: a table that is made when somebody binds one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from celeriac.message import Binding

_MAKE = """
CREATE TABLE IF NOT EXISTS binding (
    exchange TEXT NOT NULL,
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    queue    TEXT NOT NULL,
    expires  REAL,
    PRIMARY KEY (exchange, kind, key, queue)
) WITHOUT ROWID
"""
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE name = 'binding'"
_BIND = "INSERT OR REPLACE INTO binding VALUES (?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM binding WHERE expires <= ?"
_OF = "SELECT exchange, queue, key, kind FROM binding WHERE exchange = ? AND (expires IS NULL OR expires > ?)"


def bind(db: sqlite3.Connection, bindings: Sequence[Binding], expires: float | None, now: float) -> None:
    db.execute(_MAKE)
    db.execute(_FORGET, (now,))
    db.executemany(_BIND, [(one.exchange, one.kind, one.key, one.queue, expires) for one in bindings])


def bindings(db: sqlite3.Connection, exchange: str, now: float) -> list[Binding]:
    if db.execute(_IS_THERE).fetchone() is None:
        return []
    return [Binding(*row) for row in db.execute(_OF, (exchange, now)).fetchall()]
