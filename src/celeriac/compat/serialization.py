"""`celery.utils.serialization`: what programs use of it beside the serializers themselves."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, NoReturn

__all__ = [
    "b64decode",
    "b64encode",
    "create_exception_cls",
    "ensure_serializable",
    "jsonify",
    "raise_with_context",
    "strtobool",
    "subclass_exception",
]

_WORDS = {
    **dict.fromkeys(("yes", "true", "on", "1"), True),
    **dict.fromkeys(("no", "false", "off", "0"), False),
}


def strtobool(term: Any, table: Mapping[str, bool] | None = None) -> Any:
    """What a word means; what is no text as it is."""
    if not isinstance(term, str):
        return term
    words = _WORDS if table is None else table
    if term.lower() not in words:
        raise TypeError(f"{term!r} is neither yes nor no; known are {', '.join(words)}")
    return words[term.lower()]


def b64encode(s: str | bytes) -> str:
    return base64.b64encode(s.encode() if isinstance(s, str) else s).decode()


def b64decode(s: str | bytes) -> bytes:
    return base64.b64decode(s)


def jsonify(
    obj: Any,
    builtin_types: tuple[type, ...] = (int, float, str),
    key: str | None = None,
    keyfilter: Callable[[str], bool] | None = None,
    unknown_type_filter: Callable[[Any], Any] | None = None,
) -> Any:
    """Plain data of times within lists and dicts, as texts."""

    def plain(value: Any, name: str | None) -> Any:
        return jsonify(value, builtin_types, name, keyfilter, unknown_type_filter)

    if obj is None or isinstance(obj, builtin_types):
        return obj
    if isinstance(obj, Mapping):
        return {k: plain(v, k) for k, v in obj.items() if keyfilter is None or keyfilter(k)}
    if isinstance(obj, list | tuple):
        return [plain(value, key) for value in obj]
    if isinstance(obj, datetime | time):
        text = obj.replace(microsecond=obj.microsecond // 1000 * 1000).isoformat(
            timespec="milliseconds" if obj.microsecond else "auto"
        )
        return f"{text[:-6]}Z" if text.endswith("+00:00") else text
    if isinstance(obj, date):
        return obj.isoformat()
    if isinstance(obj, timedelta):
        return str(obj)
    if unknown_type_filter is not None:
        return unknown_type_filter(obj)
    raise ValueError(f"{key or 'it'} is a {type(obj).__name__}, which is no plain data: {obj!r}")


def ensure_serializable(items: Any, encoder: Callable[[Any], Any]) -> tuple[Any, ...]:
    """The items, and the repr of those that the encoder refuses."""

    def kept(item: Any) -> Any:
        try:
            encoder(item)
        except Exception:
            return repr(item)
        return item

    return tuple(map(kept, items))


def subclass_exception(name: str, parent: type[BaseException], module: str) -> type[BaseException]:
    return type(name, (parent,), {"__module__": module})


def create_exception_cls(
    name: str, module: str, parent: type[BaseException] = Exception
) -> type[BaseException]:
    """A class of errors by its name."""
    return subclass_exception(name, parent, module)


def raise_with_context(exc: BaseException) -> NoReturn:
    """Raise it, with what is being handled as its cause."""
    handled = sys.exc_info()[1]
    if handled is None or handled is exc:
        raise exc
    raise exc from handled
