"""`kombu.utils.*`: the small tools of kombu that other schedulers import."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import Any
from urllib.parse import quote

from celeriac.wire import codecs
from celeriac.wire.extended import register_type
from celeriac.wire.saferepr import safe_repr
from celeriac.worker.banner import without_password

__all__ = [
    "bytes_to_str",
    "cached_property",
    "dumps",
    "ensure_bytes",
    "loads",
    "maybe_sanitize_url",
    "register_type",
    "safe_repr",
    "safe_str",
    "safequote",
    "str_to_bytes",
    "symbol_by_name",
]


def dumps(value: Any, **_: Any) -> str:
    """JSON with the extended types."""
    return codecs.encode(value, "json")[2].decode()


def loads(text: str | bytes, **_: Any) -> Any:
    """What dumps gave."""
    return codecs.loads_json(text.encode() if isinstance(text, str) else text)


def bytes_to_str(value: Any) -> Any:
    """Bytes as text; anything else as it is."""
    return value.decode() if isinstance(value, bytes) else value


def str_to_bytes(value: Any) -> Any:
    """Text as bytes; anything else as it is."""
    return value.encode() if isinstance(value, str) else value


ensure_bytes = str_to_bytes


def maybe_sanitize_url(url: Any, mask: str = "**") -> Any:
    """A URL without its password; anything else as it is."""
    return without_password(url) if isinstance(url, str) and "://" in url else url


def safe_str(value: Any, errors: str = "replace") -> str:
    """Text of anything."""
    return value.decode("utf-8", errors) if isinstance(value, bytes) else str(value)


def safequote(string: str, safe: str = "") -> str:
    """A part of a URL, as a password with signs of its own."""
    return quote(string, safe=safe)


def symbol_by_name(name: Any, *_: Any, **__: Any) -> Any:
    """`module:Name` or `module.Name`, imported; what is no text as it is."""
    if not isinstance(name, str):
        return name
    module, _dot, attribute = str(name).replace(":", ".").rpartition(".")
    return getattr(import_module(module), attribute)
