"""Calls whose sending a class of the user's overrides: `Task.apply_async`, `Celery.send_task`.

Workflows, schedules and apply_many make messages first and send them together. A call of theirs goes through
the method that overrides, and is caught where this would send it, with all that was added on the way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from celeriac.message import Message


class Unsent(RuntimeError):
    """The method that overrides did not send the call: it is a double of another one, or forbidden."""


class _Catching(threading.local):
    #: The name of the task whose message is caught in this thread.
    name: str | None = None
    message: Message | None = None


_catching = _Catching()


def detour(app: Any, name: str, task: Any, options: Mapping[str, Any]) -> Callable[..., Any] | None:
    """What sends this call in its own way; None is the usual case. A retry is the same call again, with the
    headers that it got when it was sent."""
    if options.get("retries"):
        return None
    if task is not None and task.sends_itself:
        sending: Callable[..., Any] = task.apply_async
        return sending
    return partial(app.send_task, name, task_type=task) if app.sends_itself else None


def caught_from(
    sending: Callable[..., Any],
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Message:
    """The message that `sending` would send; what else it sends is sent."""
    before = vars(_catching).copy()
    _catching.name, _catching.message = name, None
    try:
        # Whoever is the parent of the whole notes this result too, once.
        sending(args, kwargs, **{**options, "add_to_parent": False})
        message: Message | None = vars(_catching)["message"]
    finally:
        vars(_catching).update(name=before.get("name"), message=before.get("message"))
    if message is None:
        raise Unsent(f"task {name} is not sent: the method that overrides apply_async or send_task did not")
    return message


def catch(message: Message, name: str) -> bool:
    """Whether this message is one that somebody waits for here, instead of the broker."""
    if _catching.name != name:
        return False
    _catching.name, _catching.message = None, message
    return True
