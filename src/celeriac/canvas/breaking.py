"""What comes in the place of a chord's body that will never run, as a message with holes (message.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from celeriac import request as requests
from celeriac.canvas.signature import first_of, place_of
from celeriac.message import FAILED_HOLE, PARENT_HOLE, ROOT_HOLE, VALUES_HOLE, Message
from celeriac.sending import composed
from celeriac.wire.codecs import json_string, json_text
from celeriac.wire.ids import new_id
from celeriac.wire.packing import with_open_body
from celeriac.wire.raised import encode_exception

#: The task that makes a chord's body fail. Stock Celery has one of this name, and so called it does the same.
BREAK = "celery.chord_unlock"

#: Where signatures keep those that they are made of.
_INSIDE = {"chain": ("tasks",), "group": ("tasks",), "chord": ("header", "body")}
#: Holes of the form, which are filled here.
_GROUP, _BODY, _ID, _TAG = b"\x04", b"\x05", b"\x06", b"\x07"
#: Places of one app whose forms are kept.
_MOST_FORMS = 100


class _Form(NamedTuple):
    message: Message
    #: Of the app's settings when it was made.
    version: int


#: Such a message is needed for every chord that is sent, so it is made once for each place.
_forms: WeakKeyDictionary[Any, dict[tuple[Any, ...], _Form]] = WeakKeyDictionary()


def breaking(app: Any, body: Mapping[str, Any], group: str) -> tuple[Message, ...]:
    """The message that makes the body of this chord fail, for the reason that the store puts in; none if the
    body cannot be written as JSON."""
    try:
        text = json_text({name: value for name, value in body.items() if name != "chord_size"})
    except Exception:
        return ()
    form = _form(app, body)
    task_id = new_id()
    payload = form.payload.replace(_GROUP, _within(json_string(group)[1:-1]))
    payload = payload.replace(_BODY, _within(text))
    payload = payload.replace(_ID, task_id.encode()).replace(_TAG, new_id().encode())
    return (msgspec.structs.replace(form, id=task_id, payload=payload),)


def unable(app: Any, body: Mapping[str, Any], group: str, error: BaseException) -> tuple[Message, ...]:
    """The message that makes the body fail when all members ended well: it could not be sent itself."""
    body_id = json_string(first_of(body)["options"].get("task_id") or group)
    item = f'[1, {body_id}, "FAILURE", {json_text(encode_exception(error))}]'
    said = {VALUES_HOLE: _within(item), FAILED_HOLE: _within(body_id[1:-1])}
    return tuple(_filled(message, said) for message in breaking_that_fits(app, body, group))


def breaking_that_fits(app: Any, body: Mapping[str, Any], group: str) -> tuple[Message, ...]:
    """As `breaking`; of a body that is larger than any message may be, without its arguments."""
    messages = breaking(app, body, group)
    if all(len(message.payload) <= app.conf.task_max_bytes for message in messages):
        return messages
    return breaking(app, _without_arguments(body), group)


def opened(messages: Iterable[Message], holes: Mapping[str, bytes]) -> tuple[Message, ...]:
    """Messages whose bodies a store can read, with holes in the place of these texts."""
    return tuple(
        msgspec.structs.replace(message, payload=with_open_body(message.payload, holes))
        for message in messages
    )


def _without_arguments(task: Mapping[str, Any]) -> dict[str, Any]:
    """What is needed to tell that it will not run: its ids, and who wants to know."""
    names = _INSIDE.get(task.get("subtask_type") or "", ())
    inside = {name: _bare(task["kwargs"][name]) for name in names if name in task["kwargs"]}
    return {**task, "args": [], "kwargs": inside}


def _bare(tasks: Any) -> Any:
    return _without_arguments(tasks) if isinstance(tasks, Mapping) else [_bare(task) for task in tasks]


def _filled(message: Message, holes: Mapping[bytes, bytes]) -> Message:
    payload = message.payload
    for hole, text in holes.items():
        payload = payload.replace(hole, text)
    return msgspec.structs.replace(message, payload=payload)


def _within(text: str) -> bytes:
    """Text as it stands in a JSON string."""
    return json_string(text)[1:-1].encode("ascii")


def _form(app: Any, body: Mapping[str, Any]) -> Message:
    # It goes where the body would have gone, so that who would have run it hears of it.
    first = first_of(body)
    name, place = first["task"], place_of(first)
    forms = _forms.setdefault(app, {})
    key = (name, *map(str, place.items()))
    known = forms.get(key)
    if known is None or known.version != app.conf.version:
        if len(forms) >= _MOST_FORMS:
            forms.clear()
        known = forms[key] = _Form(_made(app, name, place), app.conf.version)
    return known.message


def _made(app: Any, name: str, place: Mapping[str, Any]) -> Message:
    group, body, task_id, item, failed, parent, root = (new_id() for _ in range(7))
    options = {
        "task_id": task_id,
        "root_id": root,
        "parent_id": parent,
        "serializer": "json",
        "ignore_result": True,
    }
    kwargs = {"interval": 1, "max_retries": None, "result": [[[failed, None], None]], "failed": item}
    here = requests.current()
    requests.become(None)  # nothing of the task that happens to run here belongs in it
    try:
        way = composed(app, name, (), {}, place, app.tasks.get(name))
        # One of its queues: it is told once that the body will not come, whoever was to run it.
        options |= {"queue": way.copies[0] if way.copies else way.queue, "priority": place.get("priority")}
        message = composed(app, BREAK, (group, body), kwargs, options, None)
    finally:
        requests.become(here)
    tag = msgspec.json.decode(message.payload)["properties"]["delivery_tag"]
    holes = {
        group: _GROUP,
        f'"{body}"': _BODY,
        task_id: _ID,
        tag: _TAG,
        f'"{item}"': VALUES_HOLE,
        failed: FAILED_HOLE,
        parent: PARENT_HOLE,
        root: ROOT_HOLE,
    }
    return opened([message], holes)[0]
