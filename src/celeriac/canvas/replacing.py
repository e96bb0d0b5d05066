"""What a task becomes that says `replace`: the same id, chord and followers, another call."""

from __future__ import annotations

from typing import Any

from celeriac.canvas.chain import chain
from celeriac.canvas.chord import valued_as_one
from celeriac.canvas.signature import Signature, as_signature
from celeriac.exceptions import ImproperlyConfigured
from celeriac.request import Request


def replacement_of(app: Any, request: Request, given: Any, *, followed: bool = True) -> Signature:
    """The signature that does the work of this request; unless it is `followed`, its callbacks and errbacks
    are left to the caller."""
    made = as_signature(given, app).clone()
    if made.options.get("chord"):
        raise ImproperlyConfigured("a signature with a chord of its own cannot replace a task")
    if isinstance(made, chain) and not made.tasks:
        raise ImproperlyConfigured("an empty chain cannot replace a task")
    # Who waits for the task wants one value, and a chord counts it as one.
    made = valued_as_one(made)
    for callback in (request.callbacks or ()) if followed else ():
        made.link(as_signature(callback, app))
    for errback in (request.errbacks or ()) if followed else ():
        made.link_error(as_signature(errback, app))
    made.freeze(
        request.id,
        group_id=request.group,
        chord=request.chord,
        root_id=request.root_id,
        group_index=request.group_index,
    )
    if request.stamped_headers:
        stamps = request.stamps or {}
        made.stamp(**{name: stamps[name] for name in request.stamped_headers if name in stamps})
    made.options["replaced_task_nesting"] = request.replaced_task_nesting + 1
    for step in reversed(request.chain or ()):
        made = Signature.joined(made, as_signature(step, app))
    made._app = app
    return made
