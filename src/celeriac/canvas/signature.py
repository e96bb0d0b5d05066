"""Calls as values: a signature is a call not yet made, to be passed on, changed, and joined to others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, NamedTuple

from celeriac.current import get_current_app
from celeriac.message import Message
from celeriac.result import AsyncResult
from celeriac.wire.ids import new_id
from celeriac.wire.saferepr import safe_repr

#: Options that say where.
_PLACE = ("queue", "routing_key", "exchange", "priority")


class Call(NamedTuple):
    """One message to be: what a task is called with, and how."""

    task: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: dict[str, Any]
    #: The task itself, where this process knows it.
    known: Any = None
    #: How it goes, where that is composed already.
    message: Message | None = None


class Prepared(NamedTuple):
    """All that a signature comes to once somebody sends it."""

    #: In the order of sending; may be a generator, so it is gone through once.
    calls: Iterable[Call]
    #: What the sender gets; a group's is complete when the calls were gone through.
    result: Any


class Signature(dict[str, Any]):
    """A task's name with arguments and options, as a dict that travels inside messages.

    add.s(2) | add.s(3)      a chain: 2, then its value + 3
    add.si(2, 2)             immutable: takes no value of the task before
    """

    #: What a dict's `subtask_type` says about its class.
    TYPES: ClassVar[dict[str, type[Signature]]] = {}
    #: What `a | b` gives: canvas/joining.py, which knows all kinds.
    joined: ClassVar[Callable[[Signature, Signature], Signature]]

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
            args=tuple(args) if args else (),
            kwargs=dict(kwargs) if kwargs else {},
            options={**options, **more_options} if options else more_options,
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
        return Signature(_whole(d), app=app)

    # --- sending ------------------------------------------------------------------------------------------

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Send it, with more arguments in front."""
        return self.apply_async(partial_args, partial_kwargs)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        """Send it: arguments go in front of its own, options win over its own."""
        args, kwargs, options = self._merge(args, kwargs, options)
        task = self._registered()
        if task is not None:
            return task.apply_async(args, kwargs, **options)
        return self.app.send_task(self.task, args, kwargs, **options)

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run it here and now."""
        args, kwargs, options = self._merge(args, kwargs, options)
        return self.type.apply(args, kwargs, **options)

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        args, kwargs, _ = self._merge(partial_args, partial_kwargs, {})
        return self.type(*args, **kwargs)

    def prepare(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Prepared:
        """What would be sent, without sending it."""
        args, kwargs, options = self._merge(args, kwargs, options)
        task_id = options["task_id"] = options.get("task_id") or new_id()
        task = self._registered()
        result = self.promised(task_id, options)
        result.task_name = self.task
        return Prepared((Call(self.task, args, kwargs, options, task),), result)

    def members(self) -> int:
        """How many values it leaves to the body of a chord whose header it stands in."""
        return 1

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
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Settle its id before it is sent; returns the result to be."""
        options = self.options
        task_id = options.setdefault("task_id", None) or _id or new_id()
        said = {"root_id": root_id, "parent_id": parent_id, "group_id": group_id, "chord": chord}
        options.update({name: value for name, value in said.items() if value})
        options["task_id"] = task_id
        if group_index is not None:
            options["group_index"] = group_index
        return self.promised(task_id, options)

    def promised(self, task_id: str, options: Mapping[str, Any]) -> AsyncResult[Any]:
        """The result that a call with these options will have."""
        result: AsyncResult[Any] = AsyncResult(task_id, app=self.app)
        result.ignored = self.ignores(options)
        return result

    def ignores(self, options: Mapping[str, Any]) -> bool:
        """Whether nobody will store the result of a call with these options, as far as this process knows."""
        app = self.app
        # Not every signature that is written down shall make its app ready.
        known = self._registered() if self._type is not None or app.finalized else None
        if known is not None:
            return bool(known.ignores(app, options))
        said = options.get("ignore_result")
        return bool(app.conf.task_ignore_result if said is None else said)

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
        self._listed(key).extend(listing(value))

    def flatten_links(self) -> list[Signature]:
        """Itself and all that is linked to it, at any depth."""
        found: list[Signature] = [self]
        for callback in listing(self.options.get("link")):
            signature = maybe_signature(callback, self._app)
            if signature is not None:
                found.extend(signature.flatten_links())
        return found

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Signature:
        """Put headers on it and on what is linked to it, those of a StampingVisitor too; returns itself.

        A stamp takes the place of an earlier one of its name, or (`append_stamps`) both are kept in a list.
        """
        self.stamp_links(visitor, append_stamps, **headers)
        if visitor is not None:
            headers = stamps_joined(headers, visitor.on_signature(self, **headers))
        options = self.options
        names = _stamp_names(headers)
        for name, value in headers.items():
            if name == "stamped_headers":
                continue
            both = append_stamps and name in options
            options[name] = [*listing(value), *listing(options[name])] if both else value
        if names:
            options["stamped_headers"] = _once(options.get("stamped_headers"), names)
        return self

    def stamp_links(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> None:
        """Stamp what is linked to it."""
        for option, visit in (("link", "on_callback"), ("link_error", "on_errback")):
            linked = self.options.get(option)
            if not linked:
                continue
            # Copies: an errback of a group stands in each of its tasks, and is stamped in each once.
            signatures = [as_signature(one, self._app).clone() for one in listing(linked)]
            for one in signatures:
                said = None if visitor is None else getattr(visitor, visit)(one, **headers)
                one.stamp(visitor, append_stamps, **stamps_joined(headers, said))
            self.options[option] = signatures if isinstance(linked, list | tuple) else signatures[0]

    def _stamp_each(
        self, tasks: Iterable[Any], kind: str, visitor: Any, append_stamps: bool, headers: dict[str, Any]
    ) -> Signature:
        """Stamp all of a chain or a group, with what the visitor says of that kind."""
        if visitor is not None:
            headers = stamps_joined(headers, getattr(visitor, f"on_{kind}_start")(self, **headers))
        self.stamp_links(visitor, append_stamps, **headers)
        for task in tasks:
            task.stamp(visitor, append_stamps, **headers)
        if visitor is not None:
            getattr(visitor, f"on_{kind}_end")(self, **headers)
        return self

    def __or__(self, other: Any) -> Signature:  # type: ignore[override]
        if not isinstance(other, Signature):
            return NotImplemented
        return Signature.joined(self, other)

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
            first = self._first()
            if first is not None:
                self._app = first.app
            else:
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
        all_args, all_kwargs, _ = self._merge(args, kwargs, {}, force=True)
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
        force: bool = False,
    ) -> tuple[Sequence[Any], dict[str, Any], dict[str, Any]]:
        merged = {**self.options, **(options or {})}
        stamped = self.options.get("stamped_headers")
        if stamped and options:
            # What it was stamped with is not for the one who sends it to change.
            merged.update({name: self.options[name] for name in stamped if name in self.options})
            merged["stamped_headers"] = _once(stamped, options.get("stamped_headers"))
        if self.immutable and not force:
            return tuple(self.args), dict(self.kwargs), merged
        return (*(args or ()), *self.args), {**self.kwargs, **(kwargs or {})}, merged

    def _first(self) -> Signature | None:
        """Of several that are one: the one whose app is meant."""
        return None

    def _registered(self) -> Any:
        return self._type if self._type is not None else self.app.tasks.get(self.task)

    def _listed(self, key: str) -> list[Any]:
        items = self.options[key] = listing(self.options.get(key))
        return items


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


