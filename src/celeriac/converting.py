"""Arguments as their annotations name them: JSON carries a path, an enum or a model as plain data."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

Converter = Callable[[Sequence[Any], Mapping[str, Any]], tuple[list[Any], dict[str, Any]]]


def converter_of(function: Callable[..., Any]) -> Converter | None:
    """What turns decoded arguments into those that the annotations name; None if none needs it."""
    if not _is_annotated(function):
        return None
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    hints = _hints(function)
    wanted = {p.name: hints[p.name] for p in parameters if _convertible(hints.get(p.name))}
    if not wanted:
        return None
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    more = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    more_named = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)

    def convert(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        new_args = [
            _converted(positional[place] if place < len(positional) else more, value)
            for place, value in enumerate(args)
        ]
        new_kwargs = {
            name: _converted(name if name in named else more_named, value) for name, value in kwargs.items()
        }
        return new_args, new_kwargs

    def _converted(name: str | None, value: Any) -> Any:
        annotation = wanted.get(name) if name is not None else None
        if annotation is None or value is None:
            return value
        try:
            return msgspec.convert(value, annotation, dec_hook=_from_plain, str_keys=True)
        except msgspec.ValidationError as error:
            raise TypeError(f"argument {name!r} does not fit its annotation: {error}") from error

    return convert


def _is_annotated(function: Callable[..., Any]) -> bool:
    """Whether any parameter may be: what is not need not be looked at more closely, in each child anew."""
    try:
        return hasattr(function, "__wrapped__") or any(
            name != "return" for name in getattr(function, "__annotations__", ())
        )
    except Exception:  # one of them cannot be evaluated: others may
        return True


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations that can be resolved; one that cannot costs no other."""
    function = inspect.unwrap(function)
    try:
        return get_type_hints(function)
    except Exception:
        pass
    found = {}
    space = getattr(function, "__globals__", {})
    for name, annotation in getattr(function, "__annotations__", {}).items():
        one: Any = SimpleNamespace(__annotations__={name: annotation})
        try:
            found.update(get_type_hints(one, globalns=space))
        except Exception:
            continue
    return found


def _convertible(annotation: Any) -> bool:
    """Plain data would reach the function otherwise, and msgspec can make what the annotation names."""
    if annotation is None or not _names_a_type_of_ours(annotation):
        return False
    try:
        msgspec.convert(None, annotation, dec_hook=_from_plain)
    except msgspec.ValidationError:
        return True
    except Exception:
        # A union such as `str | Path`: nobody can say which of them the text was.
        return False
    return True


def _names_a_type_of_ours(annotation: Any) -> bool:
    if get_origin(annotation) is not None:
        return any(_names_a_type_of_ours(part) for part in get_args(annotation))
    return isinstance(annotation, type) and (
        issubclass(annotation, PurePath | Enum | msgspec.Struct)
        or dataclasses.is_dataclass(annotation)
        or _is_model(annotation)
    )


def _is_model(kind: type) -> bool:
    # pydantic's BaseModel, told by what it can do: importing pydantic is its users' affair.
    return hasattr(kind, "model_validate") and hasattr(kind, "model_fields")


def _from_plain(kind: type, value: Any) -> Any:
    """msgspec asks here for the types that it does not know itself."""
    if isinstance(value, kind):
        return value
    if issubclass(kind, PurePath):
        return kind(value)
    if _is_model(kind):
        return kind.model_validate(value)  # type: ignore[attr-defined]
    raise NotImplementedError(kind)
