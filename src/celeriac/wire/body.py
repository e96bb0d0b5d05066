"""The body of a task message, written and read: what to call the task with, and what follows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from celeriac.exceptions import DecodeError, EncodeError
from celeriac.wire.codecs import Codec, codec_named, cure, decode, find_misfit, is_own_json, json_text, place

Embed = Mapping[str, Any]
Arguments = tuple[list[Any], dict[str, Any], "Embed | ChordAlone | ChainAlone"]

#: What most messages embed: no callbacks, no errbacks, no chain, no chord.
NOTHING_FOLLOWS: Embed = MappingProxyType(dict.fromkeys(("callbacks", "errbacks", "chain", "chord")))
NOTHING_FOLLOWS_JSON = '{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'


def encode_body(
    codec: Codec,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    callbacks: Any,
    errbacks: Any,
    chain: Any,
    chord: Any,
) -> bytes:
    """EncodeError names the argument that cannot travel."""
    try:
        if codec.name == "json" and not (callbacks or errbacks or chain or chord):
            return f"{json_text((args, kwargs))[:-1]}, {NOTHING_FOLLOWS_JSON}]".encode("ascii")
        embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}
        return codec.dumps((args, kwargs, embed))
    except MemoryError:
        raise
    except Exception as error:
        follows = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}
        raise EncodeError(_complaint(codec, name, (args, kwargs, follows), error)) from error


def decode_body(body: bytes, content_type: str, content_encoding: str, accept: Collection[str]) -> Arguments:
    """(args, kwargs, embed). DecodeError if they are none, or are written in what is not accepted."""
    if (
        content_type == "application/json"
        and content_encoding == "utf-8"
        and "json" in accept
        and body.find(b'"__type__"') < 0
        and is_own_json()
    ):
        # Nearly every body is of this kind and can be decoded in one go.
        try:
            args, kwargs, embed = _decode_parts(body)
            if embed == _NOTHING_FOLLOWS_RAW:
                return args, kwargs, NOTHING_FOLLOWS
            raw = bytes(embed)
            if raw.startswith(_CHORD_ALONE):
                return args, kwargs, ChordAlone(raw)
            if raw.startswith(_CHAIN_ALONE) and raw.endswith(_CHAIN_ENDS):
                return args, kwargs, ChainAlone(raw)
            return args, kwargs, _decode_embed(raw)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            pass  # below it is read by those who can read more, or say what is wrong
    data = decode(body, content_type, content_encoding, accept)
    if isinstance(data, dict) and "args" in data:
        # A hybrid: the headers of protocol 2 over the body of protocol 1.
        return arguments_of_protocol_1(data)
    if not isinstance(data, list | tuple) or len(data) != 3:
        raise DecodeError("the body of this message is not [args, kwargs, embed]")
    return _checked(*data)


def arguments_of_protocol_1(data: dict[str, Any]) -> Arguments:
    """The same of a body of protocol 1, in which everything stands under its name."""
    embed = {name: data.get(name) for name in ("callbacks", "errbacks", "chord")}
    return _checked(data.get("args"), data.get("kwargs"), {**embed, "chain": None})


def there_and_back(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], serializer: str
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as a worker would get them."""
    codec = codec_named(serializer)
    body = encode_body(codec, name, args, kwargs, None, None, None, None)
    arrived: tuple[list[Any], dict[str, Any], Any] = codec.loads(body)
    return arrived[0], arrived[1]


class ChordAlone(msgspec.Struct, frozen=True, gc=False):
    """What a member of a chord embeds: its chord, of which hardly anybody asks more than that it is there."""

    raw: bytes

    def __getitem__(self, name: str) -> Any:
        return _decode_embed(self.raw)[name]


class ChainAlone(msgspec.Struct, frozen=True, gc=False):
    """What a step of a chain embeds: the steps after it, of which most travel on as they came."""

    raw: bytes

    def __getitem__(self, name: str) -> Any:
        return _decode_embed(self.raw)[name]

    def next_and_rest(self) -> tuple[dict[str, Any], str]:
        """The next step, and the text of those after it as they stand in the list, if there are any."""
        steps = self.raw[len(_CHAIN_ALONE) - 2 : 2 - len(_CHAIN_ENDS)]
        following = bytes(_decode_steps(steps)[-1])
        rest = steps[1 : -1 - len(following)].rstrip(b", ")
        return _decode_embed(following), rest.decode()


def _complaint(codec: Codec, name: str, body: tuple[Any, ...], error: Exception) -> str:
    """Which argument of the call cannot travel, and what to do."""
    (part, which, *inside), why = _padded(*find_misfit(body, codec, error, frame=2))
    if which is None:
        who = f"the call of {name}"
    elif part == 2:
        who = f"what follows {name} (its {which})"
    else:
        who = f"argument {which + 1 if part == 0 else repr(which)} of {name}"
    where = f": the value{place(tuple(inside))}" if inside else ""
    return f"{who}{where} {why}; {cure(codec)}"


def _padded(path: tuple[Any, ...], why: str) -> tuple[tuple[Any, ...], str]:
    return (*path, *(None,) * (2 - len(path))), why


def _checked(args: Any, kwargs: Any, embed: Any) -> Arguments:
    args = [] if args is None else args
    kwargs = {} if kwargs is None else kwargs
    embed = {} if embed is None else embed
    if not isinstance(args, list):
        if not isinstance(args, tuple):
            raise DecodeError("the arguments in this message are not a list")
        args = list(args)
    if not isinstance(kwargs, dict) or not isinstance(embed, dict):
        raise DecodeError("the keyword arguments in this message are not a mapping")
    return args, kwargs, embed


_decode_parts = msgspec.json.Decoder(tuple[list[Any], dict[str, Any], msgspec.Raw]).decode
_decode_embed = msgspec.json.Decoder(dict[str, Any]).decode
_decode_steps = msgspec.json.Decoder(list[msgspec.Raw]).decode

_NOTHING_FOLLOWS_RAW = msgspec.Raw(NOTHING_FOLLOWS_JSON.encode("ascii"))
#: So it begins where nothing but the body of a chord follows.
_CHORD_ALONE = b'{"callbacks": null, "errbacks": null, "chain": null, "chord": {'
#: The same where nothing but the rest of a chain does; its next step is the last in the list.
_CHAIN_ALONE, _CHAIN_ENDS = b'{"callbacks": null, "errbacks": null, "chain": [{', b'}], "chord": null}'
