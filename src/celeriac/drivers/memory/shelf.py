"""Where a memory store keeps results, and who watches for them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from threading import Lock
from typing import Protocol

from celeriac.message import STREAM_MARK, Result


class Watcher(Protocol):
    """One who is told of results."""

    def hear(self, task_id: str, payload: bytes) -> None: ...


class Shelf:
    """The results of one name, and who watches for them; each method is one atomic step."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._lock = Lock()
        #: By id: the payload, and the tick until which it is kept.
        self._kept: dict[str, tuple[bytes, float | None]] = {}
        self._endings: list[tuple[float, str]] = []
        self._watches: dict[str, list[Watcher]] = {}
        #: By the mark and id of a stream: its parts with their numbers.
        self._streams: dict[str, deque[tuple[int, bytes]]] = {}

    def save(self, results: Sequence[Result]) -> None:
        with self._lock:
            self._drop_ended()
            for result in results:
                self._save(result)

    def update(self, result: Result, keep: Callable[[bytes], bool]) -> bool:
        with self._lock:
            self._drop_ended()
            stored = self._kept.get(result.task_id)
            if stored is not None and keep(stored[0]):
                return False
            self._save(result)
            return True

    def push(self, task_id: str, first: int, parts: Sequence[bytes], keep: int, ttl: float | None) -> None:
        stream = STREAM_MARK + task_id
        with self._lock:
            self._drop_ended()
            last = int(self._kept[stream][0]) if stream in self._kept else 0
            numbered = [(number, part) for number, part in enumerate(parts, first) if number > last]
            if numbered:
                kept = self._streams.get(stream, ())
                self._streams[stream] = deque((*kept, *numbered), maxlen=keep)
                self._save(Result(stream, b"%d" % numbered[-1][0], ttl))

    def parts(self, task_id: str, after: int, most: int) -> list[tuple[int, bytes]]:
        with self._lock:
            self._drop_ended()
            kept = self._streams.get(STREAM_MARK + task_id, ())
            return list(islice((part for part in kept if part[0] > after), most))

    def load(self, ids: Sequence[str], watch: Watcher | None = None) -> list[bytes | None]:
        """What is stored; from the same step on `watch` hears what is saved."""
        with self._lock:
            self._drop_ended()
            if watch is not None:
                for task_id in ids:
                    watches = self._watches.setdefault(task_id, [])
                    if watch not in watches:
                        watches.append(watch)
            return [self._kept[task_id][0] if task_id in self._kept else None for task_id in ids]

    def unwatch(self, ids: Sequence[str], watch: Watcher) -> None:
        with self._lock:
            for task_id in ids:
                watches = self._watches.get(task_id, [])
                if watch in watches:
                    watches.remove(watch)
                if not watches:
                    self._watches.pop(task_id, None)

    def forget(self, ids: Sequence[str]) -> None:
        with self._lock:
            for task_id in ids:
                self._kept.pop(task_id, None)
                self._streams.pop(task_id, None)

    def _save(self, result: Result) -> None:
        until = None if result.ttl is None else self._ticks() + result.ttl
        self._kept[result.task_id] = (result.payload, until)
        if until is not None:
            heapq.heappush(self._endings, (until, result.task_id))
        for watch in self._watches.get(result.task_id, ()):
            watch.hear(result.task_id, result.payload)

    def _drop_ended(self) -> None:
        now = self._ticks()
        while self._endings and self._endings[0][0] <= now:
            until, task_id = heapq.heappop(self._endings)
            # A later save of the same id has another ending.
            if self._kept.get(task_id, (b"", None))[1] == until:
                del self._kept[task_id]
                self._streams.pop(task_id, None)
