"""From a function and its options to the class of its task; what is wrong in them is told here, at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from celeriac.nearest import nearest
from celeriac.rates import interval_of
from celeriac.task import AsyncTask, Task

#: Other names for attributes.
_OTHER_NAMES = {"auto_retry": "autoretry_for"}
#: Attributes that are numbers, or None.
_NUMBERS = (
    *("max_retries", "default_retry_delay", "time_limit", "soft_time_limit", "priority"),
    *("retry_backoff", "retry_backoff_max"),
)


def task_class(
    function: Callable[..., Any],
    name: str,
    base: type[Task[Any, Any]],
    bind: bool,
    options: Mapping[str, Any],
) -> type[Task[Any, Any]]:
    """The class of a function's task. One class for all apps that share it; each app has its own instance."""
    attributes = dict(options)
    for other, real in _OTHER_NAMES.items():
        if other in attributes:
            if real in attributes:
                raise TypeError(f"{other} is another name of {real}: give one of them")
            attributes[real] = attributes.pop(other)
    if inspect.iscoroutinefunction(function) and not issubclass(base, AsyncTask):
        bases: tuple[type, ...] = (base, AsyncTask) if base is not Task else (AsyncTask,)
    else:
        bases = (base,)
    _check_attributes(name, attributes, base)
    soft, hard = attributes.get("soft_time_limit"), attributes.get("time_limit")
    if soft and hard and soft > hard:
        raise ValueError("soft_time_limit must be less than or equal to time_limit")
    return type(
        function.__name__,
        bases,
        {
            **attributes,
            "name": name,
            "abstract": False,
            "run": function if bind else staticmethod(function),
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "__name__": function.__name__,
            "__qualname__": function.__qualname__,
            "__wrapped__": function if bind else staticmethod(function),
        },
    )


def become(task: Task[Any, Any], kind: type[Task[Any, Any]]) -> Task[Any, Any]:
    """The same object as a new one of this class: modules hold it by its name already."""
    made = kind()
    object.__setattr__(task, "__class__", kind)
    vars(task).clear()
    vars(task).update(vars(made))
    return task


def _check_attributes(name: str, attributes: Mapping[str, Any], base: type[Task[Any, Any]]) -> None:
    """What is wrong in a declaration is told there, and not when the task runs."""
    interval_of(attributes.get("rate_limit"))
    for number in _NUMBERS:
        value = attributes.get(number)
        if value is not None and not isinstance(value, int | float):
            raise TypeError(f"{number} of task {name} is a number or None, not {value!r}")
    for attribute in attributes:
        if not hasattr(base, attribute) and attribute not in _OTHER_NAMES:
            # Attributes of the user's own are welcome.
            meant = nearest(attribute, (known for known in vars(Task) if not known.startswith("_")))
            if meant is not None:
                raise TypeError(f"tasks have no option {attribute!r}: did you mean {meant!r}? (task {name})")
