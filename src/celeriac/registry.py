"""The tasks of an app by their names, and what its settings change in them."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import Any

from celeriac.exceptions import NotRegistered
from celeriac.nearest import nearest
from celeriac.task import Task

AnyTask = Task[Any, Any]


class TaskRegistry(dict[str, AnyTask]):
    """The tasks of an app by their names."""

    def __missing__(self, name: str) -> AnyTask:
        error = NotRegistered(name)
        near = nearest(str(name), self)
        error.add_note(
            f"No task of this name is registered; did you mean {near!r}?"
            if near
            else "No task of this name is registered: is the module that declares it imported (include, "
            "imports, autodiscover_tasks)? `celeriac check` lists what is."
        )
        raise error

    def register(self, task: Any) -> None:
        """Add a task, given as instance or class."""
        task = task() if isinstance(task, type) else task
        self[task.name] = task

    def unregister(self, name: Any) -> None:
        """Take it out, by its name or itself."""
        name = getattr(name, "name", name)
        if name not in self:
            raise NotRegistered(name)
        del self[name]

    def regular(self) -> dict[str, AnyTask]:
        """All of them: periodic tasks are no class of their own."""
        return dict(self)

    def periodic(self) -> dict[str, AnyTask]:
        """None: schedules belong to beat."""
        return {}


def annotate(task: AnyTask, annotations: Any) -> None:
    """Set the attributes that the setting task_annotations names for this task."""
    for rules in annotations if isinstance(annotations, list | tuple) else (annotations,):
        if isinstance(rules, Mapping):
            found = (rules.get("*"), rules.get(task.name))
        else:
            found = tuple(
                say(task) if word == "annotate" else say()
                for word in ("annotate_any", "annotate")
                if (say := getattr(rules, word, None)) is not None
            )
        for attributes in found:
            for attribute, value in (attributes or {}).items():
                # `@run` wraps what is there.
                around = attribute.startswith("@")
                name = attribute.removeprefix("@")
                if around:
                    setattr(task, name, value(getattr(task, name)))
                else:
                    # A function is a method, as if the class of the task defined it.
                    setattr(task, name, MethodType(value, task) if isinstance(value, FunctionType) else value)
