"""Whatever lies in a queue, whatever a task does: one clear error, nothing lost, and the worker goes on."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery, states
from celeriac.exceptions import EncodeError, OperationalError
from celeriac.message import Claim, Fate, Letter, Outcome
from celeriac.result import AsyncResult
from celeriac.worker.execute import Executor, Job
from conftest import demand
from services import RedisServer, free_port
from stand import DRIVERS, POOLS, Stand, lines, until

HOSTILE = ["unpicklable", "silent", "mute", "liar", "circular", "local", "binary", "surrogate", "exit",
           "interrupt", "generator", "stop", "cancelled", "base", "group", "large"]  # fmt: skip


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    demand("redis-server", RedisServer.executable() is not None)
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module", params=DRIVERS)
def stand(
    request: pytest.FixtureRequest, own_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """One worker of one process for all: the same one has to go on after everything."""
    folder = tmp_path_factory.mktemp("bad")
    url = own_server.url if request.param == "redis" else f"sqlite:///{folder}/store.db"
    stand = Stand(url, folder)
    stand.start("-c", "1")
    yield stand
    stand.close()
    print(stand.workers[0].output[-20000:])


@pytest.fixture
def child(stand: Stand) -> Iterator[int]:
    """The process that runs all tasks; it is the same one after the test."""
    before: int = stand.send("where").get(timeout=20)[0]
    yield before
    assert stand.send("where").get(timeout=20)[0] == before


def envelope(stand: Stand, **changes: Any) -> dict[str, Any]:
    """The message of `main.f("x")` as it lies in a queue, to be spoilt."""
    message = stand.client.message_for(stand.client.signature("main.f", args=("x",)))
    spoilt: dict[str, Any] = json.loads(message.payload)
    headers = changes.pop("headers", {})
    return {**spoilt, **changes, "headers": {**spoilt["headers"], **headers}}


def buried(stand: Stand, payload: bytes) -> Letter:
    """Put it into the queue and wait until it is a dead letter."""
    stand.put(payload)
    letters: list[Letter] = until(
        lambda: [letter for letter in stand.broker.letters(1000) if letter.payload == payload],
        what="the burial",
    )
    return letters[0]


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff\xfe\x00\x01 no text at all \x80",
        b"plain text",
        b"",
        b"{",
        b"[1, 2, 3]",
        b"{}",
        b"null",
        b'"x"',
        b'{"body": 5, "headers": [], "properties": null}',
        b'{"body": "!", "headers": {"task": "main.f", "id": "1"}, "properties": {"body_encoding": "base64"}}',
        b'{"task": 7, "id": null}',
        b"[" * 100_000 + b"]" * 100_000,
    ],
    ids=[
        "undecodable",
        "text",
        "nothing",
        "half",
        "list",
        "empty",
        "null",
        "string",
        "shapes",
        "base64",
        "types",
        "deep",
    ],
)
@pytest.mark.usefixtures("child")
def test_bytes_that_are_no_task_become_a_dead_letter(stand: Stand, payload: bytes) -> None:
    letter = buried(stand, payload)
    assert letter.queue == "celery"
    assert letter.reason
    assert "\n" not in letter.reason
    stand.workers[0].wait_for_line(r"Received invalid task message: ")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"body": "AAAA"}, "DecodeError"),
        ({"content-type": "application/x-python-serialize"}, "ContentDisallowed"),
        ({"content-type": "application/x-unheard-of"}, "ContentDisallowed|DecodeError"),
        ({"content-encoding": "klingon"}, "DecodeError"),
        ({"headers": {"eta": "tomorrow"}}, "InvalidTaskError"),
        ({"headers": {"expires": "in time"}}, "InvalidTaskError"),
        ({"body": "W10="}, "DecodeError|InvalidTaskError"),
        ({"body": "!no base64!"}, "DecodeError"),
        ({"headers": {"retries": {"a": "dict"}}}, "DecodeError"),
        ({"headers": {"timelimit": "soon"}}, "DecodeError"),
        ({"properties": [1, 2]}, "DecodeError"),
        ({"body": "WzEsIDIsIDNd"}, "DecodeError|InvalidTaskError"),
    ],
    ids=[
        "body",
        "pickle",
        "type",
        "encoding",
        "eta",
        "expires",
        "empty list",
        "no base64",
        "retries",
        "limits",
        "list",
        "numbers",
    ],
)
@pytest.mark.usefixtures("child")
def test_a_task_that_cannot_be_read_fails_and_is_kept(
    stand: Stand, changes: dict[str, Any], word: str
) -> None:
    spoilt = envelope(stand, **changes)
    letter = buried(stand, json.dumps(spoilt).encode())
    assert re.search(word, letter.reason)
    assert letter.id == spoilt["headers"]["id"]
    result: AsyncResult[Any] = stand.client.AsyncResult(letter.id)
    until(lambda: result.state == states.FAILURE)


@pytest.mark.usefixtures("child")
def test_a_name_that_nobody_knows_is_parked_until_somebody_does(stand: Stand) -> None:
    result = stand.send("of_tomorrow")
    worker = stand.workers[0]
    worker.wait_for_line(r"Received unregistered task of type 'main\.of_tomorrow'\.")
    worker.wait_for_line(rf"Nothing is lost: message {result.id} waits in queue 'celery'")
    until(lambda: stand.broker.depth(["celery"])["celery"].delayed == 1)
    assert result.state == states.PENDING
    later = stand.start("-c", "1", "-n", "later@%h", app="learned")
    assert result.get(timeout=20) == "known at last"
    later.stop()
    # It was offered again and again, and that was said once.
    assert worker.output.count("Received unregistered task of type 'main.of_tomorrow'") == 1


@pytest.mark.usefixtures("child")
def test_arguments_that_do_not_fit_fail_with_the_words_of_python(stand: Stand) -> None:
    for args, kwargs in (((1, 2, 3), {}), ((), {"nonsense": 1})):
        result = stand.client.send_task("main.f", args, kwargs)
        with pytest.raises(TypeError, match=r"f\(\) (takes|got)"):
            result.get(timeout=20)
        stand.workers[0].wait_for_line(rf"Task main\.f\[{result.id}\] raised unexpected: TypeError")


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", ["hostile", "hostile_async"])
@pytest.mark.usefixtures("child")
def test_hostile_exceptions_are_failures_like_others(stand: Stand, name: str, kind: str) -> None:
    result = stand.send(name, kind)
    with pytest.raises(BaseException) as caught:
        result.get(timeout=20)
    assert not isinstance(caught.value, TimeoutError)
    assert result.state == states.FAILURE
    # One that breaks whoever asks for its class cannot even be judged: then the message is kept, too.
    line = "INTERNAL ERROR" if kind == "liar" else "raised unexpected"
    stand.workers[0].wait_for_line(rf"Task main\.{name}\[{result.id}\] {line}: ")
    assert (result.id in {letter.id for letter in stand.broker.letters(1000)}) == (kind == "liar")
    assert stand.broker.depth(["celery"])["celery"].claimed == 0


@pytest.mark.usefixtures("child")
def test_half_a_surrogate_pair_in_ids_and_reasons_ends_no_worker(stand: Stand) -> None:
    half = "/data/\udcff.txt"  # as os.listdir() gives a name that is no UTF-8
    with pytest.raises(ValueError, match="signs that no store can keep"):
        stand.send("f", "x", task_id=half)
    for name in ("id", "group", "root_id"):
        letter = buried(stand, json.dumps(envelope(stand, headers={name: half})).encode())
        assert "is no text that can be stored" in letter.reason
    step = stand.client.signature("main.f", options={"task_id": half})
    for first in ("f", "hostile"):
        with pytest.raises((EncodeError, KeyError), match=r"no store can keep|half"):
            stand.send(first, "half", chain=[step]).get(timeout=20)
    refused = stand.send("refuse", half)
    letters = until(lambda: [letter for letter in stand.broker.letters(1000) if letter.id == refused.id])
    assert letters[0].reason == "reject requeue=False: /data/\\udcff.txt"


@pytest.mark.parametrize("name", ["unencodable", "shy_result"])
@pytest.mark.usefixtures("child")
def test_a_result_that_cannot_be_encoded_is_a_failure_that_says_so(stand: Stand, name: str) -> None:
    result = stand.send(name)
    with pytest.raises(EncodeError):
        result.get(timeout=20)
    assert result.state == states.FAILURE


@pytest.mark.usefixtures("child")
def test_endless_recursion_is_a_failure(stand: Stand) -> None:
    with pytest.raises(RecursionError):
        stand.send("recurse").get(timeout=20)


@pytest.mark.parametrize(
    "queue",
    ["with space", "ünï-✓", "a:b:c", "{curly}", "per%cent", "sl/ash", "quote'\"", "*", "-", "q" * 255],
)
def test_queues_may_have_odd_names(stand: Stand, queue: str) -> None:
    result = stand.send("f", queue, queue=queue)
    message = stand.broker.depth([queue])[queue]
    assert message.ready == 1
    assert queue in stand.broker.queues()
    (payload,) = stand.broker.peek(queue, 5)
    assert result.id.encode() in payload
    assert stand.broker.purge(queue) == 1


def test_a_worker_serves_queues_with_odd_names(stand: Stand) -> None:
    names = ["with space", "ünï-✓", "a:b:c", "{curly}", "per%cent", "quote'\""]
    worker = stand.start("-c", "1", "-n", "odd@%h", "-Q", ",".join(names))
    results = [stand.send("f", name, queue=name) for name in names]
    assert [result.get(timeout=20) for result in results] == names
    worker.stop()


@pytest.mark.usefixtures("child")
@pytest.mark.usefixtures("child")
def test_arguments_that_are_nested_100_000_deep_fail_and_are_kept(stand: Stand) -> None:
    deep = b"[[" + b"[" * 100_000 + b"]" * 100_000 + b"], {}, {}]"
    letter = buried(stand, json.dumps({**envelope(stand), "body": b64encode(deep).decode()}).encode())
    assert letter.reason == "DecodeError: this json content is nested too deeply"


def test_a_message_that_is_too_large_is_refused_where_it_is_sent(stand: Stand) -> None:
    with Celery(broker=stand.url, backend=stand.url, set_as_current=False, task_max_bytes=100_000) as app:
        with pytest.raises(EncodeError, match="store the data elsewhere"):
            app.send_task("main.f", ("x" * 100_000,))
        assert app.send_task("main.f", ("x" * 1000,)).get(timeout=20) == "x" * 1000


def test_a_payload_of_64_mebibytes_arrives(stand: Stand) -> None:
    size = 64 << 20
    assert stand.send("size_of", "x" * size).get(timeout=50) == size


def test_a_clock_that_was_set_back_holds_up_nothing() -> None:
    """The store says that a message is due and our clock that it is not: it runs, after one word of doubt."""
    app = Celery("clock", broker="memory://", backend="memory://", set_as_current=False)

    @app.task(name="clock.f")
    def f() -> int:
        return 1

    now = [10_000.0]
    executor = Executor(app, "celery@here", now=lambda: now[0])
    message = app.message_for(f.s(), eta=None, countdown=None)
    spoilt = json.loads(message.payload)
    spoilt["headers"]["eta"] = "1970-01-01T02:46:41+00:00"  # 10,001 s
    claim = Claim(1, "celery", json.dumps(spoilt).encode())
    early = executor.prepare(claim)
    assert isinstance(early, Outcome)
    assert (early.fate, early.eta) == (Fate.DEFERRED, 10_001.0)
    now[0] -= 5_000
    assert isinstance(executor.prepare(claim), Job)
    app.close()


# --- a store that is not there


@pytest.mark.parametrize("kind", ["refused", "black hole", "password", "name"])
def test_a_producer_that_reaches_no_redis_says_where_and_why_within_five_seconds(kind: str) -> None:
    demand("redis-server", RedisServer.executable() is not None)
    with RedisServer("--requirepass", "secret") as server, socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        silent: int = hole.getsockname()[1]
        url, address, cause = {
            "refused": (f"redis://127.0.0.1:{(port := free_port())}/0", str(port), "refused"),
            "black hole": (f"redis://127.0.0.1:{silent}/0", str(silent), "no reply|timed out"),
            "password": (f"redis://:wrong@127.0.0.1:{server.port}/0", str(server.port), "user and password"),
            "name": ("redis://no-such-host.invalid:6379/0", "no-such-host.invalid", "Name|known|resolution"),
        }[kind]  # fmt: skip
        app = Celery("far", broker=url, set_as_current=False)
        began = time.monotonic()
        with pytest.raises(OperationalError) as error:
            app.send_task("main.f")
        assert time.monotonic() - began < 10
        assert address in str(error.value)
        assert re.search(cause, str(error.value))
        assert "wrong@" not in str(error.value)
        app.close()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_that_is_there_before_redis_waits_for_it(tmp_path: Path, pool: str) -> None:
    demand("redis-server", RedisServer.executable() is not None)
    server = RedisServer()
    server.port = free_port()
    stand = Stand(server.url, tmp_path)
    try:
        worker = stand.start("-P", pool, "-c", "1", ready=False)
        worker.wait_for_line(
            rf"ERROR/MainProcess\] consumer: Cannot connect to redis://127\.0\.0\.1:{server.port}"
        )
        worker.wait_for_line(r"Trying again in 2\.00 seconds\.\.\. \(1/")
        server.start()
        worker.wait_for_line(r" ready\.", 10)
        assert stand.send("f", 1).get(timeout=20) == 1
    finally:
        stand.close()
        server.stop()


def test_a_worker_that_waits_for_redis_can_be_stopped(tmp_path: Path) -> None:
    stand = Stand(f"redis://127.0.0.1:{free_port()}/0", tmp_path)
    try:
        pidfile = tmp_path / "worker.pid"
        worker = stand.start("-c", "1", "--pidfile", str(pidfile), ready=False)
        worker.wait_for_line(r"Trying again in")
        began = time.monotonic()
        worker.signal(signal.SIGTERM)
        # By its own handler: as process 1 of a container nothing else would end it.
        assert (worker.wait(), pidfile.exists()) == (0, False)
        assert time.monotonic() - began < 10
        assert "Traceback" not in worker.output
    finally:
        stand.close()


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_consumes_again_within_five_seconds_of_a_restart(tmp_path: Path, pool: str) -> None:
    demand("redis-server", RedisServer.executable() is not None)
    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server:
        stand = Stand(server.url, tmp_path)
        try:
            worker = stand.start("-P", pool, "-c", "2")
            ledger, gate = stand.path("ledger"), stand.path("gate")
            if pool != "solo":
                running = stand.send("wait_for", str(gate), str(ledger))
                until(lambda: lines(ledger))
            server.restart()
            gate.touch()
            assert stand.send("f", 1).get(timeout=20) == 1
            if pool != "solo":
                assert running.get(timeout=20) == "seen"
                assert lines(ledger) == ["begun", "ended"]
            until(lambda: stand.broker.depth(["celery"])["celery"].claimed == 0)
            # While it stays away for longer, too, and the next message comes to an idle worker.
            server.kill()
            worker.wait_for_line("Connection to broker lost|The store is away")
            server.start()
            began = time.monotonic()
            assert stand.send("f", 2).get(timeout=20) == 2
            assert time.monotonic() - began < 10
            assert "Traceback" not in worker.output
        finally:
            stand.close()
            print(worker.output)
