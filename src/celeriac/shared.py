"""Tasks that belong to no app of their own: every app has them, and a call goes through the current one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from celeriac import current
from celeriac.declaring import become, task_class
from celeriac.registry import annotate
from celeriac.task import AsyncTask, Task

P = ParamSpec("P")
R = TypeVar("R")


class TaskDecorator(Protocol):
    """Makes a task of a function."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class BoundTaskDecorator(Protocol):
    """Makes a task of a function whose first parameter is the task."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


@overload
def shared_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Any) -> BoundTaskDecorator: ...
@overload
def shared_task(*, bind: Literal[False] = False, **options: Any) -> TaskDecorator: ...


def shared_task(*function: Any, **options: Any) -> Any:
    """A task for every app there is or will be; no app is needed to declare it.

    @shared_task(max_retries=5)
    def add(x: int, y: int) -> int: ...

    `add.delay(2, 2)` sends it through the current app, the one that was created last.
    """
    if not function:
        return lambda function: shared_task(function, **options)
    if len(function) > 1 or not callable(function[0]):
        raise TypeError("shared_task() takes one function, and options by name")
    return _declare(function[0], **options)


def _declare(
    function: Callable[..., Any],
    name: str | None = None,
    base: type[Task[Any, Any]] | None = None,
    bind: bool = False,
    **options: Any,
) -> Task[Any, Any]:
    if isinstance(function, Task):
        raise TypeError(f"{function.name} is a task already: one of the two decorators is enough")

    def register(app: Any) -> object:
        return app.task(name=name, base=base, bind=bind, **options)(function)

    made_of = _name_by(current.app_so_far(), name, function), base or _base_so_far()
    task = _kind(function, *made_of, bind, options)().bind(None)
    is_annotated = False

    def follow(app: Any) -> None:
        nonlocal made_of, is_annotated
        said = _name_by(app, name, function), base or app.base_so_far() or made_of[1]
        if said != made_of or is_annotated:
            # Anew, so that nothing stays of what another app's annotations made of it.
            made_of = said
            become(task, _kind(function, *made_of, bind, options)).bind(None)
        is_annotated = app.finalized and bool(app.conf.task_annotations)
        if is_annotated:
            annotate(task, app.conf.task_annotations)

    current.shared.append(current.Shared(function, register, follow))
    for app in list(current.apps):
        if app.finalized:
            register(app)
    leading = current.app_so_far()
    if leading is not None and leading.finalized:
        follow(leading)
    return task


def _base_so_far() -> type[Task[Any, Any]]:
    """The class of the current app's tasks, if it is known by now: its module may be the one that is being
    imported."""
    app = current.app_so_far()
    return Task if app is None else app._base_to_begin_with()


def _name_by(app: Any, name: str | None, function: Any) -> str | None:
    """Its name, in which the app may have a say; None where that is asked at each call: the name of a task of
    a program begins with that of the app, which may not be there yet."""
    if name is not None or function.__module__ == "__main__":
        return name
    return default_name(None, function) if app is None else _generated(app, function)


def _generated(app: Any, function: Any) -> str:
    return str(app.gen_task_name(function.__name__, function.__module__))


def _kind(
    function: Callable[..., Any],
    name: str | None,
    base: type[Task[Any, Any]],
    bind: bool,
    options: dict[str, Any],
) -> type[Task[Any, Any]]:
    """The class of what the decorated name stands for. It has no app, so it asks for the current one at each
    call."""
    kind = task_class(function, name or default_name(None, function), base, bind, options)
    if name is None:
        named = {"name": property(lambda task: _generated(task.app, function)), "__module__": "__main__"}
        kind = type(kind.__name__, (kind,), named)
    return kind


def default_name(main: str | None, function: Any) -> str:
    """`module.function`; a program that is run as `__main__` has its app's name in place of the module's."""
    module = function.__module__
    if module == "__main__":
        module = main or module
    return f"{module}.{function.__name__}" if module else str(function.__name__)
