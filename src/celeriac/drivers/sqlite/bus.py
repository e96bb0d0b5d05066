"""The bus in a file: each listener has a row, and what was said to it waits in rows until it reads them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec

from celeriac.drivers.sqlite import statements as sql
from celeriac.drivers.sqlite.bells import ring
from celeriac.drivers.sqlite.moves import as_json
from celeriac.drivers.sqlite.session import Session
from celeriac.drivers.topics import matches
from celeriac.exceptions import OperationalError

T = TypeVar("T")

#: Seconds after which a listener that reads no more is forgotten with all that waits for it, and seconds
#: between two signs of life.
OLD, SIGN_OF_LIFE = 60.0, 20.0
#: Seconds after which a wait looks by itself, in case that who spoke was killed between commit and bell.
LONGEST_PAUSE = 5.0
#: How much is read in one transaction.
MOST_HEARD = 1000


class SqliteBus:
    """See `celeriac.ports.Bus`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def say(self, topic: str, payload: bytes) -> int:
        def who(db: sqlite3.Connection) -> dict[str, list[int]]:
            hearing: dict[str, list[int]] = {}
            for id, address, topics in db.execute(sql.LISTENERS, (time.monotonic(),)).fetchall():
                if any(matches(topic, wanted) for wanted in msgspec.json.decode(topics)):
                    hearing.setdefault(address, []).append(id)
            return hearing

        def work(db: sqlite3.Connection) -> dict[str, list[int]]:
            hearing = who(db)
            rows = [(id, topic, payload) for ids in hearing.values() for id in ids]
            db.executemany(sql.ADD_HEARD, rows)
            return hearing

        if not self._session.read(who):
            return 0  # nothing is written where nobody listens
        hearing = self._session.write(work)
        dead = [id for address in ring(hearing) for id in hearing.pop(address)]
        if dead:
            with suppress(OperationalError):  # somebody else will find them, or their time ends
                self._session.write(lambda db: forget(db, dead))
        return sum(map(len, hearing.values()))

    def listen(self, topics: Sequence[str]) -> SqliteListening:
        return SqliteListening(self._session, topics)

    def open_box(self, box: str) -> SqliteListening:
        return self.listen([box])

    def answer(self, box: str, payload: bytes, keep: float) -> None:
        self.say(box, payload)

    def hurry(self, longest: float) -> None:
        """Nothing to do: it is a file of this machine, and `publish_timeout` ends a wait for its lock."""

    def close(self) -> None:
        self._session.close()


class SqliteListening:
    """See `celeriac.ports.Listening`."""

    def __init__(self, session: Session, topics: Sequence[str]) -> None:
        self._session = session
        self._alarm = session.alarm()
        self._topics = as_json(list(topics))
        self._id = 0
        self._sign_at = 0.0
        self._closed = False
        self._be_known()

    def fileno(self) -> int | None:
        return self._alarm.fileno()

    def hear(self, wait: float = 0.0) -> list[tuple[str, bytes]]:
        if self._closed:
            raise OperationalError("This was closed before")
        deadline = time.monotonic() + wait
        self._alarm.wait(0.0)
        while True:
            if time.monotonic() >= self._sign_at:
                self._be_known()
            heard = self._take()
            left = deadline - time.monotonic()
            if heard or left <= 0:
                return heard
            self._alarm.wait(min(left, LONGEST_PAUSE))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with suppress(OperationalError):  # who speaks next finds nobody, and removes us
                self._session.write(lambda db: forget(db, [self._id]))

    def _take(self) -> list[tuple[str, bytes]]:
        rows = self._session.read(lambda db: db.execute(sql.HEARD, (self._id, MOST_HEARD)).fetchall())
        if rows:
            self._session.write(lambda db: db.execute(sql.DELETE_HEARD, (self._id, rows[-1][0])))
        return [(topic, payload) for _, topic, payload in rows]

    def _be_known(self) -> None:
        """Say that we live; who could not reach us may have removed us, or the whole file."""
        now = time.monotonic()

        def work(db: sqlite3.Connection) -> int:
            old = [id for (id,) in db.execute(sql.OLD_LISTENERS, (now,)).fetchall()]
            if old:
                forget(db, old)
            if self._id and db.execute(sql.RENEW_LISTENER, (now + OLD, self._id)).rowcount:
                return self._id
            return int(
                db.execute(sql.ADD_LISTENER, (self._alarm.address, self._topics, now + OLD)).lastrowid or 0
            )

        self._id = self._session.write(work)
        self._sign_at = now + SIGN_OF_LIFE


def forget(db: sqlite3.Connection, listeners: Sequence[int]) -> None:
    """Them, and what waits for them; inside a transaction of the caller."""
    db.execute(sql.DELETE_LISTENERS, (as_json(listeners),))
    db.execute(sql.DELETE_ALL_HEARD, (as_json(listeners),))
