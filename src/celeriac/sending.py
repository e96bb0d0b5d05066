"""From the options of a call to the message that is sent: every way of calling a task comes through here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from celeriac import aio, signals
from celeriac.clock import Clock, to_datetime, zone_named
from celeriac.config import Settings
from celeriac.exceptions import EncodeError
from celeriac.message import Message
from celeriac.middleware import Call, Passage
from celeriac.nearest import nearest
from celeriac.overridden import catch, caught_from, detour
from celeriac.request import Request, current
from celeriac.routing import Route, Router
from celeriac.wire import codecs
from celeriac.wire.compression import compress, decompress, in_units
from celeriac.wire.ending import MEMBER, member_after
from celeriac.wire.form import Form
from celeriac.wire.ids import is_storable, new_id
from celeriac.wire.older import as_protocol_1
from celeriac.wire.packing import pack

#: Options of apply_async that say nothing about the message: Celery's connection handling has no part here.
_WITHOUT_EFFECT = (
    "add_to_parent",
    "confirm_timeout",
    "connection",
    "declare",
    "delivery_mode",
    "exchange_type",
    "immediate",
    "mandatory",
    "producer",
    "publisher",
    "result_cls",
    "retry",
    "retry_policy",
    "router",
    "task_type",
    "timeout",
)
#: So many messages, or so many bytes, go in one exchange: enough that the round trip costs little, few enough
#: that the store answers others in between.
MANY_MESSAGES = 500
MANY_BYTES = 4 * 1024 * 1024
#: All options that have a meaning of their own, to find out which one is meant.
_OPTIONS = (
    *_WITHOUT_EFFECT,
    *"argsrepr chain chord compression countdown eta exchange expires group_id group_index headers".split(),
    *"ignore_result kwargsrepr link link_error origin parent_id priority queue".split(),
    *"replaced_task_nesting reply_to retries root_id route_name routing_key serializer shadow".split(),
    *"soft_time_limit stamped_headers stamps task_id time_limit".split(),
)
#: Properties of AMQP messages, which may be given like options.
_PROPERTIES = frozenset(
    "app_id cluster_id content_encoding content_type correlation_id delivery_mode expiration".split()
    + "message_id timestamp type user_id".split()
)
_NOTHING: dict[str, Any] = {}
#: So many tasks that were called by their names alone are remembered: names may be made anew for each call.
_MOST_NAMES = 1000


class Sender(Protocol):
    """What composing a message asks of the app."""

    @property
    def conf(self) -> Settings: ...

    @property
    def router(self) -> Router: ...

    @property
    def time(self) -> Clock: ...

    @property
    def names_called(self) -> dict[str, Constants]:
        """What is known of tasks that were called by their names alone."""

    #: None without middleware, and while nobody overrides how calls are sent.
    @property
    def passage(self) -> Passage | None: ...

    def send(self, message: Message, name: str) -> None: ...


class Constants(msgspec.Struct):
    """What all calls of one task have in common."""

    app: object
    #: Of the settings, when this was worked out.
    version: int
    serializer: str
    #: None: whoever runs the task knows.
    ignore_result: bool | None
    #: Options of apply_async that hold unless a call says otherwise.
    options: Mapping[str, Any]
    #: How calls are sent that say nothing but their arguments; None until the first one, and where each call
    #: may go another way.
    plain: Plain | None = None


class Plain(NamedTuple):
    """The way of plain calls, and their envelope."""

    form: Form
    queue: str
    priority: int
    #: Where a task that runs may change the priority of what it calls.
    inherits_priority: bool


def compose(
    app: Sender,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any] = _NOTHING,
    task: Any = None,
) -> Message:
    """The message of one call. Options of the call win over the task's own, those over its route's."""
    if app.passage is not None:
        sending = detour(app, name, task, options)
        if sending is not None:
            return caught_from(sending, name, args, kwargs, options)

        def make(call: Call) -> None:
            call.message = composed(app, name, call.args, call.kwargs, call.options, task)

        return must_fit(app, app.passage.send(Call(name, args, kwargs, options, task), make))
    message = composed(app, name, args, kwargs, options, task)
    return message if len(message.payload) <= app.conf.task_max_bytes else must_fit(app, message)


def must_fit(app: Sender, message: Message) -> Message:
    """The message. EncodeError if it is larger than any may be, whoever sends it: a caller, a group, a task
    that retries, a worker that goes on with a chain, a scheduler."""
    size, allowed = len(message.payload), app.conf.task_max_bytes
    if size > allowed:
        raise EncodeError(
            f"the message of task {message.id} has {in_units(size)}, more than task_max_bytes "
            f"({in_units(allowed)}); store the data elsewhere and send where it is"
        )
    return message


def send_through(
    passage: Passage,
    app: Sender,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any] = _NOTHING,
    task: Any = None,
) -> Message:
    """Compose and send one call within the hooks of the app's middleware."""

    def make_and_send(call: Call) -> None:
        call.message = must_fit(app, composed(app, name, call.args, call.kwargs, call.options, task))
        if not catch(call.message, name):
            app.send(call.message, name)

    return passage.send(Call(name, args, kwargs, options, task), make_and_send)


