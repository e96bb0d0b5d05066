"""Values as bytes and back, by the names of Celery's serializers: json, pickle, yaml, msgpack.

What comes in is decoded only if the reader's `accept` names it; JSON goes the fast way when it can.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib import import_module
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

import msgspec

from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured
from celeriac.wire.extended import as_plain, reduce, revive
from celeriac.wire.saferepr import first_line, type_name

#: The protocol of kombu's pickles: every Python that reads them knows it.
PICKLE_PROTOCOL = 4


class Codec(NamedTuple):
    """One way to write values as bytes."""

    name: str
    content_type: str
    content_encoding: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


class Misfit(NamedTuple):
    """Where in some data the first value sits that a codec cannot carry, and why."""

    #: Keys and indexes that lead to it from outside; empty for the data itself.
    path: tuple[Any, ...]
    #: In words for a person: "is a socket.socket, which json cannot carry".
    why: str


def encode(data: Any, serializer: str) -> tuple[str, str, bytes]:
    """(content type, content encoding, bytes) of any value. EncodeError says which part does not fit."""
    codec = codec_named(serializer)
    try:
        return codec.content_type, codec.content_encoding, codec.dumps(data)
    except MemoryError:
        raise
    except Exception as error:
        where, why = find_misfit(data, codec, error)
        raise EncodeError(f"the value{place(where)} {why}; {cure(codec)}") from error


def decode(data: bytes, content_type: str, content_encoding: str, accept: Collection[str]) -> Any:
    """The value of these bytes, if `accept` holds the content type or its serializer's name."""
    codec = _BY_CONTENT_TYPE.get(content_type)
    if content_type not in accept and (codec is None or codec.name not in accept):
        raise ContentDisallowed(_refusal(codec, content_type))
    if codec is None:
        raise DecodeError(f"nobody here can read content of the type {content_type!r}")
    try:
        if content_encoding not in _UNCHANGED and codec.content_encoding == "utf-8":
            data = data.decode(content_encoding).encode()
        return codec.loads(data)
    except MemoryError:
        raise
    except RecursionError as error:
        raise DecodeError(f"this {codec.name} content is nested too deeply") from error
    except Exception as error:
        raise DecodeError(f"this is no {codec.name} content: {first_line(error)}") from error


