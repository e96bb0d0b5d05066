"""One watch of the result store, on which any number of threads, greenlets and coroutines wait."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from celeriac.exceptions import OperationalError, TimeoutError
from celeriac.ports import Ear, ResultStore, Watch

T = TypeVar("T")

#: Gets (task id, payload) of what is stored or arrives; gives what ends the waiting, or None to go on.
Judge = Callable[[str, bytes], "tuple[T] | None"]
Put = Callable[[str, bytes], None]


class Waiting:
    """Waits for results of one store by notification. Belongs to one process: a fork needs its own."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._watch: Watch | None = None
        #: Who wants to hear of which id.
        self._wanted: dict[str, list[Put]] = {}

    def wait(self, ids: Sequence[str], judge: Judge[T], timeout: float | None = None) -> T:
        """Block until `judge` makes something of a result of these ids, at most `timeout` seconds."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        ear = self._store.ear()
        if ear is not None:
            # A broken connection is healed by the watch.
            with contextlib.suppress(OperationalError):
                with ear:
                    verdict = _heard(ear, ids, judge, deadline)
                if verdict is None:
                    raise late(ids, timeout)
                return verdict[0]
        arrived = threading.Event()
        landed: list[tuple[str, bytes]] = []

        def put(task_id: str, payload: bytes) -> None:
            landed.append((task_id, payload))
            arrived.set()

        self.enter(ids, put, timeout)
        try:
            while True:
                # Cleared before reading: what lands after the reading sets it again.
                arrived.clear()
                while landed:
                    verdict = judge(*landed.pop(0))
                    if verdict is not None:
                        return verdict[0]
                remaining = None if timeout is None else max(0.0, deadline - time.monotonic())
                if not arrived.wait(remaining):
                    raise late(ids, timeout)
        finally:
            self.leave(ids, put)

    def enter(self, ids: Sequence[str], put: Put, timeout: float | None = None, every: bool = False) -> None:
        """From now on `put` hears of every result of these ids, first of those that are stored already.

        `timeout`, and whether `every` one must end, is for who does not wait for results but brings them
        about.
        """
        with self._lock:
            for task_id in ids:
                self._wanted.setdefault(task_id, []).append(put)
        try:
            watch = self._opened()
            self._add(watch, ids)
        except BaseException:
            self.leave(ids, put)
            raise
        # A coroutine that was cancelled meanwhile has left before its ids were watched.
        unwanted = self._unwanted(ids)
        if unwanted:
            watch.discard(unwanted)

    def leave(self, ids: Sequence[str], put: Put) -> None:
        """`put` hears of them no longer."""
        with self._lock:
            for task_id in ids:
                puts = self._wanted.get(task_id)
                if puts is not None and put in puts:
                    puts.remove(put)
                    if not puts:
                        del self._wanted[task_id]
        watch, unwanted = self._watch, self._unwanted(ids)
        if watch is None or not unwanted:
            return
        # The result is here or given up: a store that misses the farewell changes nothing for the caller.
        with contextlib.suppress(OperationalError):
            watch.discard(unwanted)
            # Somebody may have come between our look and the discard, whose wake-up must not be lost.
            again = [task_id for task_id in unwanted if task_id in self._wanted]
            if again:
                self._add(watch, again)

    def close(self) -> None:
        """End the watch; may be called twice."""
        with self._opening:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def _unwanted(self, ids: Sequence[str]) -> list[str]:
        with self._lock:
            return [task_id for task_id in ids if task_id not in self._wanted]

    def _add(self, watch: Watch, ids: Sequence[str]) -> None:
        for task_id, payload in zip(ids, watch.add(ids), strict=True):
            if payload is not None:
                self._tell(task_id, payload)

    def _tell(self, task_id: str, payload: bytes) -> None:
        with self._lock:
            puts = tuple(self._wanted.get(task_id, ()))
        for put in puts:
            put(task_id, payload)

    def _opened(self) -> Watch:
        watch = self._watch
        if watch is None:
            with self._opening:
                watch = self._watch
                if watch is None:
                    watch = self._watch = self._store.watch(self._tell)
        return watch


def _heard(ear: Ear, ids: Sequence[str], judge: Judge[T], deadline: float) -> tuple[T] | None:
    """What `judge` makes of what is stored or heard; None if that is nothing until the deadline."""
    for task_id, payload in zip(ids, ear.listen(ids), strict=True):
        verdict = None if payload is None else judge(task_id, payload)
        if verdict is not None:
            return verdict
    while (told := ear.hear(deadline)) is not None:
        verdict = judge(*told)
        if verdict is not None:
            return verdict
    return None


def late(ids: Sequence[str], timeout: float | None) -> TimeoutError:
    """The error of a wait that took too long."""
    return TimeoutError(f"no result of task {ids[0]} within {timeout:g} s; it may still run")