def composed(
    app: Sender,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    task: Any,
) -> Message:
    """As `compose`, within the hooks: plain calls fill in the form of their task, others are worked out."""
    parent = current()
    own = _of_a_name(app, name) if task is None else task.constants(app)
    if not (options or own.options):
        plain = own.plain or _plain(app, name, task, own)
        if plain is not None and (parent is None or not plain.inherits_priority):
            try:
                if parent is None:
                    id, payload = plain.form.fill(args, kwargs)
                else:
                    id, payload = plain.form.fill(args, kwargs, parent.root_id or parent.id, parent.id)
                return Message(id, plain.queue, payload, plain.priority)
            except EncodeError:
                raise  # too large
            except Exception:
                pass  # `pack` says better what cannot travel
    return _compose_in_full(app, name, args, kwargs, options, task, own, parent)


def plain_way(app: Sender, name: str, task: Any = None) -> Plain | None:
    """How calls of this task go that say nothing but their arguments; None where each may go another way."""
    own = _of_a_name(app, name) if task is None else task.constants(app)
    return None if own.options else own.plain or _plain(app, name, task, own)


def _plain(app: Sender, name: str, task: Any, own: Constants) -> Plain | None:
    conf = app.conf
    if app.router.asks_functions or conf.task_compression or own.serializer != "json":
        return None
    if conf.task_protocol == 1:
        return None
    route = app.router.route(name, task=task)
    if route.options or route.copies is not None or route.is_fanout or route.is_for_now:
        return None
    form = Form(
        name=name,
        queue=route.queue,
        exchange=route.exchange,
        routing_key=route.routing_key,
        priority=route.priority,
        ignore_result=own.ignore_result,
        most=conf.task_max_bytes,
    )
    own.plain = Plain(form, route.queue, route.priority, bool(conf.task_inherit_parent_priority))
    return own.plain


