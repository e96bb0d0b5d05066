"""A pipeline written once that runs as a function or as a coroutine: it yields what has to be awaited."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator
from inspect import isawaitable
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
    """Run it in a coroutine; `meaning` may replace an error of what was awaited by another."""
    try:
        waiting = next(story)
        while True:
            try:
                value = await waiting
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


async def _awaited(waiting: Awaitable[Any]) -> Any:
    return await waiting
