"""Tasks at the same time, then one with all their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from celeriac.canvas.breaking import breaking
from celeriac.canvas.group import flattened, group
from celeriac.canvas.publishing import send
from celeriac.canvas.signature import (
    Call,
    Prepared,
    Signature,
    as_signature,
    first_of,
    listing,
    place_of,
    shortened,
    stamps_joined,
)
from celeriac.exceptions import ChordError
from celeriac.message import Message
from celeriac.result import EagerResult
from celeriac.sending import must_fit
from celeriac.wire.ids import new_id

#: Options that say under what id the chord's value is known, and who counts it: those of its body.
_OF_THE_BODY = ("group_id", "group_index", "chord")
#: Options that say when: the body comes when it can.
_OF_THE_HEADER = ("countdown", "eta")


@Signature.register_type("chord")
class chord(Signature):
    """Tasks at the same time (the header), then one (the body) with the list of their values.

    chord(count.s(page) for page in pages)(total.s()).get()

    If a task of the header fails the body is not run: its result is a ChordError, and its errbacks are
    called.
    """

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Any = None,
        **options: Any,
    ) -> None:
        tasks = group(header).tasks if not isinstance(header, group) else header.tasks
        made = None if body is None else as_signature(body, app)
        super().__init__(
            task,
            args,
            {"kwargs": dict(kwargs or {}), "header": tasks, "body": made},
            options=options,
            subtask_type="chord",
            app=app,
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        inside = d["kwargs"]
        header = inside["header"]
        if isinstance(header, Mapping) and header.get("subtask_type") == "group":
            header = as_signature(header, app)
        else:
            header = group(header, app=app).tasks
        body = inside.get("body")
        made = cls((), None, app=app)
        made.update(
            {
                **d,
                "kwargs": {
                    "kwargs": dict(inside.get("kwargs") or {}),
                    "header": header,
                    "body": None if body is None else as_signature(body, app),
                },
            }
        )
        return made

    @property
    def tasks(self) -> Any:
        """The header: a list, or a group once the ids are settled."""
        return self.kwargs["header"]

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self.kwargs["header"] = tasks

    @property
    def body(self) -> Any:
        return self.kwargs["body"]

    @body.setter
    def body(self, body: Any) -> None:
        self.kwargs["body"] = body

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send it, with this body."""
        return self._with(body).apply_async((), **options)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        """Send the header; the result is the body's, with that of the header as its parent."""
        body = (kwargs or {}).get("body")
        if body is not None:
            kwargs = {name: value for name, value in (kwargs or {}).items() if name != "body"}
            return self._with(body).apply_async(args, kwargs, route_name, **options)
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        return send(self.app, self.prepare(args, kwargs, **options))

    def run(
        self,
        header: Any,
        body: Any,
        partial_args: Iterable[Any] | None = None,
        app: Any = None,
        interval: float | None = None,
        countdown: float = 1,
        max_retries: int | None = None,
        eager: bool = False,
        task_id: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        header_delay: float | None = None,
        **options: Any,
    ) -> Any:
        """Send this header with this body. `interval`, `countdown`, `max_retries` are not needed: nobody
        polls."""
        made = chord(header, body, app=app or self._app)
        said = {**({"task_id": task_id} if task_id else {}), **options}
        if header_delay:
            said["countdown"] = header_delay
        return (made.apply if eager else made.apply_async)(partial_args, kwargs, **said)

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run the header here and now, then the body."""
        own = {**self.options, **options}
        task_id = options.pop("task_id", None)
        header = group(self.tasks, app=self.app).apply((*(args or ()), *self.args), kwargs)
        body = self._body(own)
        broken = next((result for result in header.results if not result.successful()), None)
        if broken is None:
            ran = body.apply((header.join(disable_sync_subtasks=False),), **_said({"task_id": task_id}))
        else:
            error = ChordError(f"Dependency {broken.id} raised {broken.result!r}")
            error.__cause__ = broken.result if isinstance(broken.result, BaseException) else None
            ran = EagerResult(task_id or body.id or new_id(), error, "FAILURE", name=body.task)
        first = ran
        while first.parent is not None:
            first = first.parent
        first.parent = header
        return ran

    def prepare(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Prepared:
        task_id = options.pop("task_id", None)
        own = {**self.options, **options}
        header, body = self._header(own.pop("task_id", None)), self._body(own)
        for name in ("link", "link_error", "chain"):
            own.pop(name, None)
        for_body = {name: own.pop(name) for name in _OF_THE_BODY if own.get(name) is not None}
        body_result = body.freeze(task_id, **_said(for_body))
        only_header = {name: own.pop(name) for name in _OF_THE_HEADER if name in own}
        if not own.get("root_id"):
            own.pop("root_id", None)
        for name, value in own.items():
            if name not in ("root_id", "parent_id"):
                body.options.setdefault(name, value)
        args = tuple(args or ()) if self.immutable else (*(args or ()), *self.args)
        kwargs = {**self.kwargs["kwargs"], **(kwargs or {})}
        members = header.members()
        if not members:
            sent = body.prepare(([],), **_said({n: own.get(n) for n in ("root_id", "parent_id")}))
            return Prepared(sent.calls, body_result)
        counted = {**body, "chord_size": members}
        sent = header.prepare(args, kwargs, **own, **only_header, chord=counted)
        _first(body_result).parent = sent.result
        broken = breaking(self.app, body, sent.result.id)
        for message in broken:
            # The body is in it, and only here its size is seen: members carry it compressed.
            if len(message.payload) > self.app.conf.task_max_bytes:
                must_fit(self.app, msgspec.structs.replace(message, id=body.id or message.id))
        return Prepared(_announced(sent.calls, sent.result.id, members, broken), body_result)

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Settle the ids of the header and of the body."""
        header = self._header(self.id)
        header_result = header.promise(root_id=root_id, parent_id=parent_id)
        self.tasks = header
        self.options["task_id"] = header.id
        self.body = self._body({})
        result = self.body.freeze(_id, group_id, chord, root_id, None, group_index)
        _first(result).parent = header_result
        return result

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Signature:
        """Put headers on the tasks of its header and on its body."""
        self.stamp_links(visitor, append_stamps, **headers)
        if visitor is not None:
            headers = stamps_joined(headers, visitor.on_chord_header_start(self, **headers))
        for task in self.tasks.tasks if isinstance(self.tasks, group) else self.tasks:
            task.stamp(visitor, append_stamps, **headers)
        if visitor is not None:
            visitor.on_chord_header_end(self, **headers)
        if self.body is not None:
            # As in Celery it has the stamps of the header too.
            if visitor is not None:
                headers = stamps_joined(headers, visitor.on_chord_body(self, **headers))
            self.body.stamp(visitor, append_stamps, **headers)
        return self

    def members(self) -> int:
        return self.body.members() if self.body is not None else 1

    def link(self, callback: Any) -> Any:
        """Call it with the body's value."""
        self.body = self._body({})
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Call it when the body fails or never runs (with task_allow_error_cb_on_chord_header, also for each
        task of the header that fails)."""
        self.body = self._body({})
        self.body.link_error(errback)
        if self.app.conf.task_allow_error_cb_on_chord_header:
            for task in self.tasks:
                task.link_error(as_signature(errback, self._app).clone(immutable=True))
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Whether the tasks of its header refuse the value of the task before."""
        for task in self.tasks.tasks if isinstance(self.tasks, group) else self.tasks:
            task.set_immutable(immutable)

    def __length_hint__(self) -> int:
        return group(self.tasks, app=self._app).members()

    def __repr__(self) -> str:
        tasks = self.tasks
        if self.body is None:
            return f"<chord without body: {tasks!r}>"
        if isinstance(self.body, Signature) and self.body.subtask_type == "chain":
            first, *rest = self.body.kwargs["tasks"] or [None]
            inside = " | ".join([_call_with(first, tasks), *map(repr, rest)])
            return shortened(f"%({inside})", "" if first is None else first.task)
        return shortened("%" + _call_with(self.body, tasks), self.body.task)

    # --- inside -------------------------------------------------------------------------------------------

    def _first(self) -> Signature | None:
        first = group(self.tasks)._first()
        return self.body if first is None else first

    def _with(self, body: Any) -> chord:
        if body is None:
            return self
        made = self.clone() if not _is_late(self.tasks) else chord(self.tasks, app=self._app, **self.options)
        assert isinstance(made, chord)
        made.body = as_signature(body, self._app).clone()
        return made

    def _header(self, group_id: str | None) -> group:
        tasks = self.tasks
        header = tasks.clone() if isinstance(tasks, group) else group(tasks, app=self.app)
        assert isinstance(header, group)
        header.options.setdefault("task_id", group_id or new_id())
        header._app = self.app
        # The number of members must travel with each of them, so a generator is gone through now.
        header.kwargs["tasks"] = [valued_as_one(task) for task in flattened(header.tasks, self.app)]
        return header

    def _body(self, options: Mapping[str, Any]) -> Any:
        """A copy of the body, with what was said of the chord put where it belongs."""
        if self.body is None:
            raise TypeError("a chord needs a body: chord(header)(body)")
        body = self.body.clone()
        follow = listing(options.get("chain"))
        for callback in listing(options.get("link")):
            body.link(callback)
        for errback in listing(options.get("link_error")):
            body.link_error(errback)
        for step in reversed(follow):
            body = Signature.joined(body, as_signature(step, self.app))
        return body


