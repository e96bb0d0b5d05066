"""The results in a file, and the watches that are told of them."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from celeriac.drivers.sqlite import statements as sql
from celeriac.drivers.sqlite.bells import ring
from celeriac.drivers.sqlite.moves import as_json
from celeriac.drivers.sqlite.session import Session
from celeriac.exceptions import OperationalError
from celeriac.message import STREAM_MARK, Result

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: How many results that are too old one transaction removes at most, beyond as many as it saves.
SWEPT_AT_ONCE = 64
#: The same for a beat, which is seldom.
SWEPT_BY_BEAT = 2000
#: Seconds after which a watch looks by itself, in case that who saved was killed between commit and bell.
LONGEST_PAUSE = 5.0
#: The same while the file cannot be read.
PAUSE_IN_TROUBLE = 0.5


class SqliteResults:
    """One user of a file as a result store."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._watches: set[SqliteWatch] = set()

    def save(self, results: Sequence[Result]) -> None:
        if results:
            watchers = self._session.write(lambda db: save_results(db, results, time.time()))
            if watchers:
                with suppress(OperationalError):  # they are stored, and a watch has its net
                    ring_watchers(self._session.write, watchers)

    def update(self, result: Result, keep: Callable[[bytes], bool], owner: str = "") -> bool:
        def work(db: sqlite3.Connection) -> list[str] | None:
            if owner and db.execute(sql.OWNER, (owner,)).fetchone() is None:
                return None
            (stored,) = _load(db, [result.task_id])
            if stored is not None and keep(stored):
                return None
            return save_results(db, [result], time.time())

        watchers = self._session.write(work)
        if watchers:
            with suppress(OperationalError):  # as above
                ring_watchers(self._session.write, watchers)
        return watchers is not None

    def load(self, ids: Sequence[str]) -> list[bytes | None]:
        return self._session.read(lambda db: _load(db, ids))

    def ear(self) -> None:
        return None

    def watch(self, told: Callable[[str, bytes], None]) -> SqliteWatch:
        watch = SqliteWatch(self._session, told, self._watches.discard)
        self._watches.add(watch)
        return watch

    def push(self, task_id: str, first: int, parts: Sequence[bytes], keep: int, ttl: float | None) -> None:
        watchers = self._session.write(lambda db: _push(db, task_id, first, parts, keep, ttl, time.time()))
        if watchers:
            with suppress(OperationalError):  # as above
                ring_watchers(self._session.write, watchers)

    def parts(self, task_id: str, after: int, most: int) -> list[tuple[int, bytes]]:
        asked = (task_id, after, time.time(), most)
        return self._session.read(lambda db: db.execute(sql.PARTS_AFTER, asked).fetchall())

    def forget(self, ids: Sequence[str]) -> None:
        streams = [id.removeprefix(STREAM_MARK) for id in ids if id.startswith(STREAM_MARK)]

        def work(db: sqlite3.Connection) -> None:
            db.execute(sql.FORGET_RESULTS, (as_json(ids),))
            if streams:
                db.execute(sql.FORGET_PARTS, (as_json(streams),))

        self._session.write(work)

    def hurry(self, longest: float) -> None:
        """Nothing to do: it is a file of this machine, and `publish_timeout` ends a wait for its lock."""

    def close(self) -> None:
        for watch in list(self._watches):
            watch.close()
        self._session.close()


