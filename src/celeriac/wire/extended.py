"""The types that JSON lacks and Celery's JSON has: {"__type__": name, "__value__": plain} and back.

To Celery's own (datetime, date, time, decimal, uuid, bytes, base64) come set and frozenset. Objects that
users pass as arguments (paths, enums, dataclasses, models) leave as plain data; annotations bring them back.
"""

from __future__ import annotations

import binascii
import dataclasses
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeVar
from uuid import UUID

import msgspec

T = TypeVar("T")
Encoder = Callable[[Any], Any]
Decoder = Callable[[Any], Any]

_encoders: dict[type, tuple[str | None, Encoder]] = {}
_decoders: dict[str, Decoder] = {}


def register_type(
    type_: type[T],
    marker: str | None,
    encoder: Callable[[T], Any],
    decoder: Callable[[Any], T] | None = None,
) -> None:
    """Let JSON carry one more type: `register_type(Money, "money", str, Money.parse)`.

    With marker None the encoder's result travels as it is, and arrives so.
    """
    _encoders[type_] = (marker, encoder)
    if marker is not None:
        _decoders[marker] = decoder if decoder is not None else _as_it_is


def reduce(value: Any) -> Any:
    """One step of a value towards plain JSON; TypeError if nobody knows how. For `json`'s `default`."""
    own = getattr(value, "__json__", None)
    if own is not None:
        return own()
    for kind in type(value).__mro__:
        known = _encoders.get(kind)
        if known is not None:
            marker, encoder = known
            plain = encoder(value)
            return plain if marker is None else {"__type__": marker, "__value__": plain}
    if isinstance(value, bytes):
        return _reduce_bytes(value)
    return as_plain(value)


def as_plain(value: Any) -> Any:
    """What needs no marker, as an annotation brings it back: path, enum, dataclass, model, lazy text."""
    kind = type(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if dataclasses.is_dataclass(kind):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)}
    if hasattr(kind, "__pydantic_serializer__") and hasattr(kind, "model_dump"):
        return value.model_dump(by_alias=True, round_trip=True)
    if _is_pydantic_address(kind) or _is_lazy_text(value):
        return str(value)
    raise TypeError(f"no plain form is known of {kind!r}")


def revive(pairs: dict[str, Any]) -> Any:
    """The value that a decoded JSON object stands for: itself, unless it is marked. For `object_hook`."""
    if len(pairs) != 2 or "__type__" not in pairs or "__value__" not in pairs:
        return pairs
    marker = pairs["__type__"]
    decoder = _decoders.get(marker) if isinstance(marker, str) else None
    if decoder is None:
        raise ValueError(f"it holds a value of the type {marker!r}, which is not registered here")
    return decoder(pairs["__value__"])


def _as_it_is(value: Any) -> Any:
    return value


def _reduce_bytes(value: bytes) -> dict[str, str]:
    try:
        return {"__type__": "bytes", "__value__": value.decode()}
    except UnicodeDecodeError:
        return {"__type__": "base64", "__value__": binascii.b2a_base64(value, newline=False).decode()}


def _struct(value: msgspec.Struct) -> Any:
    # As msgspec.convert will want to read it: under the encoded names, with its tag.
    kind = type(value)
    plain = {
        encoded: item
        for name, encoded in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
        if (item := getattr(value, name)) is not msgspec.UNSET
    }
    config = kind.__struct_config__
    if config.array_like:
        return [*([config.tag] if config.tag is not None else []), *plain.values()]
    if config.tag_field is not None:
        return {config.tag_field: config.tag, **plain}
    return plain


def _is_pydantic_address(kind: type) -> bool:
    # AnyUrl, HttpUrl, PostgresDsn ...: a model gives them as they are, and reads them from text.
    return str(kind.__module__).startswith("pydantic") and kind.__name__.endswith(("Url", "Dsn"))


def _is_lazy_text(value: Any) -> bool:
    # Django's translated texts. Who has made one has imported this module.
    functional = sys.modules.get("django.utils.functional")
    return functional is not None and isinstance(value, functional.Promise)


def _members(items: list[Any]) -> list[Any]:
    # JSON made lists of the tuples in a set; a list cannot be a member, so a tuple it was.
    return [tuple(_members(item)) if isinstance(item, list) else item for item in items]


# A datetime is a date too: lookups go by the most special class first, so the order here says nothing.
register_type(datetime, "datetime", datetime.isoformat, datetime.fromisoformat)
register_type(date, "date", date.isoformat, lambda text: datetime.fromisoformat(text).date())
register_type(time, "time", time.isoformat, time.fromisoformat)
register_type(Decimal, "decimal", str, Decimal)
register_type(UUID, "uuid", lambda value: {"hex": value.hex}, lambda value: UUID(hex=value["hex"]))
register_type(set, "set", list, lambda items: set(_members(items)))
register_type(frozenset, "frozenset", list, lambda items: frozenset(_members(items)))
_decoders["bytes"] = str.encode
_decoders["base64"] = binascii.a2b_base64
