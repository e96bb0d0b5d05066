"""Import the modules of the user, and tell what fails in them by its true error."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any

from celeriac.exceptions import ImproperlyConfigured

#: How a note begins that says who wanted a module of the user's that failed.
IMPORTED = "(imported "


def import_if_there(path: str) -> ModuleType | None:
    """The module, or None if there is none of that name; what fails inside it is raised."""
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        # Missing is only what the path itself names: `a`, `a.b`. Other names are imports that failed inside.
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            return None
        raise


def import_named(path: str, setting: str) -> Any:
    """What a setting names by "module:attribute" or "module.attribute"; raises ImproperlyConfigured."""
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"{setting}: {path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def import_object(path: str) -> Any:
    """`module`, `module:name`, or `module.name`; raises what importing it raises."""
    module, colon, name = path.partition(":")
    if colon:
        return getattr(import_module(module), name)
    try:
        return import_module(path)
    except ModuleNotFoundError as missing:
        parent, _, name = path.rpartition(".")
        if missing.name != path or not parent or not hasattr(import_module(parent), name):
            raise
        return getattr(import_module(parent), name)


def discovered(
    packages: Iterable[str] | Callable[[], Iterable[str]] | None, related_name: str | None
) -> Iterator[tuple[str, bool]]:
    """The modules of these packages that may declare tasks, and of each whether it may as well be missing."""
    for package in (packages() if callable(packages) else packages) or ():
        yield package, False
        if related_name:
            # A package without tasks is well; one whose tasks cannot be imported is not.
            yield f"{package}.{related_name}", True


def import_task_module(module: str, may_be_missing: bool) -> None:
    """Import a module that declares tasks; an error says why it was imported."""
    try:
        if may_be_missing:
            import_if_there(module)
        else:
            import_module(module)
    except (Exception, SystemExit) as error:
        error.add_note(
            f"{IMPORTED}since imports, include or autodiscover_tasks names {module!r}; `celeriac check` "
            "shows all modules that fail)"
        )
        raise


def told(path: str, error: BaseException) -> str:
    """What a person must read to mend a module that cannot be imported: its own lines, and the error."""
    return f"The module {path!r} failed while it was imported:\n\n{_lines(error)}"


def told_if_imported(error: BaseException) -> str | None:
    """The same of an error whose note says why a module was imported; None of any other."""
    if not any(note.startswith(IMPORTED) for note in getattr(error, "__notes__", ())):
        return None
    return f"A module failed while it was imported:\n\n{_lines(error)}"


def _lines(error: BaseException) -> str:
    lines = traceback.format_exception(type(error), error, _from_the_users_file(error.__traceback__))
    said = "".join(lines).rstrip()
    if isinstance(error, SystemExit):
        said += "\n(a module that an app is in must not end the program while it is imported)"
    if _is_half_imported(error):
        said += (
            "\n(two modules import each other: import in one of them only, for instance by declaring its "
            "tasks with @shared_task, which needs no app)"
        )
    return said


def _is_half_imported(error: BaseException) -> bool:
    """Whether it is of a module that was asked for something while its own lines were still being run."""
    asked = error.name if isinstance(error, ImportError) else None
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        asked = error.obj.__name__
    return asked is not None and any(
        frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == asked
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _from_the_users_file(frames: TracebackType | None) -> TracebackType | None:
    """Leaves out our own frames and those of the import machinery, which stand before the user's."""
    frames = _from_here(frames) or frames
    while frames is not None:
        code, module = frames.tb_frame.f_code.co_filename, frames.tb_frame.f_globals.get("__name__", "")
        ours = module == "celeriac" or module.startswith("celeriac.")
        if not ours and not code.startswith("<frozen importlib") and "/importlib/" not in code:
            break
        frames = frames.tb_next
    return frames


def _from_here(frames: TracebackType | None) -> TracebackType | None:
    """From where this module imports: before it stands who called us, a command line for one."""
    while frames is not None and frames.tb_frame.f_globals.get("__name__") != __name__:
        frames = frames.tb_next
    return frames
