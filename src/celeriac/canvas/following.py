"""What follows a task, for the worker: its callbacks, the next step of its chain, its errbacks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celeriac import signals
from celeriac.canvas.publishing import messages_of
from celeriac.canvas.signature import Signature, as_signature, maybe_signature
from celeriac.message import Message
from celeriac.request import Request
from celeriac.result import AsyncResult
from celeriac.sending import must_fit, plain_way
from celeriac.wire.body import ChainAlone
from celeriac.wire.ids import new_id

#: Options of a step that are in its envelope anyhow.
_IDS = frozenset(("task_id", "root_id", "parent_id"))

_log = logging.getLogger("celeriac.canvas")


def follow_ups(app: Any, request: Request, value: Any) -> tuple[Message, ...]:
    """The messages that a success sets off: its callbacks, and the next step of its chain."""
    if request.steps is not None and "chain" not in request.__dict__ and not request.callbacks:
        message = _next_step(app, request, request.steps, value)
        if message is not None:
            return (message,)
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


def _next_step(app: Any, request: Request, steps: ChainAlone, value: Any) -> Message | None:
    """The next step of a chain at the price of a plain call, for the rest travels on as it came; None if it
    says more than its arguments, and goes the way of other calls."""
    step, rest = steps.next_and_rest()
    options = step.get("options") or {}
    if step.get("subtask_type") or not options.keys() <= _IDS:
        return None
    if app.passage is not None or signals.before_task_publish.receivers:
        return None
    name, args, kwargs = step["task"], tuple(step.get("args") or ()), step.get("kwargs") or {}
    task = app.tasks.get(name)
    plain = plain_way(app, name, task)
    if plain is None or plain.inherits_priority:
        return None
    if not step.get("immutable"):
        args = (value, *args)
    if task is not None:
        task.check_arguments(args, kwargs)
    own_id, parent_id = options.get("task_id") or new_id(), request.id or ""
    try:
        payload = plain.form.fill_step(args, kwargs, own_id, rest, request.root_id or parent_id, parent_id)
    except Exception:
        return None  # there it is said what cannot travel
    message = must_fit(app, Message(own_id, plain.queue, payload, plain.priority))
    request.children.append(AsyncResult(own_id, None, name, app))
    return message


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
        try:
            messages += messages_of(app, errback, (request.id,), **came_from)[0]
        except Exception:
            # Its arguments do not fit, or cannot travel: what has failed is the task, and nobody may wait.
            _log.exception("errback %s of task %s cannot be sent", errback.task, request.id)
    return tuple(messages)


def errbacks_by_id(app: Any, request: Request) -> list[Signature]:
    """The errbacks that are tasks of their own, called with the id of the one that failed."""
    return [
        as_signature(errback, app) for errback in request.errbacks or () if not _takes_the_error(app, errback)
    ]


def has_errbacks_here(app: Any, request: Request) -> bool:
    """Some of its errbacks are for `call_errbacks`."""
    return any(_takes_the_error(app, errback) for errback in request.errbacks or ())


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
    """Whether it is called with (request, exc, traceback) and its own arguments: where these fit, but as in
    Celery not one that is bound, or a class, and may take the id alone."""
    task = app.tasks.get(errback.get("task"))
    if task is None or errback.get("immutable") or errback.get("subtask_type"):
        return False
    args, kwargs = errback.get("args") or (), errback.get("kwargs") or {}
    if not task.takes((None, None, None, *args), kwargs):
        return False
    return task.is_function or not task.takes((None, *args), kwargs)