def register(
    name: str,
    dumps: Callable[[Any], bytes],
    loads: Callable[[bytes], Any],
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Add a serializer of your own, or replace one."""
    codec = Codec(name, content_type, content_encoding, dumps, loads)
    _BY_NAME[name] = _BY_CONTENT_TYPE[content_type] = codec


def read_by_workers(accept: Collection[str]) -> Collection[str]:
    """With JSON, in which stores send the bodies of chords: it can do less than what else comes with us. A
    serializer of the user's may be there to refuse what nobody signed, so JSON beside it must be named."""
    is_said = "json" in accept or "application/json" in accept or not _OUR_WORDS.issuperset(accept)
    return accept if is_said else (*accept, "json")


def own_codecs(accept: Collection[str]) -> list[Codec]:
    """The serializers of the user's own among these names and content types."""
    if len(_BY_NAME) == len(_OURS):
        return []
    named = (_BY_NAME.get(one) or _BY_CONTENT_TYPE.get(one) for one in accept)
    return [codec for codec in named if codec is not None and codec.name not in _OURS]


def codec_named(serializer: str) -> Codec:
    """The codec of a serializer's name or content type."""
    codec = _BY_NAME.get(serializer) or _BY_CONTENT_TYPE.get(serializer)
    if codec is None:
        raise EncodeError(f"there is no serializer {serializer!r}; known are {', '.join(sorted(_BY_NAME))}")
    return codec


# --- what does not fit ------------------------------------------------------------------------------------


def find_misfit(data: Any, codec: Codec, error: Exception, frame: int = 0) -> Misfit:
    """Walk to the smallest part that the codec refuses. Slow, and only on the way to an error.

    The outer `frame` levels of the data are ours and not the user's.
    """
    path: list[Any] = []
    try:
        while step := _first_refused(data, codec, deep=len(path) < frame):
            key, data, error = step
            path.append(key)
            if len(path) > _TOO_DEEP:
                return Misfit(tuple(path[:frame]), _too_deep(codec))
    except Exception:
        # The data itself raises while we look at it; then this is as near as we come.
        return Misfit(tuple(path), f"holds what {codec.name} cannot carry ({first_line(error)})")
    return Misfit(tuple(path), _why(data, codec, error))


#: A path longer than this helps nobody.
_TOO_DEEP = 50


def place(path: tuple[Any, ...]) -> str:
    """A path as Python would write it: ` at ['a'][0]`."""
    return " at " + "".join(f"[{key!r}]" for key in path) if path else ""


def cure(codec: Codec) -> str:
    return "pass plain data" if codec.name == "pickle" else "pass plain data or set serializer='pickle'"


def _first_refused(data: Any, codec: Codec, deep: bool) -> tuple[Any, Any, Exception] | None:
    for key, part in _parts(data, codec):
        refusal = _refused(part, codec)
        # Of a value that is too deep nobody wants to know the innermost part.
        if refusal is not None and (deep or not isinstance(refusal, RecursionError)):
            return key, part, refusal
    return None


def _parts(data: Any, codec: Codec) -> list[tuple[Any, Any]]:
    if isinstance(data, Mapping):
        # Keys that are no text would make a poor path and are seldom right either.
        return [(key if isinstance(key, str | int) else type_name(key), data[key]) for key in data]
    if isinstance(data, list | tuple | set | frozenset):
        return list(enumerate(data))
    try:
        plain = as_plain(data) if codec.name != "pickle" else None
    except Exception:
        return []
    return _parts(plain, codec) if isinstance(plain, dict | list) else []


def _refused(part: Any, codec: Codec) -> Exception | None:
    try:
        codec.dumps(part)
    except Exception as error:
        return error
    return None


def _why(data: Any, codec: Codec, error: Exception) -> str:
    if isinstance(error, ImproperlyConfigured):
        return f"was not encoded: {error}"
    if isinstance(error, RecursionError):
        return _too_deep(codec)
    if isinstance(data, dict):
        bad = next((key for key in data if not isinstance(key, str | int | float | bool | None)), None)
        if bad is not None:
            return f"has a key that is {_a(type_name(bad))}, which {codec.name} cannot carry"
    if type(data) is int:
        return f"is an int of {data.bit_length()} bits, which {codec.name} cannot carry"
    # What the type itself told (its __json__, its __reduce__) helps its author; json's own words only repeat.
    told = f" ({first_line(error)})" if codec.name != "json" or not isinstance(error, TypeError) else ""
    return f"is {_a(type_name(data))}, which {codec.name} cannot carry{told}"


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeioAEIO" else f"a {name}"


def _too_deep(codec: Codec) -> str:
    return f"is nested too deeply for {codec.name}, or contains itself"


def _refusal(codec: Codec | None, content_type: str) -> str:
    shown = f"{codec.name} ({content_type})" if codec is not None else repr(content_type)
    name = codec.name if codec is not None else content_type
    return (
        f"content of the type {shown} is not accepted here and was not decoded; "
        f"if you trust everyone who can write to the store, add {name!r} to accept_content"
    )


# --- json -------------------------------------------------------------------------------------------------


def _json_text_encoder() -> Callable[[Any], str]:
    # The C encoder made once: json.dumps(default=...) would make a new one for each call, at twice the time.
    # Without markers a circle ends as RecursionError; with them two threads could not share the encoder.
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return json.JSONEncoder(default=reduce, check_circular=False).encode
    chunks = make(None, reduce, encode_basestring_ascii, None, ": ", ", ", False, False, True)
    return lambda data: "".join(chunks(data, 0))


#: Any value as JSON text, in pure ASCII, spaced as Celery's.
json_text = _json_text_encoder()

#: A str as a JSON string.
json_string: Callable[[str], str] = encode_basestring_ascii

_plain_json = msgspec.json.Decoder().decode


def _dumps_json(data: Any) -> bytes:
    return json_text(data).encode()


def is_own_json() -> bool:
    """Whether JSON is read by us, and by nobody whom the user has registered in our place."""
    return _BY_CONTENT_TYPE["application/json"].loads is loads_json


def loads_json(data: bytes) -> Any:
    """JSON with the extended types; errors are as the decoders raise them."""
    if b'"__type__"' in data:
        return json.loads(data.decode(), object_hook=revive)
    return loads_plain_json(data)


def loads_plain_json(data: bytes) -> Any:
    """JSON with marked values left as they are written."""
    try:
        return _plain_json(data)
    except msgspec.DecodeError:
        # NaN, 1e400, lone surrogates: the standard library writes them, so it shall also read them.
        return json.loads(data.decode())


# --- the others -------------------------------------------------------------------------------------------


def _dumps_pickle(data: Any) -> bytes:
    return pickle.dumps(data, protocol=PICKLE_PROTOCOL)


def _dumps_yaml(data: Any) -> bytes:
    text: str = _yaml().dump(data, Dumper=_yaml_dumper())
    return text.encode()


def _loads_yaml(data: bytes) -> Any:
    # The loader in Python on purpose: the one in C overflows its stack on deep nesting and kills the process.
    return _yaml().safe_load(data.decode())


def _dumps_msgpack(data: Any) -> bytes:
    packed: bytes = _msgpack().packb(data, use_bin_type=True, default=as_plain)
    return packed


def _loads_msgpack(data: bytes) -> Any:
    return _msgpack().unpackb(data, raw=False)


@cache
def _yaml() -> Any:
    return _optional("yaml", "yaml")


@cache
def _msgpack() -> Any:
    return _optional("msgpack", "msgpack")


@cache
def _yaml_dumper() -> Any:
    dumper: Any = type("Dumper", (_yaml().SafeDumper,), {})
    dumper.add_representer(None, lambda self, value: self.represent_data(as_plain(value)))
    return dumper


def _optional(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ImproperlyConfigured(
            f"the serializer {extra!r} needs a package that is not installed: pip install 'celeriac[{extra}]'"
        ) from None


_BY_NAME: dict[str, Codec] = {}
_BY_CONTENT_TYPE: dict[str, Codec] = {}
#: Content encodings under which a text codec reads the bytes as they are.
_UNCHANGED = frozenset({"utf-8", "utf8", "UTF-8", "binary", "us-ascii", "ascii", "", None})

#: The serializers that are there before anybody registers one.
_OURS = ("json", "pickle", "yaml", "msgpack")

register("json", _dumps_json, loads_json, "application/json")
register("pickle", _dumps_pickle, pickle.loads, "application/x-python-serialize", "binary")
register("yaml", _dumps_yaml, _loads_yaml, "application/x-yaml")
register("msgpack", _dumps_msgpack, _loads_msgpack, "application/x-msgpack", "binary")

#: Their names and content types.
_OUR_WORDS = frozenset((*_BY_NAME, *_BY_CONTENT_TYPE))
