"""An app again: as a copy beside the first, or read from a pickle in another process."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any, NamedTuple

import msgspec

from celeriac.config import Saved
from celeriac.middleware import Entry
from celeriac.task import Task


class Notes(msgspec.Struct):
    """What was said of an app beside its settings and its tasks."""

    middleware: list[Entry] = []
    #: Packages whose modules of tasks are to be imported, and how these are called.
    to_discover: list[tuple[Any, str | None]] = []
    #: Periodic tasks by their keys, until the app is finalized.
    periodic: list[tuple[str, dict[str, Any]]] = []
    #: Names of tasks that other apps shall not have.
    unshared: set[str] = set()

    def copied(self) -> Notes:
        """The same, to be added to without changing these."""
        return Notes(list(self.middleware), list(self.to_discover), list(self.periodic), set(self.unshared))


class Parts(NamedTuple):
    """All that makes an app but its tasks."""

    kind: type[Any]
    arguments: dict[str, Any]
    settings: Saved
    notes: Notes


def parts_of(app: Any) -> Parts:
    arguments = {
        "main": app.main,
        "set_as_current": False,
        "task_cls": app.task_cls,
        "autofinalize": app.autofinalize,
        "namespace": app.namespace,
        "strict_typing": app.strict_typing,
    }
    return Parts(type(app), arguments, app.conf.saved(), app.notes.copied())


def place_of(task: Task[Any, Any]) -> tuple[str, str] | None:
    """Module and name under which a task lies, or its class; None if it is found nowhere."""
    kind = type(task)
    module = sys.modules.get(kind.__module__)
    found = getattr(module, kind.__qualname__, None)
    return (kind.__module__, kind.__qualname__) if found is kind or isinstance(found, Task) else None


def made_again(parts: Parts, tasks: Iterable[type[Task[Any, Any]]]) -> Any:
    """A new app of these parts, with its own instance of each task."""
    app = parts.kind(**parts.arguments)
    app.conf.restore(parts.settings)
    app.take_up(parts.notes)
    for task in tasks:
        app.register_task(task)
    return app


def unpickled(parts: Parts, places: Iterable[tuple[str, str]]) -> Any:
    """The same, whose tasks are imported from where they lie."""
    found = [getattr(import_module(module), name) for module, name in places]
    return made_again(parts, [thing if isinstance(thing, type) else type(thing) for thing in found])