def valued_as_one(task: Signature) -> Signature:
    """What ends in a group, also in an empty one, leaves the list of that group's values, as one value."""
    if not (isinstance(task, group) or _ends_in_group(task)):
        return task
    listed = Signature(
        "celery.accumulate", kwargs={"index": 0}, options=place_of(first_of(task)), app=task._app
    )
    return Signature.joined(task, listed)


def _ends_in_group(task: Any) -> bool:
    if isinstance(task, group):
        return bool(task)
    if isinstance(task, chord):
        return task.body is not None and _ends_in_group(task.body)
    steps = task.kwargs["tasks"] if task.subtask_type == "chain" else ()
    return next((_ends_in_group(step) for step in reversed(steps) if step), False)


def _announced(
    calls: Iterable[Call], group_id: str, members: int, broken: tuple[Message, ...]
) -> Iterator[Call]:
    """The first message of a header tells its size, for a foreign worker that finishes the chord, and the
    last one that this is all: so a store knows of a producer that sends no more of what it began."""
    last: Call | None = None
    for call in calls:
        if last is None:
            # A chord in its header has told its own already.
            told = (*call.options.get("chord_sizes", ()), (group_id, members, broken))
            call.options["chord_sizes"] = told
        else:
            yield last
        last = call
    if last is not None:
        last.options["chord_ends"] = (*last.options.get("chord_ends", ()), group_id)
        yield last


def _first(result: Any) -> Any:
    while result.parent is not None:
        result = result.parent
    return result


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _is_late(tasks: Any) -> bool:
    return not isinstance(tasks, list | dict)


def _call_with(body: Any, tasks: Any) -> str:
    return body.reprcall(tasks) if body is not None else repr(tasks)
