"""Bytes that were messages and results once, and what the decoders must do with them: answer, or refuse."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import msgspec

from celeriac import Celery
from celeriac.exceptions import CeleriacError
from celeriac.message import Claim, Outcome
from celeriac.wire.codecs import encode
from celeriac.wire.compression import compress
from celeriac.wire.packing import pack
from celeriac.wire.raised import decode_exception, encode_exception
from celeriac.wire.result import decode_result, encode_result
from celeriac.wire.task import unpack
from celeriac.worker.execute import Executor, Job

#: What is decoded; pickle is not, for who accepts it has decided to run whatever comes.
ACCEPT = ("json", "msgpack", "yaml")
#: Seconds that any answer may take.
LONGEST = 5.0


def _messages() -> list[bytes]:
    args: tuple[Any, ...] = (1, "ä", None, {"of": [2.5, b"bytes"]})
    call: dict[str, Any] = {"name": "fuzz.add", "id": "the-id", "kwargs": {"k": [True]}, "queue": "celery"}
    found = [pack(args=args, serializer=serializer, **call) for serializer in ACCEPT]
    first = json.loads(found[0])
    found.append(json.dumps({**first, "body": "[[1], {}, {}]", "properties": {}}).encode())
    for method in ("zlib", "bzip2", "lzma"):
        content_type, smaller = compress(b"[[1], {}, {}]", method)
        headers = {**first["headers"], "compression": content_type}
        found.append(json.dumps({**first, "headers": headers, "body": smaller.hex()}).encode())
    found.append(json.dumps({"task": "fuzz.add", "id": "x", "args": [1], "kwargs": {}, "eta": None}).encode())
    return found


def _results() -> list[bytes]:
    failed = encode_exception(ValueError("as planned", 7))
    metas = [
        encode_result(task_id="the-id", status=status, result=result, serializer=serializer)
        for serializer in ACCEPT
        for status, result in (("SUCCESS", {"of": [1, "ä", None]}), ("FAILURE", failed))
    ]
    return [*metas, encode(failed, "json")[2]]


MESSAGES, RESULTS = _messages(), _results()

#: What stands in the place of something else.
_STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 1e400, float("nan"), "", "x" * 300, "\udcff", "\x00", [], {}, [[]],
    [None] * 50, {"__type__": "datetime", "__value__": "soon"}, {"__type__": 5}, {"exc_type": "SystemExit"},
    "9999-99-99",
    "base64", "klingon", "application/x-python-serialize",
)  # fmt: skip


def mutated(dice: random.Random, payload: bytes) -> bytes:
    """These bytes with one to four changes; half of the time the JSON in them stays JSON."""
    for _ in range(dice.randint(1, 4)):
        payload = _changed_inside(dice, payload) if dice.random() < 0.5 else _changed_bytes(dice, payload)
    return payload


def _changed_bytes(dice: random.Random, payload: bytes) -> bytes:
    at = dice.randint(0, len(payload))
    to = min(len(payload), at + dice.choice((0, 1, 1, 4, 30)))
    new = dice.choice(
        (
            b"",
            bytes([dice.randrange(256)]),
            dice.randbytes(4),
            payload[:at],
            b"[" * 3000,
            b'{"a":' * 2000,
            b"\\u00",
        )
    )
    return (payload[:at] + new + payload[to:])[:100_000]


def _changed_inside(dice: random.Random, payload: bytes) -> bytes:
    try:
        tree = json.loads(payload)
    except (ValueError, RecursionError):
        return _changed_bytes(dice, payload)
    root = [tree]
    node: Any = root
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = dice.choice(keys)
        if not isinstance(node[key], dict | list) or not node[key] or dice.random() < 0.3:
            node[key] = dice.choice(_STRANGE)
            break
        node = node[key]
    try:
        return json.dumps(root[0]).encode()
    except (ValueError, RecursionError):
        return _changed_bytes(dice, payload)


class Fuzz:
    """An app whose decoders are fed. `feed` raises where one does not answer as it must."""

    def __init__(self) -> None:
        self._app = Celery("fuzz", broker="memory://", backend="memory://", accept_content=list(ACCEPT),
                           set_as_current=False)  # fmt: skip
        self._app.task(name="fuzz.add")(lambda *args, **kwargs: None)
        self._executor = Executor(self._app, "w@fuzz", now=lambda: 1_700_000_000.0)

    def feed(self, dice: random.Random) -> None:
        """One message and one result."""
        message = mutated(dice, dice.choice(MESSAGES))
        with in_time(message):
            self._message(message)
        result = mutated(dice, dice.choice(RESULTS))
        with in_time(result):
            self._result(result)

    def _message(self, payload: bytes) -> None:
        try:
            task = unpack(payload, ACCEPT)
            task.arguments(ACCEPT)
            _ = task.headers
        except CeleriacError:
            pass
        prepared = self._executor.prepare(Claim(1, "celery", payload))
        assert isinstance(prepared, Job | Outcome), prepared
        if isinstance(prepared, Outcome):
            assert not prepared.reason.startswith("internal error"), prepared.reason

    def _result(self, payload: bytes) -> None:
        try:
            meta = decode_result(payload, ACCEPT)
        except CeleriacError:
            return
        assert isinstance(decode_exception(meta.get("result")), BaseException)


def run_for(seconds: float, seed: int) -> int:
    """Feed until the time is over; gives how many were eaten."""
    dice, fuzz, count = random.Random(seed), Fuzz(), 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = dice.getstate()
        try:
            fuzz.feed(dice)
        except Exception as error:
            digest = hash(msgspec.msgpack.encode(state[1]))
            raise AssertionError(f"number {count} of seed {seed} ({digest}): {error!r}") from error
        count += 1
    return count


@contextmanager
def in_time(payload: bytes) -> Iterator[None]:
    def late(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"no answer within {LONGEST:g} s to {payload[:200]!r}")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
