"""The results of a memory store, and the watches that are told of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread, current_thread

from celeriac.drivers.memory.shelf import Shelf
from celeriac.drivers.memory.store import MemoryStore
from celeriac.exceptions import OperationalError
from celeriac.message import Result

logger = logging.getLogger(__name__)


class MemoryResults:
    """One user of the stored results; they outlive it."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._shelf = store.results
        self._watches: list[MemoryWatch] = []
        self._closed = False

    def save(self, results: Sequence[Result]) -> None:
        self._open().save(results)

    def update(self, result: Result, keep: Callable[[bytes], bool], owner: str = "") -> bool:
        shelf = self._open()
        with self._store.lock:
            return (not owner or self._store.knows(owner)) and shelf.update(result, keep)

    def load(self, ids: Sequence[str]) -> list[bytes | None]:
        return self._open().load(ids)

    def ear(self) -> None:
        return None

    def watch(self, told: Callable[[str, bytes], None]) -> MemoryWatch:
        watch = MemoryWatch(self._open(), told)
        self._watches.append(watch)
        return watch

    def push(self, task_id: str, first: int, parts: Sequence[bytes], keep: int, ttl: float | None) -> None:
        self._open().push(task_id, first, parts, keep, ttl)

    def parts(self, task_id: str, after: int, most: int) -> list[tuple[int, bytes]]:
        return self._open().parts(task_id, after, most)

    def hurry(self, longest: float) -> None:
        """Nothing to do: nothing here waits for somebody else."""

    def forget(self, ids: Sequence[str]) -> None:
        self._open().forget(ids)

    def close(self) -> None:
        self._closed = True
        while self._watches:
            self._watches.pop().close()

    def _open(self) -> Shelf:
        if self._closed:
            raise OperationalError("This memory:// result store was closed before")
        return self._shelf


class MemoryWatch:
    """Tells of results on a thread of its own, so that who saves never waits for who listens."""

    def __init__(self, shelf: Shelf, told: Callable[[str, bytes], None]) -> None:
        self._shelf = shelf
        self._told = told
        self._ids: set[str] = set()
        self._news: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()
        self._closed = False
        self._thread = Thread(target=self._tell_all, name="celeriac-memory-watch", daemon=True)
        self._thread.start()

    def add(self, ids: Sequence[str]) -> list[bytes | None]:
        if self._closed:
            raise OperationalError("This watch was closed before")
        self._ids.update(ids)
        return self._shelf.load(ids, watch=self)

    def discard(self, ids: Sequence[str]) -> None:
        self._ids.difference_update(ids)
        self._shelf.unwatch(ids, self)

    def hear(self, task_id: str, payload: bytes) -> None:
        self._news.put((task_id, payload))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.discard(list(self._ids))
            self._news.put(None)
        if self._thread is not current_thread():
            self._thread.join()

    def _tell_all(self) -> None:
        while (news := self._news.get()) is not None:
            task_id, payload = news
            if task_id in self._ids:
                try:
                    self._told(task_id, payload)
                except Exception:
                    logger.exception("Telling of the result of %s failed; the watch goes on", task_id)
