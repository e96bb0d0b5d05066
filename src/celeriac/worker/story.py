"""A pipeline written once that runs as a function or as a coroutine: it yields what has to be awaited."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator
from inspect import isawaitable
from types import CoroutineType
from typing import Any

from celeriac import aio
from celeriac.message import Outcome
from celeriac.signals import Signal

_log = logging.getLogger("celery.app.trace")

#: What has to be awaited comes out, its value (or error) goes in, and an outcome is the end.
Story = Generator[Awaitable[Any], Any, Outcome]
#: A part of a story.
Step = Generator[Awaitable[Any], Any, None]


def drive(story: Story) -> Outcome:
    """Run it here and now."""
    try:
        waiting = next(story)
        while True:
            # Rare: an `async def` handler or receiver of a task that is not itself async.
            try:
                value = aio.run(_awaited(waiting))
            except BaseException as error:
                waiting = story.throw(error)
            else:
                waiting = story.send(value)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


async def adrive(story: Story, meaning: Callable[[BaseException], BaseException]) -> Outcome:
    """Run it in a coroutine; `meaning` may replace what is thrown into it by another error."""
    try:
        waiting = next(story)
        while True:
            try:
                value = await (_Meant(waiting, meaning) if type(waiting) is CoroutineType else waiting)
            except BaseException as error:
                waiting = story.throw(meaning(error))
            else:
                waiting = story.send(value)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


def tell(signal: Signal, sender: Any, **named: Any) -> Step:
    """Send a signal whose receivers may be coroutines."""
    for receiver, answer in signal.send(sender, **named):
        if answer is None or not isawaitable(answer):
            continue
        try:
            yield answer
        except Exception:
            _log.exception("receiver %r of signal %s raised", receiver, signal.name)


class _Meant:
    """A coroutine into which errors are thrown as what they mean: a task whose limit is over finds that out
    where it waits, and not only that somebody has cancelled it."""

    __slots__ = ("_meaning", "_steps")

    def __init__(
        self, waiting: CoroutineType[Any, Any, Any], meaning: Callable[[BaseException], BaseException]
    ) -> None:
        self._steps = waiting.__await__()
        self._meaning = meaning

    def __await__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self._steps.send(None)

    def send(self, value: Any) -> Any:
        return self._steps.send(value)

    def throw(self, kind: Any, error: Any = None, _traceback: Any = None) -> Any:
        thrown = kind if isinstance(kind, BaseException) else kind() if error is None else error
        return self._steps.throw(self._meaning(thrown))

    def close(self) -> None:
        self._steps.close()


async def _awaited(waiting: Awaitable[Any]) -> Any:
    return await waiting