def as_signature(d: Any, app: Any = None) -> Signature:
    """The signature of what must be one."""
    if not isinstance(d, Mapping):
        raise TypeError(_no_signature(d))
    made = maybe_signature(d, app)
    assert made is not None
    return made


def _no_signature(given: Any) -> str:
    """What to write in place of what is no signature."""
    name = getattr(given, "__name__", None)
    if callable(getattr(given, "s", None)) and name:
        return f"a signature is needed here, not the task itself: write {name}.s(...)"
    if isinstance(given, AsyncResult):
        return (
            "a signature is needed here, not a result: add.delay(1, 2) has sent the task already, "
            "add.s(1, 2) is the call that is not made yet"
        )
    return (
        f"a signature is needed here, not {safe_repr(given, 80)}: add(1, 2) runs the task at once and gives "
        "its value, add.s(1, 2) is the call that is not made yet"
    )


def first_of(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of several that are one: the first that says where it goes, or else the first task of all."""
    while not task["options"].get("queue") and task.get("subtask_type") in ("chain", "group", "chord"):
        inside = task["kwargs"]["header" if task["subtask_type"] == "chord" else "tasks"]
        if not inside:
            break
        task = inside if isinstance(inside, Mapping) else inside[0]
    return task


def place_of(task: Mapping[str, Any]) -> dict[str, Any]:
    """What a task says of where it goes."""
    options = task["options"]
    return {name: options[name] for name in _PLACE if options.get(name) is not None}


def is_several(value: Any) -> bool:
    """A list or another iterable of signatures; not one of them, which is a dict, nor a text."""
    return isinstance(value, Iterable) and not isinstance(value, dict | str | bytes | AsyncResult)


def shortened(text: str, name: str) -> str:
    """Of all tasks in this text that live beside the task of this name, only the first says where that is."""
    module = name.rpartition(".")[0]
    if not module:
        return text
    before, first, after = text.partition(f"{module}.")
    return before + first + after.replace(first, "") if first else text


def stamps_joined(headers: Mapping[str, Any], more: Mapping[str, Any] | None) -> dict[str, Any]:
    """The stamps from outside with those that a visitor gave."""
    more = more or {}
    if not headers and not more:
        return {}
    names = _once(_stamp_names(headers), _stamp_names(more))
    return {**headers, **more, "stamped_headers": names}


def _once(names: Sequence[str] | None, more: Sequence[str] | None) -> list[str]:
    return list(dict.fromkeys((*(names or ()), *(more or ()))))


def _stamp_names(headers: Mapping[str, Any]) -> Sequence[str]:
    names: Sequence[str] = headers["stamped_headers"] if "stamped_headers" in headers else list(headers)
    return names


def listing(value: Any) -> list[Any]:
    """One or several as a list; a signature is a dict, hence one."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _whole(d: Mapping[str, Any]) -> dict[str, Any]:
    """What others wrote may lack what has its default."""
    return {
        "task": None,
        "args": (),
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": False,
        **d,
    }
