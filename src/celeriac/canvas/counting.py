"""What the end of a task means to the chord whose header it stands in, also an end that never comes.

A member that ends is counted by the store in the step that settles it. The last one sets off the body; if one
of them failed, a message in the body's place that makes it fail: see breaking.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from celeriac.canvas.breaking import breaking_that_fits, opened, unable
from celeriac.canvas.chain import chain
from celeriac.canvas.chord import chord
from celeriac.canvas.group import group, is_single
from celeriac.canvas.publishing import message_of
from celeriac.canvas.signature import Signature, as_signature, listing
from celeriac.message import PARENT_HOLE, ROOT_HOLE, VALUES_HOLE, Count, Message
from celeriac.request import Request
from celeriac.spreading import copied
from celeriac.states import FAILURE, SUCCESS
from celeriac.wire.codecs import json_string, json_text
from celeriac.wire.ids import id_of_member, is_storable, new_id
from celeriac.wire.raised import encode_exception

#: What the messages of one chord's body have in common for all members, by the id of its group.
_templates: dict[str, _Template] = {}
#: Chords at the same time in one process; with more, what is needed again is made again.
_MOST_TEMPLATES = 200


#: The chord of a member that nobody here can read: only the store knows what it comes to.
UNREAD: Mapping[str, Any] = {"chord_size": 0, "unread": True}


class Failing(NamedTuple):
    """A task that will never run: its request, and whether its errbacks are called."""

    request: Request
    tells: bool


class _Template(NamedTuple):
    #: Of what chord, and as which bytes a member brought it: the id of a group may be given to another one.
    chord: Mapping[str, Any]
    raw: bytes | None
    body: tuple[Message, ...]
    broken: tuple[Message, ...]
    size: int
    ttl: float | None


def is_counted(request: Request) -> bool:
    """It stands in the header of a chord."""
    return bool((request.in_chord or request.chord) and request.group and request.id)


def success(app: Any, request: Request, value: Any) -> tuple[Count, ...]:
    """What is counted when a task ends well: itself, unless its chain goes on."""
    if not is_counted(request):
        return ()
    # The commonest values need no encoder.
    text = "null" if value is None else str(value) if type(value) is int else json_text(value)
    return (_count(app, request, SUCCESS, text),)


def failure(
    app: Any, requests: Iterable[Request], error: BaseException, status: str = FAILURE
) -> tuple[Count, ...]:
    """What is counted when tasks fail: one, and those that will never run because of it."""
    counted = [request for request in requests if is_counted(request)]
    if not counted:
        return ()
    said = json_text(encode_exception(error, "json"))
    return tuple(_count(app, request, status, said) for request in counted)


def never_run(app: Any, request: Request) -> Iterator[Failing]:
    """The tasks of the rest of its chain, which will not run now."""
    for step in reversed(request.chain or ()):
        yield from inside(app, as_signature(step, app), request, tells=False)


def inside(app: Any, signature: Signature, of: Request, tells: bool = True) -> Iterator[Failing]:
    """All tasks of a signature that will not run. Those that `tells` call their errbacks, as one would that
    ran and failed: the first of a chain, all of a group, of a chord its body."""
    options = signature.options
    if isinstance(signature, chain):
        for position, step in enumerate(signature.unchain_tasks()):
            yield from inside(app, step, of, tells and position == 0)
    elif isinstance(signature, chord):
        header = signature.tasks
        yield from inside(app, header if isinstance(header, group) else group(header), of, tells=False)
        yield from inside(app, signature.body, of, tells)
    elif isinstance(signature, group):
        position = options.get("group_index") or 0
        for number, task in enumerate(signature.tasks):
            if signature.id and is_single(task) and not task.id:
                task.options["task_id"] = id_of_member(signature.id, number)
            if options.get("chord"):
                task.freeze(None, options.get("group_id"), options["chord"], group_index=position)
                position += task.members()
            yield from inside(app, task, of, tells)
    elif signature.id and is_storable(signature.id):
        yield Failing(_request_of(signature, of), tells)


def _count(app: Any, request: Request, status: str, said: str) -> Count:
    group, member = request.group or "", request.id or ""
    same = _templates.get(group)
    if same is None or request._embed is None or request._embed.raw != same.raw:
        same = _same(app, request, group, same)
    return Count(
        group,
        member,
        request.root_id or member,
        request.group_index or 0,
        same.size,
        f'[1, {json_string(member)}, "{status}", {said}]'.encode(),
        same.body,
        same.broken,
        status != SUCCESS,
        same.ttl,
    )


def _same(app: Any, request: Request, group: str, known: _Template | None) -> _Template:
    """What is known of this very chord, or else is worked out."""
    chord = request.chord
    if known is not None and (chord is UNREAD or chord == known.chord):
        return known
    return _template(app, chord, None if request._embed is None else request._embed.raw, group)


def _template(app: Any, chord: Mapping[str, Any], raw: bytes | None, group: str) -> _Template:
    body = dict(chord)
    size = int(body.pop("chord_size", None) or 0)
    ttl = app.conf.seconds("result_chord_expires") or app.conf.seconds("result_expires") or None
    if chord is UNREAD:
        return _Template(chord, raw, (), (), 0, ttl)
    values, parent, root = (new_id() for _ in range(3))
    came_from: dict[str, Any] = {"root_id": root, "parent_id": parent, "serializer": "json"}
    holes = {f'"{values}"': VALUES_HOLE, parent: PARENT_HOLE, root: ROOT_HOLE}
    # Nobody is its sender but the member that will be the last.
    try:
        prepared = as_signature(body, app).prepare((values,), **came_from)
        runs = opened(copied([message_of(app, call) for call in prepared.calls]), holes)
    except Exception as error:
        # Too large, or its arguments do not fit: that is no fault of the members, and who waits must hear.
        runs = unable(app, body, group, error)
    template = _Template(chord, raw, runs, breaking_that_fits(app, body, group), size, ttl)
    if all(message.eta is None and b'"expires": null' in message.payload for message in runs):
        if len(_templates) >= _MOST_TEMPLATES:
            _templates.clear()
        _templates[group] = template
    return template


def _request_of(signature: Signature, of: Request) -> Request:
    options = signature.options
    return Request(
        id=signature.id,
        task=signature.task,
        args=signature.args,
        kwargs=signature.kwargs,
        group=options.get("group_id"),
        group_index=options.get("group_index"),
        chord=options.get("chord"),
        errbacks=listing(options.get("link_error")) or None,
        root_id=of.root_id or of.id,
        parent_id=options.get("parent_id") or of.id,
        ignore_result=bool(options.get("ignore_result")),
        called_directly=False,
    )