def _compose_in_full(
    app: Sender,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    call_options: Mapping[str, Any],
    task: Any,
    own: Constants,
    parent: Request | None,
) -> Message:
    conf = app.conf
    route = app.router.route(call_options.get("route_name") or name, args, kwargs, call_options, task)
    options = {**route.options, **own.options, **call_options}
    say = options.pop
    for word in ("route_name", "queue", "exchange", "routing_key", *_WITHOUT_EFFECT):
        say(word, None)
    task_id = _id(say("task_id", None))
    callbacks, errbacks = _several("link", say("link", None)), _several("link_error", say("link_error", None))
    eta = _eta(app, say("countdown", None), say("eta", None))
    expires = say("expires", None)
    priority = _priority(conf, route, parent, say("priority", None), task)
    shadow = say("shadow", None)
    if shadow is None and task is not None:
        shadow = task.shadow_name(args, kwargs, call_options)
    ignore_result = say("ignore_result", None)
    if ignore_result is None:
        ignore_result = own.ignore_result
    stamped_headers = say("stamped_headers", None)
    stamps = {**(say("stamps", None) or {}), **_taken(options, stamped_headers or ())}
    # Said is said, also None: a retry has the parent of its first try, not itself.
    root_id = say("root_id", None if parent is None else parent.root_id or parent.id)
    parent_id = say("parent_id", None if parent is None else parent.id)
    serializer, chain = say("serializer", None) or own.serializer, say("chain", None)
    headers = say("headers", None)
    if chain and serializer != "json" and (member := member_after(chain)) is not None:
        headers = {**(headers or {}), MEMBER: member}
    payload = pack(
        name=name,
        id=task_id,
        args=args,
        kwargs=kwargs,
        queue=route.queue,
        serializer=serializer,
        exchange=route.exchange,
        routing_key=route.routing_key,
        priority=priority,
        eta=eta,
        expires=None if expires is None else _moment(app, expires),
        retries=say("retries", None) or 0,
        timelimit=_time_limits(say("time_limit", None), say("soft_time_limit", None)),
        root_id=root_id or task_id,
        parent_id=parent_id,
        shadow=shadow,
        group=say("group_id", None),
        group_index=say("group_index", None),
        argsrepr=say("argsrepr", None),
        kwargsrepr=say("kwargsrepr", None),
        ignore_result=None if ignore_result is None else bool(ignore_result),
        replaced_task_nesting=say("replaced_task_nesting", None) or 0,
        stamped_headers=stamped_headers,
        stamps=stamps,
        reply_to=say("reply_to", None) or "",
        origin=say("origin", None),
        callbacks=callbacks,
        errbacks=errbacks,
        chain=chain,
        chord=say("chord", None),
        headers=headers,
        compression=say("compression", None) or conf.task_compression,
        properties=_properties(options) if options else None,
        most=conf.task_max_bytes,
    )
    if conf.task_protocol == 1:
        payload = as_protocol_1(payload)
    due = None if eta is None else eta.timestamp()
    if route.copies is not None or route.is_fanout:
        return _for_several(Message(task_id, route.queue, payload, priority, due), route)
    return Message(task_id, route.queue, payload, priority, due)


def _for_several(message: Message, route: Route) -> Message:
    fanout = (route.exchange, route.routing_key) if route.is_fanout else None
    return msgspec.structs.replace(message, copies=route.copies, fanout=fanout)


def _of_a_name(app: Sender, name: Any) -> Constants:
    """Of a task that only its name is known of."""
    conf = app.conf
    known = app.names_called.get(name)
    if known is None or known.version != conf.version:
        if not isinstance(name, str) or not name:
            raise TypeError(f"the name of a task is a text, not {name!r}")
        if len(app.names_called) >= _MOST_NAMES:
            app.names_called.clear()
        known = Constants(app, conf.version, conf.task_serializer, conf.task_ignore_result or None, _NOTHING)
        app.names_called[name] = known
    return known


# --- the options, one by one ------------------------------------------------------------------------------


def _priority(conf: Settings, route: Route, parent: Request | None, said: int | None, task: Any) -> int:
    if parent is None or said is not None or not conf.task_inherit_parent_priority:
        return route.priority
    if task is not None and task.priority is not None:
        return route.priority
    inherited = parent.delivery_info.get("priority")
    return route.priority if inherited is None else int(inherited)


def _id(said: Any) -> str:
    if not said:
        return new_id()
    if not isinstance(said, str):
        raise TypeError(f"task_id must be a text, as in task_id={str(said)!r}, not {said!r}")
    if not is_storable(said):
        raise ValueError(f"task_id {said!r} has signs that no store can keep (half of a pair); use others")
    return said


def _eta(app: Sender, countdown: float | None, eta: Any) -> datetime | None:
    if countdown is not None:
        return to_datetime(countdown, app.time())
    return None if eta is None else _moment(app, eta)


