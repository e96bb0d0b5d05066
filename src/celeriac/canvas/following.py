"""What follows a task, for the worker: its callbacks, the next step of its chain, its errbacks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celeriac.canvas.publishing import messages_of
from celeriac.canvas.signature import Signature, as_signature, maybe_signature
from celeriac.message import Message
from celeriac.request import Request

_log = logging.getLogger("celeriac.canvas")


def follow_ups(app: Any, request: Request, value: Any) -> tuple[Message, ...]:
    """The messages that a success sets off: its callbacks, and the next step of its chain."""
    if not request.callbacks and not request.chain:
        return ()
    came_from: dict[str, Any] = {"root_id": request.root_id or request.id, "parent_id": request.id}
    messages: list[Message] = []
    for callback in request.callbacks or ():
        messages += _called(app, request, callback, value, came_from)
    if request.chain:
        *rest, following = request.chain
        messages += _called(app, request, following, value, {**came_from, "chain": rest or None})
    return tuple(messages)


def _called(
    app: Any, request: Request, signature: Mapping[str, Any], value: Any, options: Mapping[str, Any]
) -> list[Message]:
    known = as_signature(signature, app)
    if known.subtask_type and options.get("chain"):
        # Steps after a group or a chord wait for all of it: that is for a chain to say.
        rest = [as_signature(step, app) for step in reversed(options["chain"])]
        for step in rest:
            known = Signature.joined(known, step)
        options = {name: value for name, value in options.items() if name != "chain"}
    messages, result = messages_of(app, known, (value,), **options)
    # They are children as much as those that the task called itself.
    if result is not None:
        request.children.append(result)
    return messages


def error_follow_ups(app: Any, request: Request, exc: BaseException) -> tuple[Message, ...]:
    """The messages that a failure sets off: to errbacks that take an id, and to all not known here."""
    if not request.errbacks:
        return ()
    came_from: dict[str, Any] = {"root_id": request.root_id or request.id, "parent_id": request.id}
    messages: list[Message] = []
    for errback in errbacks_by_id(app, request):
        messages += messages_of(app, errback, (request.id,), **came_from)[0]
    return tuple(messages)


def errbacks_by_id(app: Any, request: Request) -> list[Signature]:
    """The errbacks that are tasks of their own, called with the id of the one that failed."""
    return [
        as_signature(errback, app) for errback in request.errbacks or () if not _takes_the_error(app, errback)
    ]


def call_errbacks(app: Any, request: Request, exc: BaseException, traceback: Any = None) -> None:
    """Call, here in the worker, the errbacks that take (request, exc, traceback)."""
    for errback in request.errbacks or ():
        if not _takes_the_error(app, errback):
            continue
        try:
            signature = maybe_signature(errback, app)
            if signature is not None:
                signature(request, exc, traceback)
        except Exception:
            _log.exception("errback %s of task %s failed", errback.get("task"), request.id)


def _takes_the_error(app: Any, errback: Mapping[str, Any]) -> bool:
    task = app.tasks.get(errback.get("task"))
    return (
        task is not None
        and not errback.get("immutable")
        and not errback.get("args")
        and task.positional_arity > 1
    )
