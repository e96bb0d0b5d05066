"""Values there and back through every serializer, and what is refused in which words."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import socket
import sys
import threading
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.exceptions import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured
from celeriac.wire import codecs
from celeriac.wire.codecs import decode, encode
from celeriac.wire.compression import compress, decompress
from celeriac.wire.extended import register_type

ALL = ("json", "pickle", "yaml", "msgpack")


def there_and_back(value: Any, serializer: str = "json") -> Any:
    content_type, encoding, data = encode(value, serializer)
    return decode(data, content_type, encoding, [serializer])


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(str, enum.Enum):  # noqa: UP042 - how it was written before StrEnum
    YES = "yes"


@dataclasses.dataclass
class Point:
    x: int
    when: datetime
    colour: Colour = Colour.RED


class Both(NamedTuple):
    a: int
    b: int


class Car(msgspec.Struct, rename="camel", tag=True):
    door_count: int
    owner: str | msgspec.UnsetType = msgspec.UNSET


class Pair(msgspec.Struct, array_like=True):
    a: int
    b: int


class Order(pydantic.BaseModel):
    number: int = pydantic.Field(alias="no")
    at: datetime
    page: pydantic.HttpUrl


NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)

EXTENDED = [
    NOON,
    NOON.astimezone(timezone(timedelta(hours=-5, minutes=-30))),
    datetime(2030, 1, 2, 3, 4, 5, 6),
    date(2030, 1, 2),
    time(3, 4, 5, 6),
    Decimal("1.10"),
    Decimal("NaN"),
    UUID(int=5),
    b"text",
    b"\xff\xfe\x00",
    b"",
    {1, 2},
    frozenset({"a"}),
    {(1, (2, 3)), (4,)},
    {frozenset({1}), UUID(int=1)},
    [{"deep": [{"deeper": NOON}]}],
    "\ud800 alone",
    'a text with "__type__" in it',
    2**200,
    -0.0,
    1e400,
]


@pytest.mark.parametrize("value", EXTENDED, ids=repr)
def test_json_carries_celerys_types_and_sets(value: Any) -> None:
    again = there_and_back(value)
    assert type(again) is type(value)
    assert again == value or (again != again and value != value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Path("/tmp/x"), "/tmp/x"),
        (PurePosixPath("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Word.YES, "yes"),
        (Point(1, NOON), {"x": 1, "when": NOON, "colour": "red"}),
        (Car(4), {"type": "Car", "doorCount": 4}),
        (Pair(1, 2), [1, 2]),
        (Order(no=1, at=NOON, page="https://a.b/c"), {"no": 1, "at": NOON, "page": "https://a.b/c"}),
        ((1, (2,)), [1, [2]]),
        (Both(1, 2), [1, 2]),
        (OrderedDict(b=1), {"b": 1}),
    ],
    ids=repr,
)
def test_json_carries_what_annotations_bring_back_as_plain_data(value: Any, plain: Any) -> None:
    assert there_and_back(value) == plain


def test_what_left_as_plain_data_can_be_rebuilt() -> None:
    assert msgspec.convert(there_and_back(Car(4)), Car) == Car(4)
    assert msgspec.convert(there_and_back(Point(1, NOON)), Point) == Point(1, NOON)
    order = Order(no=1, at=NOON, page="https://a.b/c")
    assert Order.model_validate(there_and_back(order)) == order


@pytest.mark.parametrize("serializer", ["yaml", "msgpack"])
def test_paths_enums_and_models_are_plain_data_for_yaml_and_msgpack_too(serializer: str) -> None:
    assert there_and_back({"p": Path("/x"), "c": Colour.RED, "s": Car(4)}, serializer) == {
        "p": "/x",
        "c": "red",
        "s": {"type": "Car", "doorCount": 4},
    }


@pytest.mark.parametrize("serializer", ALL)
def test_plain_values_come_back_from_every_serializer(serializer: str) -> None:
    value = {"a": [1, 2.5, None, True, "ž"], "b": {"c": []}}
    assert there_and_back(value, serializer) == value


def test_nan_and_infinity_pass_as_in_celery() -> None:
    nan, infinite = there_and_back([math.nan, -math.inf])
    assert math.isnan(nan)
    assert infinite == -math.inf


def test_keys_that_are_numbers_become_text_as_in_celery() -> None:
    assert there_and_back({2: "a", None: "b", True: "c"}) == {"2": "a", "null": "b", "true": "c"}


def test_an_object_may_say_itself_how_it_travels() -> None:
    class Money:
        def __json__(self) -> Any:
            return {"amount": Decimal(5)}

    assert there_and_back(Money()) == {"amount": Decimal(5)}


def test_a_registered_type_comes_back_as_itself() -> None:
    class Angle(float): ...

    class Turn:
        def __init__(self, degrees: int) -> None:
            self.degrees = degrees

    register_type(Turn, "test_turn", lambda turn: turn.degrees, Turn)
    assert there_and_back([Turn(90)])[0].degrees == 90
    assert there_and_back([Angle(90)]) == [90.0]


def test_a_type_registered_without_a_marker_travels_as_its_plain_form() -> None:
    class Turn:
        degrees = 90

    register_type(Turn, None, lambda turn: turn.degrees)
    assert there_and_back(Turn()) == 90


def test_a_subclass_travels_as_its_registered_parent() -> None:
    class Day(date):
        pass

    assert there_and_back(Day(2030, 1, 2)) == date(2030, 1, 2)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_nesting_of_plain_values_and_bytes_comes_back(value: Any) -> None:
    if isinstance(value, dict) and value.keys() == {"__type__", "__value__"}:
        return
    assert there_and_back(value) == value


@given(st.binary(), st.sampled_from(["json", "yaml", "msgpack"]))
def test_any_bytes_are_decoded_or_refused_as_a_decode_error(data: bytes, serializer: str) -> None:
    codec = codecs.codec_named(serializer)
    with contextlib.suppress(DecodeError):
        decode(data, codec.content_type, codec.content_encoding, [serializer])


# --- what does not fit ------------------------------------------------------------------------------------


def test_the_value_that_does_not_fit_is_named_with_its_place() -> None:
    with (
        socket.socket() as it,
        pytest.raises(EncodeError, match=r"at \['a'\]\[1\] is a socket.socket, which json"),
    ):
        encode({"a": [1, it]}, "json")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            object(),
            "the value is an object, which json cannot carry; pass plain data or set serializer='pickle'",
        ),
        ({"k": {(1, 2): 3}}, "at ['k'] has a key that is a tuple, which json cannot carry"),
        ([10**5000], "at [0] is an int of 16610 bits, which json cannot carry"),
        (Point(1, object()), "at ['when'] is an object, which json"),  # type: ignore[arg-type]
        (bytearray(b"x"), "is a bytearray, which json"),
    ],
)
def test_the_error_says_what_does_not_fit_and_the_cure(value: Any, words: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(value, "json")
    assert words in str(caught.value)


def test_pickle_says_what_it_cannot_carry() -> None:
    with pytest.raises(EncodeError, match=r"at \[0\] is a _thread.lock, which pickle .*; pass plain data$"):
        encode([threading.Lock()], "pickle")


@pytest.mark.parametrize("serializer", ALL)
def test_what_contains_itself_is_an_encode_error(serializer: str) -> None:
    circle: list[Any] = []
    circle.append(circle)
    if serializer in ("pickle", "yaml"):
        encode(circle, serializer)
    else:
        with pytest.raises(EncodeError):
            encode(circle, serializer)


@pytest.mark.parametrize("serializer", ALL)
def test_a_value_nested_too_deeply_is_an_encode_error(serializer: str) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(EncodeError):
        encode(deep, serializer)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attributes")

    def __reduce__(self) -> Any:
        raise RuntimeError("no reduce")


@pytest.mark.parametrize("serializer", ALL)
def test_a_hostile_object_is_an_encode_error(serializer: str) -> None:
    with pytest.raises(EncodeError, match="Hostile"):
        encode({"a": Hostile()}, serializer)


def test_an_unknown_serializer_lists_the_known() -> None:
    with pytest.raises(EncodeError, match="known are json, msgpack, pickle, yaml"):
        encode(1, "xml")


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("serializer", ALL)
def test_content_is_decoded_only_if_it_is_accepted(serializer: str) -> None:
    content_type, encoding, data = encode([1], serializer)
    with pytest.raises(ContentDisallowed, match=serializer):
        decode(data, content_type, encoding, [other for other in ALL if other != serializer])
    assert decode(data, content_type, encoding, {content_type}) == [1]


def test_an_unknown_content_type_is_refused() -> None:
    with pytest.raises(ContentDisallowed, match="text/xml"):
        decode(b"<a/>", "text/xml", "utf-8", ["json"])
    with pytest.raises(DecodeError, match="nobody here can read"):
        decode(b"<a/>", "text/xml", "utf-8", ["text/xml"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'[{"__type__": "nothing", "__value__": 1}]',
        b'[{"__type__": ["x"], "__value__": 1}]',
        b'[{"__type__": "uuid", "__value__": 1}]',
        b'[{"__type__": "datetime", "__value__": "soon"}]',
        b'[{"__type__": "base64", "__value__": "A"}]',
        b'{"__type__": "set", "__value__": [' * 100_000,
        b"1" * 5000,
    ],
)
def test_bad_json_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data, "application/json", "utf-8", ["json"])


def test_other_bad_content_is_a_decode_error_too() -> None:
    for content_type, data in [
        ("application/x-yaml", b"[" * 100_000),
        ("application/x-yaml", b"!!python/object/apply:os.system [echo]"),
        ("application/x-msgpack", b"\x91" * 100_000),
        ("application/x-python-serialize", b"no pickle"),
        ("application/x-python-serialize", b"cno_such_module\nx\n."),
    ]:
        with pytest.raises(DecodeError):
            decode(data, content_type, "binary", ALL)


def test_text_in_another_encoding_is_read() -> None:
    assert decode("ž".join('""').encode("utf-16"), "application/json", "utf-16", ["json"]) == "ž"
    with pytest.raises(DecodeError):
        decode(b"1", "application/json", "no-such-encoding", ["json"])


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    codecs._yaml.cache_clear()
    codecs._yaml_dumper.cache_clear()
    with pytest.raises(EncodeError, match=r"pip install 'celeriac\[yaml\]'") as caught:
        encode([1], "yaml")
    assert isinstance(caught.value.__cause__, ImproperlyConfigured)
    codecs._yaml.cache_clear()


@pytest.mark.parametrize("method", ["gzip", "zlib", "bzip2", "lzma", "application/x-bz2"])
def test_compressed_bytes_come_back(method: str) -> None:
    content_type, smaller = compress(b"x" * 1000, method)
    assert len(smaller) < 200
    assert decompress(smaller, content_type) == b"x" * 1000


def test_bad_compression_is_an_error_of_its_side() -> None:
    with pytest.raises(EncodeError, match="known are bzip"):
        compress(b"x", "rar")
    with pytest.raises(DecodeError, match="rar"):
        decompress(b"x", "rar")
    with pytest.raises(DecodeError):
        decompress(b"x", "application/x-gzip")


def test_json_is_spaced_and_escaped_as_celerys() -> None:
    assert encode({"a": [1, "ž"]}, "json")[2] == json.dumps({"a": [1, "ž"]}).encode()
