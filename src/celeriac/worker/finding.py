"""Find the app that a text names, as `-A` does: module, module:attribute, module.attribute or package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from celeriac.app import Celery
from celeriac.exceptions import CeleriacError
from celeriac.importing import import_if_there, told


class AppNotFound(CeleriacError):
    """The text names no app, or the user's own module failed while it was imported."""


def find_app(spec: str) -> Celery:
    """The app that `spec` names; in a module `app` goes before `celery`, and that before the only instance.

    The working directory is put on the import path: `-A main` means the main.py that one stands before.
    """
    _make_cwd_importable()
    path, colon, attribute = spec.partition(":")
    if colon:
        return _app_in_attribute(_import(path, spec), attribute, spec)
    module = _import_if_there(path)
    if module is not None:
        return _app_in_module(module, spec)
    parent_path, dot, attribute = path.rpartition(".")
    parent = _import_if_there(parent_path) if dot else None
    if parent is None:
        raise AppNotFound(_no_module(path))
    return _app_in_attribute(parent, attribute, spec)


def _app_in_module(module: ModuleType, spec: str) -> Celery:
    """The first that is there of: app, celery, package.celery, the only instance."""
    for name in ("app", "celery"):
        found = getattr(module, name, None)
        if isinstance(found, Celery):
            return found
    if hasattr(module, "__path__"):
        inner = _import_if_there(f"{module.__name__}.celery")
        if inner is not None:
            return _app_in_module(inner, spec)
    return _only_app(module, spec)


def _only_app(module: ModuleType, spec: str) -> Celery:
    names: dict[int, str] = {}
    for name, value in vars(module).items():
        if isinstance(value, Celery):
            names.setdefault(id(value), name)
    if len(names) == 1:
        (name,) = names.values()
        found = getattr(module, name)
        assert isinstance(found, Celery)
        return found
    if names:
        choices = " or ".join(f"-A {module.__name__}:{name}" for name in names.values())
        raise AppNotFound(
            f"{spec!r} holds {len(names)} apps and none is called app or celery. Say which: {choices}"
        )
    raise AppNotFound(
        f"The module {module.__name__!r} ({_file(module)}) was imported, but it holds no Celery app. "
        f"If the app is made in another module, name that one: -A module or -A module:attribute"
    )


def _app_in_attribute(module: ModuleType, attribute: str, spec: str) -> Celery:
    found: object = module
    for name in attribute.split("."):
        if isinstance(found, ModuleType) and hasattr(found, "__path__") and not hasattr(found, name):
            _import_if_there(f"{found.__name__}.{name}")
        if not hasattr(found, name):
            raise AppNotFound(
                f"The module {module.__name__!r} ({_file(module)}) was imported, but it has no {attribute!r}."
                + _hint_of_apps(module)
            )
        found = getattr(found, name)
    if isinstance(found, ModuleType):
        return _app_in_module(found, spec)
    if isinstance(found, Celery):
        return found
    raise AppNotFound(
        f"{attribute!r} of the module {module.__name__!r} is no Celery app but of the type "
        f"{type(found).__qualname__!r}." + _hint_of_apps(module)
    )


def _hint_of_apps(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Celery)]
    return (
        f" It holds the app {' and '.join(map(repr, names))}: -A {module.__name__}:{names[0]}"
        if names
        else ""
    )


def _import(path: str, spec: str) -> ModuleType:
    module = _import_if_there(path)
    if module is None:
        raise AppNotFound(_no_module(path or spec))
    return module


def _import_if_there(path: str) -> ModuleType | None:
    """The module, or None if it is not there; what fails inside it is told with its own traceback."""
    if not all(path.split(".")):
        raise AppNotFound(_no_module(path) if "/" in path else f"{path!r} is no module's name.")
    try:
        return import_if_there(path)
    except (Exception, SystemExit) as error:
        raise AppNotFound(told(path, error)) from error


def _no_module(path: str) -> str:
    said = f"There is no module {path!r} in {Path.cwd()}, nor is it installed."
    if path.endswith(".py") or "/" in path:
        name = path.removesuffix(".py").strip("./").replace("/", ".")
        return f"{said} -A takes the name of a module, not a file: -A {name}"
    return f"{said} Start in the folder that holds it, or name the folder: --workdir FOLDER"


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "no file"


def _make_cwd_importable() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
