"""The end of a body tells what follows a call, whoever wrote it, and whatever its arguments say."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from typing import Any

import pytest

from celeriac.wire import compression
from celeriac.wire.ending import embed_at_end
from celeriac.wire.packing import pack

FOLLOWS = {"callbacks": [{"task": "a"}], "errbacks": None, "chain": [{"task": "b"}], "chord": None}


def envelope(arguments: Any, encoded: bool, **changes: Any) -> bytes:
    body = json.dumps([[arguments], {}, FOLLOWS])
    said = {
        "body": b64encode(body.encode()).decode() if encoded else body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "f", "id": "x"},
        "properties": {"body_encoding": "base64"} if encoded else {},
    }
    return json.dumps({**said, **changes}).encode()


@pytest.mark.parametrize("encoded", [True, False], ids=["base64", "open"])
@pytest.mark.parametrize(
    "arguments",
    ["", "x" * 100_000, '"\\\n' * 30_000, json.dumps(FOLLOWS), [json.dumps(FOLLOWS) + "]"] * 3],
    ids=["none", "long", "escapes", "the same words", "the same end"],
)
def test_the_last_part_of_a_body_is_found_however_long_the_rest_is(arguments: Any, encoded: bool) -> None:
    for more in range(4):
        assert embed_at_end(envelope([arguments, "x" * more], encoded), {"json"}) == FOLLOWS


@pytest.mark.parametrize("size", [0, 100, 300_000])
def test_the_end_of_a_compressed_body_is_found_too(size: int) -> None:
    text = os.urandom(size // 2).hex()
    payload = pack(name="f", id="x", args=(text,), kwargs={}, queue="q", compression="zlib", **FOLLOWS)
    assert embed_at_end(payload, {"json"}) == FOLLOWS
    assert embed_at_end(payload.replace(b'{"body": "', b'{"body": "AAAA'), {"json"}) is None


def test_what_unfolds_without_end_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MOST_UNFOLDED", 1 << 20)
    payload = pack(name="f", id="x", args=("x" * (2 << 20),), kwargs={}, queue="q", compression="zlib")
    assert embed_at_end(payload, {"json"}) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        envelope("x", True)[:-200],
        envelope("x", True, **{"content-type": "application/x-python-serialize"}),
        envelope("x", True, body="no base64!"),
        envelope("x", False, body="no json"),
        envelope("x", False, body='[[], {}, {"callbacks": null}]'),
    ],
    ids=["nothing", "no body", "cut off", "pickle", "no base64", "no json", "something else"],
)
def test_what_does_not_show_it_has_none(payload: bytes) -> None:
    assert embed_at_end(payload, {"json"}) is None
    assert embed_at_end(envelope("x", True), {"pickle"}) is None
