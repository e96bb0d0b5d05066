"""Captures the golden samples: the bytes that stock Celery writes to a private redis-server.

Run it by hand, with a Python that has celery[redis] and never celeriac's drop-in:
`python tests/interop/golden/capture.py`; it rewrites messages.json and results.json beside it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from datetime import time as clock_time
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import redis

from celery import Celery, chain
from celery.exceptions import Ignore, Reject

HERE = Path(__file__).parent
PORT = os.environ.get("CAPTURE_PORT", "0")
ETA = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

app = Celery("proj", broker=f"redis://127.0.0.1:{PORT}/0", backend=f"redis://127.0.0.1:{PORT}/0")
app.conf.worker_hijack_root_logger = False
app.conf.broker_connection_retry_on_startup = True


class Curious(Exception):
    """An exception of the user's own, with more than a message."""

    def __init__(self, code: int, where: str, extra: object) -> None:
        super().__init__(code, where, extra)


@app.task(name="proj.add")
def add(x: int = 0, y: int = 0, *rest: object) -> int:
    return x + y


@app.task(name="proj.give")
def give() -> object:
    return {
        "when": ETA,
        "id": UUID(int=7),
        "raw": b"\xff\x00",
        "text": b"abc",
        "price": Decimal("1.50"),
        "t": (1, 2),
    }


@app.task(name="proj.boom")
def boom() -> None:
    raise ValueError("no", 7)


@app.task(name="proj.curious")
def curious() -> None:
    raise Curious(4, "there", object())


@app.task(name="proj.missing")
def missing() -> None:
    {}["key"]


@app.task(name="proj.parent", bind=True)
def parent(self: object) -> str:
    add.apply_async((1, 1), task_id="child-1")
    return "parent"


@app.task(name="proj.again", bind=True, max_retries=1)
def again(self) -> None:  # type: ignore[no-untyped-def]
    raise self.retry(countdown=3600, exc=OSError(2, "gone"))


@app.task(name="proj.slow", bind=True, track_started=True)
def slow(self) -> None:  # type: ignore[no-untyped-def]
    time.sleep(3)


@app.task(name="proj.expired")
def expired() -> None: ...


@app.task(name="proj.ignored")
def ignored() -> None:
    raise Ignore


@app.task(name="proj.rejected", acks_late=True)
def rejected() -> None:
    raise Reject("no", requeue=False)


#: Each a call whose message the tests build again with `pack`; the id is the name of the sample.
CALLS = {
    "plain": lambda: add.apply_async(task_id="plain"),
    "args": lambda: add.apply_async((2, 3), task_id="args"),
    "kwargs": lambda: add.apply_async((2,), {"y": 'žluť \N{GRINNING FACE} "q" \\ \x07'}, task_id="kwargs"),
    "nested": lambda: add.apply_async(([1, [2, {"a": (3, None, True, 1.5)}]],), task_id="nested"),
    "extended": lambda: add.apply_async(
        (ETA, date(2030, 1, 2), clock_time(3, 4, 5), UUID(int=5), Decimal("1.10"), b"text", b"\xff\xfe"),
        task_id="extended",
    ),
    "long": lambda: add.apply_async(("x" * 1500, list(range(300))), task_id="long"),
    "eta": lambda: add.apply_async((1,), eta=ETA, task_id="eta"),
    "expires": lambda: add.apply_async((1,), expires=ETA, task_id="expires"),
    "priority": lambda: add.apply_async((1,), priority=7, task_id="priority"),
    "queue": lambda: add.apply_async((1,), queue="high priority", task_id="queue"),
    "headers": lambda: add.apply_async(
        (1,), headers={"tenant": "t1", "when": ETA, "shadow": "mine"}, task_id="headers"
    ),
    "limits": lambda: add.apply_async(
        (1,), time_limit=10, soft_time_limit=5.5, shadow="dark", task_id="limits"
    ),
    "ignore": lambda: add.apply_async((1,), ignore_result=True, reply_to="me", task_id="ignore"),
    "link": lambda: add.apply_async((1,), link=add.s(2), link_error=add.si(3), task_id="link"),
    "chain": lambda: chain(
        add.s(1).set(task_id="chain"), add.s(2).set(task_id="c2"), add.s(3).set(task_id="c3", queue="other")
    ).apply_async(),
    "group": lambda: add.apply_async(
        (1,), group_id="g1", group_index=2, root_id="r", parent_id="p", task_id="group"
    ),
    "stamped": lambda: add.apply_async((1,), stamped_headers=["who"], who="me", task_id="stamped"),
    "retried": lambda: add.apply_async((1,), retries=3, task_id="retried"),
    "gzip": lambda: add.apply_async((1,), compression="gzip", task_id="gzip"),
    "pickle": lambda: add.apply_async((1, {2}), serializer="pickle", task_id="pickle"),
    "yaml": lambda: add.apply_async((1,), serializer="yaml", task_id="yaml"),
    "msgpack": lambda: add.apply_async((1, b"raw"), serializer="msgpack", task_id="msgpack"),
    "expiration": lambda: add.apply_async((1,), expiration=5, task_id="expiration"),
}