class SqliteWatch:
    """Reads on a thread of its own, when its bell rings, what was saved, and tells it."""

    def __init__(
        self,
        session: Session,
        told: Callable[[str, bytes], None],
        closed: Callable[[SqliteWatch], None],
    ) -> None:
        self._session = session
        self._alarm = session.alarm()
        self._told = told
        self._when_closed = closed
        self._closed = False
        self._lock = threading.Lock()
        self._ids: set[str] = set()
        self._thread = threading.Thread(target=self._tell_all, name="celeriac-sqlite-watch", daemon=True)
        self._thread.start()

    def add(self, ids: Sequence[str]) -> list[bytes | None]:
        if self._closed:
            raise OperationalError("This watch was closed before")

        def work(db: sqlite3.Connection) -> list[bytes | None]:
            db.executemany(sql.WATCH, [(id, self._alarm.address) for id in ids])
            return _load(db, ids)

        with self._lock:
            self._ids.update(ids)
        return self._session.write(work) if ids else []

    def discard(self, ids: Sequence[str]) -> None:
        with self._lock:
            known = self._ids.intersection(ids)
            self._ids -= known
        if known:
            self._session.write(
                lambda db: db.execute(sql.UNWATCH, (self._alarm.address, as_json(list(known))))
            )

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._alarm.wake()
            with suppress(OperationalError):  # whoever rings next finds nobody, and removes us
                self._session.write(lambda db: db.execute(sql.DELETE_WATCHER, (self._alarm.address,)))
            self._when_closed(self)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _tell_all(self) -> None:
        pause = LONGEST_PAUSE
        known_until = time.monotonic() + LONGEST_PAUSE
        while not self._alarm.wait(pause):
            try:
                if time.monotonic() >= known_until:
                    self._be_known()
                    known_until = time.monotonic() + LONGEST_PAUSE
                for task_id, payload in self._session.write(self._take_news):
                    self._tell(task_id, payload)
                pause = LONGEST_PAUSE
            except OperationalError as error:
                if not self._closed and pause != PAUSE_IN_TROUBLE:  # once, until it is over
                    logger.warning("A watch of results could not look and will try again: %s", error)
                pause = PAUSE_IN_TROUBLE

    def _take_news(self, db: sqlite3.Connection) -> list[tuple[str, bytes]]:
        news = db.execute(sql.FRESH_RESULTS, (self._alarm.address, time.time())).fetchall()
        if news:
            db.execute(sql.MARK_TOLD, (self._alarm.address,))
        return news

    def _be_known(self) -> None:
        """Somebody who could not reach us may have removed us, or the whole file."""
        with self._lock:
            ids = list(self._ids)

        def work(db: sqlite3.Connection) -> None:
            if db.execute(sql.COUNT_WATCHED, (self._alarm.address,)).fetchone()[0] < len(ids):
                db.executemany(sql.WATCH_AGAIN, [(id, self._alarm.address) for id in ids])

        if ids:
            self._session.write(work)

    def _tell(self, task_id: str, payload: bytes) -> None:
        if self._closed or task_id not in self._ids:
            return
        try:
            self._told(task_id, payload)
        except Exception:
            logger.exception("Telling of the result of %s failed; the watch goes on", task_id)


# --- in a transaction of the caller -----------------------------------------------------------------------


def save_results(db: sqlite3.Connection, results: Sequence[Result], now: float) -> list[str]:
    """Store results; returns the addresses of those who watch for them, to be rung after the transaction."""
    db.executemany(
        sql.SAVE_RESULT, [(r.task_id, r.payload, None if r.ttl is None else now + r.ttl) for r in results]
    )
    db.execute(sql.DELETE_EXPIRED, (now, SWEPT_AT_ONCE + len(results)))
    if db.execute(sql.ANYBODY_WATCHES).fetchone() is None:
        return []
    watchers = db.execute(sql.MARK_FRESH, (as_json([r.task_id for r in results]),)).fetchall()
    return list({address for (address,) in watchers})


def sweep(db: sqlite3.Connection, now: float) -> None:
    """Remove some of the results that are too old."""
    db.execute(sql.DELETE_EXPIRED, (now, SWEPT_BY_BEAT))
    db.execute(sql.DELETE_OLD_PARTS, (now, SWEPT_BY_BEAT))


def ring_watchers(
    write: Callable[[Callable[[sqlite3.Connection], Any]], Any], addresses: Sequence[str]
) -> None:
    """Ring them, and forget those that were killed."""
    nobody = ring(addresses)
    if nobody:
        write(lambda db: db.executemany(sql.DELETE_WATCHER, [(address,) for address in nobody]))


def _push(
    db: sqlite3.Connection,
    task_id: str,
    first: int,
    parts: Sequence[bytes],
    keep: int,
    ttl: float | None,
    now: float,
) -> list[str]:
    stream = STREAM_MARK + task_id
    (stored,) = _load(db, [stream])
    last = int(stored or 0)
    expires = None if ttl is None else now + ttl
    news = [(task_id, n, part, expires) for n, part in enumerate(parts, first) if n > last]
    if not news:
        return []
    if stored is None:
        # Its time was over, or it was forgotten: what no beat has removed yet has the same numbers.
        db.execute(sql.FORGET_PARTS, (as_json([task_id]),))
    newest = news[-1][1]
    db.execute(sql.KEEP_PARTS, (expires, task_id))
    db.executemany(sql.ADD_PART, news)
    db.execute(sql.DELETE_PARTS_TO, (task_id, newest - keep))
    return save_results(db, [Result(stream, b"%d" % newest, ttl)], now)


def _load(db: sqlite3.Connection, ids: Sequence[str]) -> list[bytes | None]:
    found = dict(db.execute(sql.LOAD_RESULTS, (as_json(ids), time.time())).fetchall())
    return [found.get(id) for id in ids]
