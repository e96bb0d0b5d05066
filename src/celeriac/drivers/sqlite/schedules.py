"""Plans in the file: one transaction sends what is due and moves its plan on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import TypeVar

import msgspec

from celeriac.drivers.sqlite import moves
from celeriac.drivers.sqlite.broker import SqliteBroker
from celeriac.drivers.sqlite.moves import Fresh, as_json
from celeriac.exceptions import Fenced
from celeriac.planned import HISTORY, Change, Plan, Tick, changed

T = TypeVar("T")

# family -> scheduler, term, whether its lease runs (at ?2), since when
_LEADER = """
SELECT scheduler, term, renewed <= ?2 AND ?2 < renewed + lease, ?2 - renewed
FROM plan_leader WHERE family = ?1
"""
# family, scheduler, term, monotonic now, lease ->
_LEAD = "INSERT OR REPLACE INTO plan_leader (family, scheduler, term, renewed, lease) VALUES (?, ?, ?, ?, ?)"
# family, scheduler -> ; its lease is over
_RESIGN = "UPDATE plan_leader SET lease = 0 WHERE family = ? AND scheduler = ?"
# family, limit -> the first due
_DUE = """
SELECT name, spec, occurrence, due, runs, last, last_id, paused, version
FROM plan WHERE family = ? AND due > 0 ORDER BY due, name LIMIT ?
"""
# family -> all
_ALL = """
SELECT name, spec, occurrence, due, runs, last, last_id, paused, version
FROM plan WHERE family = ? ORDER BY name
"""
# family, names (JSON) -> these
_SOME = """
SELECT name, spec, occurrence, due, runs, last, last_id, paused, version
FROM plan WHERE family = ? AND name IN (SELECT value FROM json_each(?)) ORDER BY name
"""
_VERSION = "SELECT version FROM plan WHERE family = ? AND name = ?"
# family and the columns ->
_PUT = """
INSERT OR REPLACE INTO plan (family, name, spec, occurrence, due, runs, last, last_id, paused, version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_REMOVE = "DELETE FROM plan WHERE family = ? AND name IN (SELECT value FROM json_each(?))"
_FORGET = "DELETE FROM plan_note WHERE family = ? AND name IN (SELECT value FROM json_each(?))"
_NOTE = "INSERT INTO plan_note (family, name, note) VALUES (?, ?, ?)"
_ARE_THERE = "SELECT 1 FROM sqlite_master WHERE name = 'plan_leader'"
_NOTES = "SELECT note FROM plan_note WHERE family = ? AND name = ? ORDER BY id DESC LIMIT ?"
_TRIM = """
DELETE FROM plan_note WHERE family = ?1 AND name = ?2 AND id <= (
    SELECT id FROM plan_note WHERE family = ?1 AND name = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)
"""


class SqliteSchedules:
    """See `celeriac.ports.ScheduleStore`. The broker is its own, and closed with it."""

    def __init__(self, broker: SqliteBroker, group: str) -> None:
        self._broker = broker
        self._group = group
        broker.write(_make_tables)

    def tick(self, scheduler: str, lease: float, now: int, most: int) -> Tick:
        def work(db: sqlite3.Connection) -> Tick:
            _make_tables(db)
            monotonic = time.monotonic()
            row = db.execute(_LEADER, (self._group, monotonic)).fetchone()
            leader, term, runs, age = row or ("", 0, False, 0.0)
            if runs and leader != scheduler:
                return Tick(0, [])
            if not runs:
                # By the clock too, so that a new file repeats no term.
                term = max(term + 1, time.time_ns() // 1_000_000)
            # Not with every tick: one that writes nothing is cheap.
            if not runs or age > lease / 8:
                db.execute(_LEAD, (self._group, scheduler, term, monotonic, lease))
            plans = [_plan(row) for row in db.execute(_DUE, (self._group, most + 1)).fetchall()]
            due = [plan for plan in plans[:most] if plan.due <= now]
            return Tick(term, due, plans[len(due)].due if len(plans) > len(due) else 0)

        return self._broker.write(work)

    def write(self, changes: Sequence[Change], scheduler: str = "", term: int = 0) -> list[bool]:
        def work(db: sqlite3.Connection, fresh: Fresh) -> list[bool]:
            _make_tables(db)
            if scheduler:
                row = db.execute(_LEADER, (self._group, time.monotonic())).fetchone()
                if row is None or tuple(row[:3]) != (scheduler, term, True):
                    raise Fenced(scheduler)
            now = time.time()
            return [self._make(db, change, now, fresh) for change in changes]

        return self._broker.move(work)

    def remove(self, names: Sequence[str]) -> int:
        def work(db: sqlite3.Connection) -> int:
            _make_tables(db)
            db.execute(_FORGET, (self._group, as_json(names)))
            return db.execute(_REMOVE, (self._group, as_json(names))).rowcount

        return self._broker.write(work)

    def plans(self, names: Sequence[str] | None = None) -> list[Plan]:
        query = (_ALL, (self._group,)) if names is None else (_SOME, (self._group, as_json(names)))
        return self._read(lambda db: [_plan(row) for row in db.execute(*query).fetchall()])

    def history(self, name: str, n: int) -> list[bytes]:
        query = (_NOTES, (self._group, name, max(n, 0)))
        return self._read(lambda db: [note for (note,) in db.execute(*query).fetchall()])

    def leader(self) -> str:
        row = self._read(lambda db: db.execute(_LEADER, (self._group, time.monotonic())).fetchone())
        return row[0] if row is not None and row[2] else ""

    def resign(self, scheduler: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            _make_tables(db)
            db.execute(_RESIGN, (self._group, scheduler))

        self._broker.write(work)

    def close(self) -> None:
        self._broker.close()

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if not self._broker.read(_are_there):
            self._broker.write(_make_tables)
        return self._broker.read(work)

    def _make(self, db: sqlite3.Connection, change: Change, now: float, fresh: Fresh) -> bool:
        plan = change.plan
        row = db.execute(_VERSION, (self._group, plan.name)).fetchone()
        if (row[0] if row is not None else 0) != plan.version:
            return False
        db.execute(_PUT, (self._group, *msgspec.structs.astuple(changed(plan))))
        if change.messages:
            moves.add(db, change.messages, now, fresh)
        for note in change.notes:
            db.execute(_NOTE, (self._group, plan.name, note))
        if change.notes:
            db.execute(_TRIM, (self._group, plan.name, HISTORY))
        return True


def _are_there(db: sqlite3.Connection) -> bool:
    return db.execute(_ARE_THERE).fetchone() is not None


def _make_tables(db: sqlite3.Connection) -> None:
    """Unless they are there. Asked each time: somebody may have removed the file, and this is another one."""
    if _are_there(db):
        return
    text = resources.files(__package__).joinpath("schedules.sql").read_text(encoding="utf-8")
    for statement in text.split(";\n"):
        if statement.strip():
            db.execute(statement)


def _plan(row: tuple[object, ...]) -> Plan:
    name, spec, occurrence, due, runs, last, last_id, paused, version = row
    return Plan(name, spec, occurrence, due, runs, last, last_id, bool(paused), version)  # type: ignore[arg-type]