#: Each a call whose result, as the stock worker stores it, the tests read and write again.
RESULTS = {
    "success": lambda: add.apply_async((1, 2), task_id="success"),
    "extended": lambda: give.apply_async(task_id="extended"),
    "failure": lambda: boom.apply_async(task_id="failure"),
    "curious": lambda: curious.apply_async(task_id="curious"),
    "missing": lambda: missing.apply_async(task_id="missing"),
    "parent": lambda: parent.apply_async(task_id="parent"),
    "child": lambda: add.apply_async(
        (1, 1), parent_id="p", root_id="r", group_id="g1", group_index=0, task_id="child"
    ),
    "retry": lambda: again.apply_async(task_id="retry"),
    "started": lambda: slow.apply_async(task_id="started"),
    "revoked": lambda: expired.apply_async(expires=datetime(2020, 1, 1, tzinfo=UTC), task_id="revoked"),
    "ignored": lambda: ignored.apply_async(task_id="ignored"),
    "unregistered": lambda: app.send_task("proj.nowhere", task_id="unregistered"),
}


def main() -> None:
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
    )
    try:
        run_inside(port)
    finally:
        server.terminate()
        server.wait()


def run_inside(port: int) -> None:
    client = redis.Redis(port=port)
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    app.conf.broker_url = app.conf.result_backend = f"redis://127.0.0.1:{port}/0"
    write("messages.json", {name: sent(client, name, call) for name, call in CALLS.items()})
    app.conf.task_protocol = 1
    write("messages_protocol_1.json", {n: sent_v1(client, n) for n in ("args", "eta", "link")})
    app.conf.task_protocol = 2
    write("results.json", stored(client, port, extended=False))
    client.flushall()
    write("results_extended.json", stored(client, port, extended=True))


def sent(client: redis.Redis, name: str, call) -> dict:  # type: ignore[no-untyped-def,type-arg]
    client.flushall()
    call()
    key = next(k for k in client.keys("*") if client.type(k) == b"list")
    return {"key": key.decode(), "payload": scrub(client.lindex(key, 0).decode())}


def sent_v1(client: redis.Redis, name: str) -> dict:  # type: ignore[type-arg]
    # Celery decides on the protocol once for each process.
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import capture; "
        "capture.app.conf.task_protocol = 1; capture.CALLS[sys.argv[2]]()"
    )
    client.flushall()
    port = client.connection_pool.connection_kwargs["port"]
    subprocess.run(
        [sys.executable, "-c", script, str(HERE), name],
        check=True,
        env={**os.environ, "CAPTURE_PORT": str(port)},
    )
    key = next(k for k in client.keys("*") if client.type(k) == b"list")
    return {"key": key.decode(), "payload": scrub(client.lindex(key, 0).decode())}


def stored(client: redis.Redis, port: int, extended: bool) -> dict:  # type: ignore[type-arg]
    client.flushall()
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "capture",
            "worker",
            "-P",
            "solo",
            "-l",
            "error",
            "-n",
            "w1@host",
        ],
        cwd=HERE,
        env={**os.environ, "CAPTURE_PORT": str(port), "CAPTURE_EXTENDED": "1" if extended else ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    samples = {}
    try:
        for name, call in RESULTS.items():
            call()
            key = f"celery-task-meta-{name}"
            limit = time.time() + 6
            while not (value := client.get(key)) and time.time() < limit:
                time.sleep(0.02)
            samples[name] = scrub(value.decode()) if value else None
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(5)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
    return samples


def scrub(text: str) -> str:
    """The sample without what only this machine has: its name and its folders."""
    text = text.replace("@" + socket.gethostname(), "@host")
    return text.replace(str(HERE), "/proj").replace(sys.prefix, "/venv")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write(name: str, samples: object) -> None:
    (HERE / name).write_text(json.dumps(samples, indent=1, ensure_ascii=False) + "\n")


if os.environ.get("CAPTURE_EXTENDED"):
    app.conf.result_extended = True

if __name__ == "__main__":
    main()
