"""`kombu.serialization`: values as bytes and back, with the serializers that tasks travel by."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from celeriac.wire import codecs

__all__ = ["dumps", "loads", "prepare_accept_content", "register"]

_JSON = ("json",)


def register(
    name: str,
    encoder: Callable[[Any], str | bytes],
    decoder: Callable[[Any], Any],
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Add a serializer of your own. It may give text; it is given bytes, as Celery gives them on Redis."""

    def encode(data: Any) -> bytes:
        encoded = encoder(data)
        return encoded.encode(content_encoding) if isinstance(encoded, str) else encoded

    codecs.register(name, encode, decoder, content_type, content_encoding)


def dumps(data: Any, serializer: str | None = None) -> tuple[str, str, str | bytes]:
    """(content type, content encoding, payload). Bytes and text stay what they are, unless a serializer is
    named."""
    if serializer is None and isinstance(data, bytes):
        return "application/data", "binary", data
    if serializer is None and isinstance(data, str):
        return "text/plain", "utf-8", data.encode()
    content_type, encoding, payload = codecs.encode(data, serializer or "json")
    return content_type, encoding, payload if encoding == "binary" else payload.decode(encoding)


def loads(
    data: Any,
    content_type: str | None,
    content_encoding: str | None,
    accept: Collection[str] | None = None,
    force: bool = False,
    **_: Any,
) -> Any:
    """What dumps gave. JSON alone is read, unless `accept` names more."""
    if content_type in (None, "application/data", "text/plain"):
        is_text = content_type == "text/plain" and isinstance(data, bytes)
        return data.decode(content_encoding or "utf-8") if is_text else data
    payload = data.encode() if isinstance(data, str) else data
    return codecs.decode(payload, content_type, content_encoding or "utf-8", accept or _JSON)


def prepare_accept_content(
    content_types: Collection[str] | None, name_to_type: dict[str, str] | None = None
) -> set[str] | None:
    """The content types of serializers, which may be given by their names."""
    if content_types is None:
        return None
    return {one if "/" in one else codecs.codec_named(one).content_type for one in content_types}
