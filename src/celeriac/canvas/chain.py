"""Tasks one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from celeriac.canvas.publishing import send
from celeriac.canvas.signature import (
    Prepared,
    Signature,
    as_signature,
    is_several,
    listing,
    shortened,
)

#: Options of a chain that belong to its last step: under what id it is known, and who counts it.
_OF_THE_LAST = ("task_id", "group_id", "group_index", "chord")


@Signature.register_type("chain")
class chain(Signature):
    """Tasks one after the other, each with the value of the one before in front of its arguments.

    chain(load.s(url), parse.s(), store.s()).delay()
    """

    def __new__(cls, *tasks: Any, **_named: Any) -> Any:
        steps = _given(tasks)
        # Steps that are joined may be something else: one of them alone, or a chord.
        made = _all_joined(steps) if steps else None
        if made is None or cls is not chain:
            return super().__new__(cls)
        if len(steps) > 1:
            return made
        # One task alone stays a chain: who calls it sends it, and does not run it here.
        return chain.of([made]) if made.subtask_type is None else made.clone()

    def __init__(self, *tasks: Any, app: Any = None, **options: Any) -> None:
        if "task" in self:  # __new__ has joined it
            self.options.update(options)
            if app is not None:
                self._app = app
            return
        super().__init__(
            "celery.chain",
            kwargs={"tasks": [as_signature(step) for step in _given(tasks)]},
            options=options,
            subtask_type="chain",
            app=app,
        )

    @classmethod
    def of(cls, steps: Sequence[Signature], app: Any = None, **options: Any) -> chain:
        """A chain of just these steps."""
        made = Signature.__new__(cls)
        kwargs = {"tasks": list(steps)}
        Signature.__init__(
            made, "celery.chain", kwargs=kwargs, options=options, subtask_type="chain", app=app
        )
        return made

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        steps = [as_signature(step, app) for step in d["kwargs"]["tasks"]]
        made = cls.of(steps, app)
        made.update({**d, "kwargs": {**d["kwargs"], "tasks": steps}})
        return made

    @property
    def tasks(self) -> list[Signature]:
        """The steps, the first one first."""
        steps: list[Signature] = self.kwargs["tasks"]
        return steps

    def unchain_tasks(self) -> list[Signature]:
        """Copies of the steps, with the chain's own link and link_error put where they belong."""
        return self._steps(self.options)

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Send it; None if there is nothing to send."""
        return self.apply_async(partial_args, partial_kwargs) if self.tasks else None

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        """Send the first step, which carries the others; the result is the last one's, with its parents."""
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        return send(self.app, self.prepare(args, kwargs, **options))

    run = apply_async

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run the steps here and now, one after the other, up to the first that fails."""
        value: Any = tuple(args or ())
        ran: Any = None
        for step in self._steps({**self.options, **options}):
            last, ran = ran, step.apply(value, kwargs if ran is None else None)
            first = ran
            while first.parent is not None:
                first = first.parent
            first.parent = last
            if not ran.successful():
                break
            value = (ran.get(disable_sync_subtasks=False),)
        return ran

    def prepare(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Prepared:
        own = {**self.options, **options}
        steps = self._steps(own)
        for name in ("link", "link_error"):
            own.pop(name, None)
        follow = listing(own.pop("chain", None))
        if not steps:
            # Nothing to do here: what was to follow comes at once.
            return _next_of(follow, self.app).prepare(args, kwargs, **own) if follow else Prepared((), None)
        of_the_last = {name: own.pop(name) for name in _OF_THE_LAST if own.get(name) is not None}
        if len(steps) == 1:
            only = steps[0]
            if follow and only.subtask_type == "group":
                only, follow = Signature.joined(only, _next_of(follow, self.app)), []
            return only.prepare(args, kwargs, **own, **of_the_last, chain=follow or None)
        result = _freeze(
            steps,
            of_the_last.get("task_id"),
            root_id=own.get("root_id"),
            parent_id=own.get("parent_id"),
            group_id=of_the_last.get("group_id"),
            chord=of_the_last.get("chord"),
            group_index=of_the_last.get("group_index"),
        )
        first = steps[0]
        for name in ("root_id", "parent_id"):
            first.options.pop(name, None)
        follow = [*follow, *(dict(step) for step in steps[:0:-1])]
        return Prepared(first.prepare(args, kwargs, **own, chain=follow).calls, result)

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Settle the ids of all steps."""
        if not self.tasks:
            return None
        result = _freeze(self.tasks, _id or self.id, root_id, parent_id, group_id, chord, group_index)
        # A stock worker stores the failure of a chord whose body it is under this id.
        self.options["task_id"] = result.id
        return result

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Signature:
        """Put headers on each of its steps."""
        return self._stamp_each(self.tasks, "chain", visitor, append_stamps, headers)

    def members(self) -> int:
        return next((step.members() for step in reversed(self.tasks) if not _is_empty(step)), 0)

    def set_immutable(self, immutable: bool) -> None:
        """Whether the first step refuses the value of the task before."""
        if self.tasks:
            self.tasks[0].set_immutable(immutable)

    def _first(self) -> Signature | None:
        return self.tasks[0] if self.tasks else None

    def _steps(self, options: Mapping[str, Any]) -> list[Signature]:
        # An empty group says nothing and hands nothing on.
        steps = [step.clone() for step in self.tasks if not _is_empty(step)]
        for errback in listing(options.get("link_error")):
            for step in steps:
                step.link_error(errback)
        if steps:
            for callback in listing(options.get("link")):
                for last in _last_of(steps[-1]):
                    last.link(callback)
        return steps

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, key: Any) -> Any:
        return self.tasks[key] if isinstance(key, int | slice) else super().__getitem__(key)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<chain@{id(self):#x}: empty>"
        return shortened(" | ".join(repr(step) for step in self.tasks), self.tasks[0].task)


def _last_of(step: Signature) -> list[Signature]:
    """What is called back with a value when it is the last step: of a group each task with its own."""
    if step.subtask_type != "group":
        return [step]
    return [last for task in step.kwargs["tasks"] for last in _last_of(task)]


def _is_empty(step: Signature) -> bool:
    return step.subtask_type == "group" and not step


def _all_joined(steps: list[Any]) -> Signature:
    first, *rest = (as_signature(step) for step in steps)
    if first.subtask_type == "group":
        # In a chain a group of one is that one, also where it comes first.
        first = Signature.joined(chain.of(()), first)
    return reduce(Signature.joined, rest, first)


def _next_of(follow: list[Any], app: Any) -> Signature:
    *rest, following = follow
    steps = [as_signature(step, app).clone() for step in (following, *reversed(rest))]
    return reduce(Signature.joined, steps)


def _freeze(
    steps: Sequence[Signature],
    last_id: str | None,
    root_id: str | None,
    parent_id: str | None,
    group_id: str | None,
    chord: Any,
    group_index: int | None,
) -> Any:
    result: Any = None
    for step in steps:
        if step is steps[-1]:
            made = step.freeze(last_id, group_id, chord, root_id, parent_id, group_index)
        else:
            made = step.freeze(root_id=root_id, parent_id=parent_id)
        _first(made).parent = result
        root_id, parent_id, result = root_id or made.id, made.id, made
    return result


def _first(result: Any) -> Any:
    """The earliest of a result and its parents: of a chord it is the result of its header."""
    while result.parent is not None:
        result = result.parent
    return result


def _given(tasks: Sequence[Any]) -> list[Any]:
    """Steps given one by one, or as one list or other iterable."""
    return list(tasks[0]) if len(tasks) == 1 and is_several(tasks[0]) else list(tasks)
