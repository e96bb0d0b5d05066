"""One user of a file: how long it waits for others, how it is rung, and that it closes what it opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from celeriac.drivers.sqlite.bells import Alarm, open_alarm
from celeriac.drivers.sqlite.place import Place
from celeriac.drivers.sqlite.store import Store
from celeriac.exceptions import OperationalError

T = TypeVar("T")


class Session:
    """What a broker, a result store and a bus have in common. The store is given back when it is closed."""

    def __init__(
        self,
        store: Store,
        patience: float,
        open_alarm: Callable[[str, Callable[[], object]], Alarm] = open_alarm,
    ) -> None:
        self._store = store
        #: Seconds that a transaction waits for other processes.
        self._patience = patience
        self._open_alarm = open_alarm
        self.is_open = True

    @staticmethod
    def opened(place: Place, patience: float) -> Session:
        """One more user of this place."""
        return Session(Store.opened(place, patience), patience)

    @property
    def place(self) -> Place:
        return self._store.place

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work in one transaction that is alone in the file; all of it happens or none."""
        self._must_be_open()
        return self._store.write(work, self._patience)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work that changes nothing, in one snapshot."""
        self._must_be_open()
        return self._store.read(work, self._patience)

    def alarm(self) -> Alarm:
        """A new one, for who waits until another process has changed something."""
        self._must_be_open()
        return self._open_alarm(self.place.path, lambda: self._store.version(self._patience))

    def close(self) -> None:
        """May be called twice."""
        if self.is_open:
            self.is_open = False
            self._store.release()

    def _must_be_open(self) -> None:
        if not self.is_open:
            raise OperationalError(f"This user of {self.place} was closed before: open it anew")