def _moment(app: Sender, moment: Any) -> datetime:
    """A datetime without an offset is one of the app's time zone."""
    zone = app.conf.timezone
    if isinstance(moment, datetime) and moment.tzinfo is None and zone:
        return moment.replace(tzinfo=zone_named(str(zone)))
    return to_datetime(moment, app.time())


def _time_limits(hard: float | None, soft: float | None) -> tuple[float | None, float | None]:
    if hard is not None and soft is not None and soft > hard:
        raise ValueError("soft_time_limit must be less than or equal to time_limit")
    return hard, soft


def _taken(options: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The options of these names, which are options no more."""
    return {name: options.pop(name) for name in names if name in options}


def _several(option: str, signatures: Any) -> list[Any] | None:
    """One signature or several as a list; a signature is a dict."""
    if signatures is None:
        return None
    several = list(signatures) if isinstance(signatures, list | tuple) else [signatures]
    for one in several:
        if not isinstance(one, Mapping):
            raise TypeError(f"{option} takes signatures of tasks, as in {option}=note.s(), not {one!r}")
    return several


def _properties(options: dict[str, Any]) -> dict[str, Any]:
    """What is left are properties of the message (message_id, app_id, ...), unless it is a typing error."""
    for name in options:
        meant = None if name in _PROPERTIES else nearest(name, _OPTIONS)
        if meant is not None:
            raise TypeError(f"apply_async() has no option {name!r}: did you mean {meant!r}?")
    return options


# --- many at once -----------------------------------------------------------------------------------------


def batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """What goes in one exchange, each made when it is asked for."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        length = len(message.payload)
        if batch and (len(batch) >= MANY_MESSAGES or size + length > MANY_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        yield batch


# --- those who listen -------------------------------------------------------------------------------------


def told_before(message: Message, name: str) -> Message:
    """Tell `before_task_publish`; its receivers may change headers, properties and body."""
    envelope = msgspec.json.decode(message.payload)
    headers, properties = envelope["headers"], envelope["properties"]
    content_type, compression = envelope["content-type"], headers.get("compression")
    body = _body(envelope)
    place = properties["delivery_info"]
    aio.tell(
        signals.before_task_publish,
        name,
        body=body,
        exchange=place["exchange"],
        routing_key=place["routing_key"],
        headers=headers,
        properties=properties,
        declare=[],
        retry_policy=None,
    )
    _, _, data = codecs.encode(body, content_type)
    if compression:
        _, data = compress(data, compression)
    envelope["body"] = base64.b64encode(data).decode()
    said = properties.get("priority")
    priority = message.priority if said is None else int(said)
    return msgspec.structs.replace(message, payload=codecs.json_text(envelope).encode(), priority=priority)


def tell_after(message: Message) -> None:
    """Tell `after_task_publish`, and `task_sent` to who still listens to that."""
    envelope = msgspec.json.decode(message.payload)
    headers, place = envelope["headers"], envelope["properties"]["delivery_info"]
    body = _body(envelope)
    told = body if isinstance(body, dict) else {**headers, "args": body[0], "kwargs": body[1]}
    if signals.after_task_publish.receivers:
        aio.tell(
            signals.after_task_publish,
            told["task"],
            body=body,
            exchange=place["exchange"],
            routing_key=place["routing_key"],
            headers=headers,
            properties=envelope["properties"],
        )
    if signals.task_sent.receivers:
        aio.tell(
            signals.task_sent,
            told["task"],
            task_id=told["id"],
            task=told["task"],
            args=told["args"],
            kwargs=told["kwargs"],
            eta=told["eta"],
            taskset=told["group"],
        )


def _body(envelope: dict[str, Any]) -> tuple[Any, ...] | dict[str, Any]:
    """(args, kwargs, embed) of one's own message, or all that protocol 1 says. Made a moment ago, so its
    content type is as trusted as the caller."""
    content_type, compression = envelope["content-type"], envelope["headers"].get("compression")
    data = base64.b64decode(envelope["body"])
    if compression:
        data = decompress(data, compression)
    body = codecs.decode(data, content_type, envelope["content-encoding"], accept=(content_type,))
    return body if isinstance(body, dict) else tuple(body)
