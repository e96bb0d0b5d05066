"""Whether anything can still come of an id that somebody waits for: a look through all that waits or runs."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import TypeVar

from celeriac import aio
from celeriac.current import App
from celeriac.drivers.counting import is_alone
from celeriac.exceptions import CeleriacError, NotFound
from celeriac.waiting import late
from celeriac.wire.codecs import json_string
from celeriac.wire.compression import decompress
from celeriac.wire.ids import head_of_members, may_be_of_member
from celeriac.wire.task import unpack

R = TypeVar("R")

#: Seconds to wait between two looks, from the first pause to the longest: what is there may end without a
#: result.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0

#: Texts that may be ids.
_WORDS = re.compile(rb"[\w.:@+-]+")
_IS_WORD = re.compile(r"[\w.:@+-]+", re.ASCII)


def lost(app: App, ids: Collection[str]) -> set[str]:
    """Those of these ids of which nothing will come: they have no result, and there is neither a message of
    theirs, delayed, ready or claimed, nor one that names them as what comes later.

    A message that moves meanwhile is not missed, unless it moves back (a retry, a task that is put off) in
    the middle of each of two looks.
    """
    missing = _without_result(app, ids)
    for _ in range(2):
        sought = Sought(missing)
        for payloads in app.broker.payloads() if missing else ():
            for payload in payloads:
                sought.look_at(payload)
        # What was done meanwhile has left its result.
        missing = _without_result(app, sought.ids)
    return missing


class Sought:
    """Ids of tasks of which no message has told yet."""

    def __init__(self, ids: Collection[str]) -> None:
        self.ids = set(ids)
        #: Those that stand otherwise in a message than by themselves.
        self._odd = [id for id in ids if not _IS_WORD.fullmatch(id)]
        #: Members of groups, by how their ids begin: a message may tell of their group alone.
        self._heads: dict[str, set[str]] = {}
        for id in ids:
            if may_be_of_member(id):
                self._heads.setdefault(id[:24], set()).add(id)

    def look_at(self, payload: bytes) -> None:
        """Seek no longer whose message it is, and of whom it tells as coming later."""
        ids = self.ids
        try:
            message = unpack(payload)
            ids.discard(message.id)
            if not ids or is_alone(payload):
                return
            body = decompress(message.body, message.compression) if message.compression else message.body
        except CeleriacError:
            ids.clear()  # who knows what it is
            return
        words = {word.decode() for word in _WORDS.findall(body)}
        ids -= words
        for word in words if self._heads else ():
            ids -= self._heads.pop(head_of_members(word), set())
        ids -= {id for id in self._odd if id.encode() in body or json_string(id)[1:-1].encode() in body}


def pauses(app: App, ids: Collection[str], timeout: float | None) -> Iterator[float]:
    """For how many seconds to wait for the results of these, time and again; before each wait it looks
    whether anything can come of them. NotFound if not; TimeoutError if all the time is over."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        gone = sorted(lost(app, ids))
        if gone:
            raise _not_found(gone)
        left = deadline - time.monotonic()
        if left <= 0:
            raise late(list(ids), timeout)
        yield min(pause, left)
        pause = min(2 * pause, LONGEST_PAUSE)


def waited(app: App, ids: Collection[str], timeout: float | None, wait: Callable[[float], R]) -> R:
    """What `wait` gives, which waits for so many seconds at a time."""
    turns = pauses(app, ids, timeout)
    while True:
        pause = next(turns)
        until = time.monotonic() + pause
        try:
            return wait(pause)
        except TimeoutError:
            if time.monotonic() < until:
                raise  # a task raised it


async def awaited(
    app: App, ids: Collection[str], timeout: float | None, wait: Callable[[float], Awaitable[R]]
) -> R:
    """The same in a coroutine."""
    turns = pauses(app, ids, timeout)
    while True:
        pause = await aio.in_thread(next, turns)
        until = time.monotonic() + pause
        try:
            return await wait(pause)
        except TimeoutError:
            if time.monotonic() < until:
                raise


def _without_result(app: App, ids: Collection[str]) -> set[str]:
    asked, store = list(ids), app.results
    if store is None or not asked:
        return set(asked)
    return {id for id, payload in zip(asked, store.load(asked), strict=True) if payload is None}


def _not_found(ids: list[str]) -> NotFound:
    which = f"task {ids[0]}" if len(ids) == 1 else f"{len(ids)} tasks, {ids[0]} the first of them"
    return NotFound(
        f"nothing will come of {which}: the store has no result and the broker no message of it. It was sent "
        "elsewhere or never, its message was purged, or it has ended: with ignore_result, or so long ago "
        "that its result has expired (result_expires). `celeriac dead list` shows what was given up"
    )
