"""Tasks at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celeriac.canvas.later import Later
from celeriac.canvas.membership import Membership
from celeriac.canvas.publishing import send
from celeriac.canvas.signature import (
    Call,
    Prepared,
    Signature,
    as_signature,
    is_several,
    listing,
    shortened,
)
from celeriac.result import AsyncResult
from celeriac.resultset import GroupResult
from celeriac.wire.ids import id_of_member, new_id


@Signature.register_type("group")
class group(Signature):
    """Tasks at the same time, each with the same arguments in front of its own.

    group(thumbnail.s(path) for path in paths).delay().get()

    A generator is gone through while the group is sent, and its signatures are not kept.
    """

    def __init__(self, *tasks: Any, app: Any = None, **options: Any) -> None:
        super().__init__(
            "celery.group", kwargs={"tasks": _given(tasks)}, options=options, subtask_type="group", app=app
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        tasks = d["kwargs"]["tasks"]
        if not isinstance(tasks, Later):
            tasks = [as_signature(task, app) for task in _given((tasks,))]
        made = cls(app=app)
        made.update({**d, "kwargs": {**d["kwargs"], "tasks": tasks}})
        return made

    @property
    def tasks(self) -> Any:
        """The tasks, in order."""
        return self.kwargs["tasks"]

    def __call__(self, *partial_args: Any, **options: Any) -> Any:
        return self.apply_async(partial_args, **options)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> GroupResult[Any]:
        """Send all, hundreds in one exchange. Options hold for each of them."""
        for name in ("link", "link_error"):
            if options.get(name) is not None:
                raise TypeError(f"a group has no value to {name}: use a chord, or group.{name}(...)")
        if self.app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        result: GroupResult[Any] = send(self.app, self.prepare(args, kwargs, **options))
        return result

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> GroupResult[Any]:
        """Run all here and now, one after the other."""
        group_id = options.pop("task_id", None) or self.id or new_id()
        args = tuple(args or ())
        results = [task.apply(args, kwargs, **options) for task in flattened(self.tasks, self.app)]
        return GroupResult(group_id, results, app=self.app)

    def prepare(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Prepared:
        own = {**self.options, **options}
        follow = listing(own.pop("chain", None))
        if follow:
            raise ValueError("what follows a group must be the body of a chord")
        group_id = own.pop("task_id", None) or new_id()
        counted_in, index = own.pop("group_id", None), own.pop("group_index", None) or 0
        if own.get("chord"):
            # Its members are members of that chord themselves.
            of_members = {"group_id": counted_in or group_id}
        else:
            of_members, index = {"group_id": group_id}, 0
            own.pop("chord", None)
        result: GroupResult[Any] = GroupResult(group_id, [], app=self.app)
        args, kwargs = tuple(args or ()), kwargs or {}
        own.update(of_members)
        counted = bool(own.get("chord"))
        membership = Membership(self.app, of_members["group_id"], own)

        def calls() -> Iterator[Call]:
            position = index
            known, ignored = None, self.app.conf.task_ignore_result
            tasks = self.tasks.stream() if isinstance(self.tasks, Later) else self.tasks
            for number, task in enumerate(flattened(tasks, self.app)):
                own.pop("task_id", None)
                if is_single(task):
                    task_id = own["task_id"] = task.id or id_of_member(group_id, number)
                    call = membership.call(task, args, kwargs, task_id, position)
                    if call is not None:
                        position += 1
                        member: AsyncResult[Any] = AsyncResult(task_id, None, call.task, task.app)
                        if call.known is not known:
                            known, ignored = call.known, task.ignores(own)
                        member.ignored = ignored
                        result.results.append(member)
                        yield call
                        continue
                made = task.prepare(args, kwargs, **own, group_index=position)
                position += task.members() if counted else 1
                if made.result is not None:
                    result.results.append(made.result)
                yield from made.calls

        return Prepared(calls(), result)

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Settle the ids of all."""
        said = {"group_id": group_id, "chord": chord, "group_index": group_index}
        self.options.update({name: value for name, value in said.items() if value is not None})
        return self._freeze(_id, root_id, parent_id, is_written=True)

    def promise(self, root_id: str | None = None, parent_id: str | None = None) -> Any:
        """Settle the ids of all without writing down those that follow from the group's: the messages of a
        long workflow carry what comes later, and ids are what cannot be compressed."""
        return self._freeze(None, root_id, parent_id, is_written=False)

    def _freeze(
        self, _id: str | None, root_id: str | None, parent_id: str | None, *, is_written: bool
    ) -> Any:
        own_id = self.id or _id or new_id()
        self.options["task_id"] = own_id
        self.kwargs["tasks"] = [task.clone() for task in flattened(self.tasks, self.app)]
        results: list[Any] = []
        for index, task in enumerate(self.tasks):
            if is_single(task):
                member = task.id or id_of_member(own_id, index)
                if is_written:
                    task.freeze(member, root_id=root_id, parent_id=parent_id, group_index=index)
                results.append(task.promised(member, {**self.options, **task.options}))
            else:
                results.append(task.freeze(root_id=root_id, parent_id=parent_id, group_index=index))
        return GroupResult(own_id, [result for result in results if result is not None], app=self.app)

    def members(self) -> int:
        return sum(task.members() for task in flattened(self.tasks, self._app))

    def link(self, callback: Any) -> Any:
        """Call it when the first task succeeds, without a value."""
        callback = as_signature(callback, self._app).clone().set(immutable=True)
        for task in self.tasks[:1]:
            task.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Call it whenever one of the tasks fails."""
        for task in self.tasks:
            task.link_error(errback)
        return errback

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Signature:
        """Put headers on each of its tasks."""
        return self._stamp_each(self.tasks, "group", visitor, append_stamps, headers)

    def set_immutable(self, immutable: bool) -> None:
        """Whether its tasks refuse the value of the task before."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Let them begin one after the other: the first after `start` seconds, each `step` later."""
        seconds = start
        for task in self.tasks:
            task.set(countdown=seconds)
            if stop is None or seconds + step <= stop:
                seconds += step
        return self

    def _first(self) -> Signature | None:
        tasks = self.tasks.first() if isinstance(self.tasks, Later) else self.tasks[:1]
        return tasks[0] if tasks else None

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, key: Any) -> Any:
        return self.tasks[key] if isinstance(key, int | slice) else super().__getitem__(key)

    def __bool__(self) -> bool:
        return bool(self.tasks)

    def __repr__(self) -> str:
        tasks = self.tasks
        if not tasks:
            return "group(<empty>)"
        first = self._first()
        return shortened(f"group({tasks!r})", first.task if first is not None else "")


def is_single(task: Signature) -> bool:
    """One message: neither a chain nor a chord."""
    return type(task).prepare is Signature.prepare


def flattened(tasks: Iterable[Any], app: Any) -> Iterator[Signature]:
    """The tasks, those of groups among them in the place of the group."""
    for task in tasks:
        made = task if isinstance(task, Signature) else as_signature(task, app)
        if isinstance(made, group):
            yield from flattened(made.tasks, app)
        else:
            yield made


def _given(tasks: tuple[Any, ...]) -> Any:
    """Tasks given one by one, or as one list, group, or other iterable; an iterator waits for its time."""
    if len(tasks) == 1:
        only = tasks[0]
        if isinstance(only, group):
            return only.tasks
        if isinstance(only, Later):
            return only
        if isinstance(only, Iterator):
            return Later(as_signature(task) for task in only)
        if is_several(only):
            tasks = tuple(only)
    return [as_signature(task) for task in tasks]
