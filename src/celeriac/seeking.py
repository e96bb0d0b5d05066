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
        for payloads in app.broker.payloads() if missing else ():
            for payload in payloads:
                missing = _not_in(payload, missing)
        # What was done meanwhile has left its result.
        missing = _without_result(app, missing)
    return missing


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


def _not_in(payload: bytes, ids: set[str]) -> set[str]:
    """Those whose message this is not, and of which it does not tell either."""
    try:
        message = unpack(payload)
        ids = ids - {message.id}
        if not ids or is_alone(payload):
            return ids
        body = decompress(message.body, message.compression) if message.compression else message.body
    except CeleriacError:
        return set()  # who knows what it is
    words = {word.decode() for word in _WORDS.findall(body)}
    ids -= words
    if any(map(may_be_of_member, ids)):
        heads = {head_of_members(word) for word in words}
        ids = {id for id in ids if id[:24] not in heads}
    odd = [id for id in ids if not _IS_WORD.fullmatch(id)]
    return ids.difference(id for id in odd if id.encode() in body or json_string(id)[1:-1].encode() in body)


def _not_found(ids: list[str]) -> NotFound:
    which = f"task {ids[0]}" if len(ids) == 1 else f"{len(ids)} tasks, {ids[0]} the first of them"
    return NotFound(
        f"nothing will come of {which}: the store has no result and the broker no message of it. It was sent "
        "elsewhere or never, its message was purged, or it has ended: with ignore_result, or so long ago "
        "that its result has expired (result_expires). `celeriac dead list` shows what was given up"
    )
