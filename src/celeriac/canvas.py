"""Calls as values: a signature is a call not yet made, to be passed on, changed, and joined to others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, NamedTuple, NoReturn

from celeriac.current import get_current_app
from celeriac.message import Message
from celeriac.request import Request
from celeriac.result import AsyncResult
from celeriac.wire.task import new_id

_log = logging.getLogger("celeriac.canvas")


class Call(NamedTuple):
    """All that a signature comes to once somebody sends it."""

    task: str
    args: Sequence[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    result: AsyncResult[Any]


class Signature(dict[str, Any]):
    """A task's name with arguments and options, as a dict that travels inside messages.

    add.s(2) | add.s(3)      a chain: 2, then its value + 3
    add.si(2, 2)             immutable: takes no value of the task before
    """

    #: What a dict's `subtask_type` says about its class.
    TYPES: ClassVar[dict[str, type[Signature]]] = {}

    def __init__(
        self,
        task: Any = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Any = None,
        **more_options: Any,
    ) -> None:
        self._app = app
        self._type = type
        if isinstance(task, dict):
            super().__init__(task)
            return
        if task is not None and not isinstance(task, str):
            self._type = task
            task = task.name
        super().__init__(
            task=task,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **more_options},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[type[Signature]], type[Signature]]:
        """Decorator: dicts with this `subtask_type` become the class."""

        def register(kind: type[Signature]) -> type[Signature]:
            cls.TYPES[name or kind.__name__] = kind
            return kind

        return register

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        """The signature that a dict describes, of its own class."""
        kind = cls.TYPES.get(d.get("subtask_type") or "")
        if kind is not None and kind is not cls:
            return kind.from_dict(d, app=app)
        return Signature(dict(d), app=app)

    # --- sending ------------------------------------------------------------------------------------------

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> AsyncResult[Any]:
        """Send it, with more arguments in front."""
        return self.apply_async(partial_args, partial_kwargs)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send it: arguments go in front of its own, options win over its own."""
        args, kwargs, options = self._merge(args, kwargs, options)
        task = self._registered()
        if task is not None:
            sent: AsyncResult[Any] = task.apply_async(args, kwargs, **options)
        else:
            sent = self.app.send_task(self.task, args, kwargs, **options)
        return sent

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Run it here and now."""
        args, kwargs, options = self._merge(args, kwargs, options)
        ran: AsyncResult[Any] = self.type.apply(args, kwargs, **options)
        return ran

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        args, kwargs, _ = self._merge(partial_args, partial_kwargs, {})
        return self.type(*args, **kwargs)

    def call(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Call:
        """What would be sent, without sending it."""
        args, kwargs, options = self._merge(args, kwargs, options)
        task_id = options.setdefault("task_id", None) or new_id()
        options["task_id"] = task_id
        return Call(self.task, args, kwargs, options, AsyncResult(task_id, app=self.app))

    # --- changing -----------------------------------------------------------------------------------------

    def clone(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """A copy, with arguments in front and more options."""
        copied = deepcopy(self)
        if args or kwargs or options:
            copied["args"], copied["kwargs"], copied["options"] = copied._merge(args, kwargs, options)
        return copied

    partial = clone

    def replace(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Signature:
        """A copy with other arguments or options."""
        copied = deepcopy(self)
        if args is not None:
            copied["args"] = tuple(args)
        if kwargs is not None:
            copied["kwargs"] = dict(kwargs)
        if options is not None:
            copied["options"] = dict(options)
        return copied

    def set(self, immutable: bool | None = None, **options: Any) -> Signature:
        """Set options of apply_async; returns itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Whether it refuses the value of the task before."""
        self["immutable"] = immutable

    def freeze(
        self, _id: str | None = None, root_id: str | None = None, parent_id: str | None = None, **_named: Any
    ) -> AsyncResult[Any]:
        """Settle its id before it is sent; returns the result to be."""
        options = self.options
        task_id = options.setdefault("task_id", _id or new_id())
        if root_id:
            options["root_id"] = root_id
        if parent_id:
            options["parent_id"] = parent_id
        return AsyncResult(task_id, app=self.app)

    def link(self, callback: Any) -> Any:
        """Call it with the value, when this succeeds; returns the callback."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Call it when this fails, with its id or with (request, exc, traceback); returns the errback."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Signature:
        """As link_error, but returns itself, so that it stands in a chain."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add to an option that holds a list, once."""
        items = self._listed(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add one or several to an option that holds a list."""
        self._listed(key).extend(_listing(value))

    def flatten_links(self) -> list[Signature]:
        """Itself and all that is linked to it, at any depth."""
        found: list[Signature] = [self]
        for callback in _listing(self.options.get("link")):
            signature = maybe_signature(callback, self._app)
            if signature is not None:
                found.extend(signature.flatten_links())
        return found

    def __or__(self, other: Any) -> Signature:  # type: ignore[override]
        if not isinstance(other, Signature):
            return NotImplemented
        return _joined(self, other)

    def __ior__(self, other: Any) -> Signature:  # type: ignore[override]
        return self.__or__(other)

    def __invert__(self) -> Any:
        """Send it and wait for the value."""
        return self.apply_async().get()

    # --- looking ------------------------------------------------------------------------------------------

    @property
    def app(self) -> Any:
        """The app that sends it: its own, its task's, or the current one."""
        if self._app is None:
            self._app = self._type.app if self._type is not None else get_current_app()
        return self._app

    @property
    def type(self) -> Any:
        """The task; NotRegistered if this process does not know it."""
        if self._type is None:
            self._type = self.app.tasks[self.task]
        return self._type

    @property
    def name(self) -> str:
        return str(self["task"])

    @property
    def task(self) -> str:
        return str(self["task"])

    @property
    def args(self) -> Sequence[Any]:
        args: Sequence[Any] = self["args"]
        return args

    @property
    def kwargs(self) -> dict[str, Any]:
        kwargs: dict[str, Any] = self["kwargs"]
        return kwargs

    @property
    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = self["options"]
        return options

    @property
    def subtask_type(self) -> str | None:
        return self.get("subtask_type")

    @property
    def immutable(self) -> bool:
        return bool(self.get("immutable"))

    @property
    def id(self) -> str | None:
        return self.options.get("task_id")

    @property
    def parent_id(self) -> str | None:
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        return self.options.get("root_id")

    def AsyncResult(self, task_id: str) -> AsyncResult[Any]:
        """The result of a call of this task."""
        return AsyncResult(task_id, app=self.app)

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """How the call reads in Python."""
        all_args, all_kwargs, _ = self._merge(args, kwargs, {})
        words = [repr(arg) for arg in all_args]
        words += [f"{name}={value!r}" for name, value in all_kwargs.items()]
        return f"{self.task}({', '.join(words)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Signature:
        copied = Signature.from_dict(deepcopy(dict(self), memo), app=self._app)
        copied._type = self._type
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        return maybe_signature, (dict(self),)

    # --- inside -------------------------------------------------------------------------------------------

    def _merge(
        self,
        args: Iterable[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any] | None,
    ) -> tuple[Sequence[Any], dict[str, Any], dict[str, Any]]:
        merged = {**self.options, **(options or {})}
        if self.immutable:
            return tuple(self.args), dict(self.kwargs), merged
        return (*(args or ()), *self.args), {**self.kwargs, **(kwargs or {})}, merged

    def _registered(self) -> Any:
        return self._type if self._type is not None else self.app.tasks.get(self.task)

    def _listed(self, key: str) -> list[Any]:
        items = self.options[key] = _listing(self.options.get(key))
        return items


@Signature.register_type("chain")
class chain(Signature):
    """Tasks one after the other, each with the value of the one before in front of its arguments.

    chain(load.s(url), parse.s(), store.s()).delay()
    """

    def __new__(cls, *tasks: Any, **_named: Any) -> Any:
        steps = _flat(tasks)
        # A chain of one is that one.
        if len(steps) == 1 and cls is chain:
            return steps[0].clone()
        return super().__new__(cls)

    def __init__(self, *tasks: Any, app: Any = None, **options: Any) -> None:
        super().__init__(
            "celery.chain", kwargs={"tasks": _flat(tasks)}, options=options, subtask_type="chain", app=app
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        steps = [maybe_signature(step, app) for step in d["kwargs"]["tasks"]]
        made = Signature.__new__(cls)
        Signature.__init__(made, {**d, "kwargs": {**d["kwargs"], "tasks": steps}}, app=app)
        return made

    @property
    def tasks(self) -> list[Signature]:
        """The steps, the first one first."""
        steps: list[Signature] = self.kwargs["tasks"]
        return steps

    def unchain_tasks(self) -> list[Signature]:
        """Copies of the steps, with the chain's own link and link_error put where they belong."""
        return self._steps(self.options)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send the first step, which carries the others; the result is the last one's, with its parents."""
        if not self.tasks:
            raise ValueError("an empty chain cannot be sent")
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        first = self.call(args, kwargs, **options)
        task = self.tasks[0]._registered()
        if task is not None:
            task.apply_async(first.args, first.kwargs, **first.options)
        else:
            self.app.send_task(first.task, first.args, first.kwargs, **first.options)
        return first.result

    run = apply_async

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Run the steps here and now, one after the other, up to the first that fails."""
        value, last = tuple(args or ()), None
        for step in self._steps({**self.options, **options}):
            ran = step.apply(value, kwargs if last is None else None)
            ran.parent = last
            last = ran
            if not ran.successful():
                break
            value = (ran.result,)
        if last is None:
            raise ValueError("an empty chain cannot be run")
        return last

    def call(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Call:
        own = {**self.options, **options}
        steps = self._steps(own)
        last_id = own.pop("task_id", None)
        for name in ("link", "link_error"):
            own.pop(name, None)
        if last_id:
            steps[-1].options["task_id"] = last_id
        root_id, parent_id, result = own.get("root_id"), own.get("parent_id"), None
        for step in steps:
            made = step.freeze(root_id=root_id, parent_id=parent_id)
            made.parent = result
            root_id, parent_id, result = root_id or made.id, made.id, made
        assert result is not None
        first, rest = steps[0], steps[:0:-1]
        # A chain inside a chain's rest: what was to follow it comes after.
        follow = [*_listing(own.pop("chain", None)), *(dict(step) for step in rest)]
        call = first.call(args, kwargs, **own)
        call.options["chain"] = follow or None
        call.options["task_id"] = first.options["task_id"]
        return call._replace(result=result)

    def freeze(
        self, _id: str | None = None, root_id: str | None = None, parent_id: str | None = None, **_named: Any
    ) -> AsyncResult[Any]:
        """Settle the ids of all steps."""
        result: AsyncResult[Any] | None = None
        for step in self.tasks:
            is_last = step is self.tasks[-1]
            made = step.freeze(_id if is_last else None, root_id=root_id, parent_id=parent_id)
            made.parent = result
            root_id, parent_id, result = root_id or made.id, made.id, made
        if result is None:
            raise ValueError("an empty chain has no result")
        return result

    def _steps(self, options: Mapping[str, Any]) -> list[Signature]:
        steps = [step.clone() for step in self.tasks]
        for errback in _listing(options.get("link_error")):
            for step in steps:
                step.link_error(errback)
        if steps:
            for callback in _listing(options.get("link")):
                steps[-1].link(callback)
        return steps

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return " | ".join(repr(step) for step in self.tasks)


class group:
    """Tasks at the same time. Coming: not built yet."""

    def __init__(self, *tasks: Any, **options: Any) -> None:
        _not_yet("group")


class chord:
    """Tasks at the same time, then one with all their values. Coming: not built yet."""

    def __init__(self, header: Any, body: Any = None, **options: Any) -> None:
        _not_yet("chord")


class xmap:
    """One task that calls another for every item. Coming: not built yet."""

    def __init__(self, *_: Any, **options: Any) -> None:
        _not_yet("xmap")


class xstarmap:
    """One task that calls another for every tuple of arguments. Coming: not built yet."""

    def __init__(self, *_: Any, **options: Any) -> None:
        _not_yet("xstarmap")


class chunks:
    """Many calls cut into few messages. Coming: not built yet."""

    def __init__(self, *_: Any, **options: Any) -> None:
        _not_yet("chunks")


def signature(
    varies: Any,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    app: Any = None,
    **more_options: Any,
) -> Signature:
    """A signature from a task's name, a task, a dict or a signature (which is copied).

    signature("proj.add", args=(2, 2), options={"queue": "low"})
    """
    if isinstance(varies, dict):
        made = varies.clone() if isinstance(varies, Signature) else Signature.from_dict(varies, app=app)
        if app is not None:
            made._app = app
        return made
    return Signature(varies, args, kwargs, options, app=app, **more_options)


subtask = signature


def maybe_signature(d: Any, app: Any = None, clone: bool = False) -> Signature | None:
    """A dict as a signature; a signature as it is (or copied); None stays None."""
    if d is None:
        return None
    made = d if isinstance(d, Signature) else Signature.from_dict(d, app=app)
    if made is d and clone:
        made = made.clone()
    if app is not None:
        made._app = app
    return made


maybe_subtask = maybe_signature


# --- what follows a task: for the worker ------------------------------------------------------------------


def follow_ups(app: Any, request: Request, value: Any) -> tuple[Message, ...]:
    """The messages that a success sets off: its callbacks, and the next step of its chain."""
    if not request.callbacks and not request.chain:
        return ()
    came_from = {"root_id": request.root_id or request.id, "parent_id": request.id}
    messages = [app.message_for(callback, (value,), **came_from) for callback in request.callbacks or ()]
    if request.chain:
        *rest, following = request.chain
        messages.append(app.message_for(following, (value,), chain=rest or None, **came_from))
    # They are children as much as those that the task called itself.
    request.children.extend(AsyncResult(message.id, app=app) for message in messages)
    return tuple(messages)


def error_follow_ups(app: Any, request: Request, exc: BaseException) -> tuple[Message, ...]:
    """The messages that a failure sets off: to errbacks that take an id, and to all not known here."""
    if not request.errbacks:
        return ()
    came_from = {"root_id": request.root_id or request.id, "parent_id": request.id}
    return tuple(
        app.message_for(errback, (request.id,), **came_from) for errback in errbacks_by_id(app, request)
    )


def errbacks_by_id(app: Any, request: Request) -> list[Signature]:
    """The errbacks that are tasks of their own, called with the id of the one that failed."""
    return [
        Signature.from_dict(errback, app=app)
        for errback in request.errbacks or ()
        if not _takes_the_error(app, errback)
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


# --- inside -----------------------------------------------------------------------------------------------


def _listing(value: Any) -> list[Any]:
    """One or several as a list; a signature is a dict, hence one."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _flat(tasks: Sequence[Any]) -> list[Signature]:
    """Steps from signatures, dicts and chains; a single list or other iterable of them counts as them."""
    if len(tasks) == 1 and not isinstance(tasks[0], dict):
        tasks = list(tasks[0])
    steps: list[Signature] = []
    for task in tasks:
        step = maybe_signature(task)
        if isinstance(step, chain):
            steps.extend(step.unchain_tasks())
        elif step is not None:
            steps.append(step)
    return steps


def _joined(left: Signature, right: Signature) -> Signature:
    app = left._app or right._app
    made: Signature = chain(left.clone(), right.clone(), app=app)
    return made


def _not_yet(name: str) -> NoReturn:
    raise NotImplementedError(f"{name} is not built yet; it is coming. Tasks in sequence work: a.s() | b.s()")
