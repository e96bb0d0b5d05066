"""From prepared calls to messages, hundreds in one exchange."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from celeriac import request as requests
from celeriac import signals
from celeriac.canvas.signature import Call, Prepared, Signature
from celeriac.message import Members, Message
from celeriac.overridden import Unsent
from celeriac.sending import batches, compose, must_fit, told_before
from celeriac.spreading import spread


def send(app: Any, prepared: Prepared) -> Any:
    """Publish all calls; the result of the whole is a child of the task that runs here, if one does."""
    app.publish_all(batches(_messages(app, prepared)))
    parent = requests.current()
    if parent is not None and prepared.result is not None:
        parent.children.append(prepared.result)
    return prepared.result


def messages_of(
    app: Any,
    signature: Signature,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[list[Message], Any]:
    """The messages that a signature comes to, about to be sent, and its result."""
    prepared = signature.prepare(args, kwargs, **options)
    return list(spread(list(_messages(app, prepared)), app)), prepared.result


def _messages(app: Any, prepared: Prepared) -> Iterator[Message]:
    for call in prepared.calls:
        try:
            message = message_of(app, call)
        except Unsent:
            continue  # a lock that finds another one at work sends nothing, and the others go on
        yield message


def message_of(app: Any, call: Call) -> Message:
    """The message of one call, as everybody who listens wants it."""
    task, options = call.known, call.options
    sizes, ends = options.pop("chord_sizes", ()), options.pop("chord_ends", ())
    more = options.pop("chord_adds", None)
    if task is not None:
        task.check_arguments(call.args, call.kwargs)
    message = call.message or compose(app, call.task, call.args, call.kwargs, options, task)
    if sizes or ends:
        keep = app.conf.seconds("result_chord_expires") or app.conf.seconds("result_expires") or None
        members = tuple(Members(chord, size, keep, broken) for chord, size, broken in sizes)
        message = msgspec.structs.replace(message, members=members, completes=ends)
    if more:
        message = msgspec.structs.replace(
            message, members=(*message.members, Members(more[0], more[1], adds=True))
        )
    if signals.before_task_publish.receivers:
        message = told_before(message, call.task)
    return message if len(message.payload) <= app.conf.task_max_bytes else must_fit(app, message)
