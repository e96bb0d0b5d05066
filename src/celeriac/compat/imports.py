"""`celery.utils.imports`: objects by their names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

__all__ = [
    "cwd_in_path",
    "gen_task_name",
    "import_from_cwd",
    "instantiate",
    "load_extension_class_names",
    "load_extension_classes",
    "qualname",
    "symbol_by_name",
]


def qualname(obj: Any) -> str:
    """`module.Name` of a class or function, or of the class of anything else."""
    named = obj if hasattr(obj, "__name__") or hasattr(obj, "__qualname__") else type(obj)
    return f"{named.__module__}.{getattr(named, '__qualname__', named.__name__)}"


def symbol_by_name(
    name: Any,
    aliases: Mapping[str, str] | None = None,
    imp: Callable[..., Any] | None = None,
    package: str | None = None,
    sep: str = ".",
    default: Any = None,
    **kwargs: Any,
) -> Any:
    """`module:Name` or `module.Name`, imported; what is no text as it is, `default` for what is not there."""
    if not isinstance(name, str):
        return name
    path = (aliases or {}).get(name, name)
    module, _, attribute = path.rpartition(":" if ":" in path else sep)
    try:
        found = (imp or import_module)(module or attribute)
        return getattr(found, attribute) if module and attribute else found
    except (ImportError, AttributeError):
        if default is None:
            raise
        return default


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """Call the class that has this name."""
    return symbol_by_name(name)(*args, **kwargs)


@contextmanager
def cwd_in_path() -> Iterator[str | None]:
    """Inside, the modules of the working directory can be imported."""
    cwd = str(Path.cwd())
    if cwd in sys.path:
        yield None
        return
    sys.path.insert(0, cwd)
    try:
        yield cwd
    finally:
        if cwd in sys.path:
            sys.path.remove(cwd)


def import_from_cwd(module: str, imp: Callable[..., Any] | None = None, package: str | None = None) -> Any:
    """A module, also one of the working directory."""
    with cwd_in_path():
        return (imp or import_module)(module, package=package)


def gen_task_name(app: Any, name: str, module_name: str | None) -> str:
    """The name of a task of this app that was given none."""
    made: str = app.gen_task_name(name, module_name)
    return made


def load_extension_class_names(namespace: str) -> Iterator[tuple[str, str]]:
    """Name and place of what installed packages announce by entry points."""
    for entry in entry_points(group=namespace):
        yield entry.name, entry.value


def load_extension_classes(namespace: str) -> Iterator[tuple[str, Any]]:
    """The same, imported."""
    for name, place in load_extension_class_names(namespace):
        yield name, symbol_by_name(place)
