"""Fixtures of the tests with stock Celery: one Redis on which a worker and a user of each library meet."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import redis

from celeriac import Celery
from interop import shop
from services import Program, RedisServer, clean_environment

#: From here every process imports `interop`, so that its classes have the same names everywhere.
TESTS = Path(__file__).parents[1]

#: The workers that stay, by the library's name: "ours" and "theirs".
Workers = dict[str, Program]


@pytest.fixture(scope="session")
def meeting(redis_server: RedisServer) -> Iterator[RedisServer]:
    """The Redis on which both sides meet. Its workers stay, so nothing may flush it, as the common one is."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def url(meeting: RedisServer) -> str:
    return meeting.url


@pytest.fixture(scope="session")
def store(url: str) -> Iterator[redis.Redis]:
    """A plain look at that Redis."""
    with redis.Redis.from_url(url, decode_responses=True, socket_timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def ours(url: str) -> Iterator[Any]:
    """A user of celeriac: the app in this process."""
    with shop.open_shop(Celery, url, set_as_current=False) as app:
        yield app


@pytest.fixture(scope="session")
def stock(stock_celery: str, url: str) -> Iterator[Customer]:
    """A user of stock Celery, in a process of its own."""
    with Customer(stock_celery, url) as customer:
        yield customer


@pytest.fixture(scope="session")
def workers(stock_celery: str, url: str) -> Iterator[Workers]:
    """A worker of each library; each serves a queue of its own, and both serve `both`."""
    started = {
        "ours": our_worker(url, f"{shop.OURS},{shop.BOTH}"),
        "theirs": their_worker(stock_celery, url, f"{shop.THEIRS},{shop.BOTH}"),
    }
    try:
        for worker in started.values():
            worker.wait_for_line(r" ready\.")
        yield started
    finally:
        for worker in started.values():
            worker.stop()


def our_worker(url: str, queues: str, *options: str, accept: str = "json") -> Program:
    """Start a celeriac worker of the shop; the caller waits for it and stops it."""
    words = ["-m", "celeriac", "-A", "interop.ours", "worker", "-c", "1"]
    return _worker(sys.executable, words, url, queues, options, accept)


def their_worker(python: str, url: str, queues: str, *options: str, accept: str = "json") -> Program:
    """Start a stock worker of the shop; the caller waits for it and stops it."""
    # In "solo": in pools of several a retry can end before its RETRY is stored, which then stands for ever.
    words = "-m celery -A interop.theirs worker -P solo --without-gossip --without-mingle".split()
    return _worker(python, words, url, queues, options, accept)


def _worker(
    python: str, words: list[str], url: str, queues: str, options: tuple[str, ...], accept: str
) -> Program:
    library = words[1]
    # Stock Celery does not let root accept pickle otherwise, and in CI everybody is root.
    own = {"SHOP_ACCEPT": accept, "LIBRARY": library, "C_FORCE_ROOT": "1"}
    worker = Program(
        [python, *words, "-l", "info", "-Q", queues, "-n", f"{queues.replace(',', '-')}@%h", *options],
        cwd=TESTS,
        env=environment(url) | own,
    )
    worker.start()
    return worker


def environment(url: str) -> dict[str, str]:
    # A path to celeriac's drop-in would put an impostor before the true Celery.
    kept = {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"}
    return kept | {"SHOP_URL": url}


class Customer:
    """Runs code with stock Celery: `stock("answer = app.send_task(name).id", name="shop.add")`."""

    def __init__(self, python: str, url: str) -> None:
        self._command = [python, "-m", "interop.customer"]
        self._environment = environment(url) | {"SHOP_ACCEPT": "json pickle yaml msgpack"}
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, code: str, **names: Any) -> Any:
        """Run the code there; gives what it left in `answer`, as JSON has it."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"code": dedent(code), "names": names}) + "\n")
        process.stdin.flush()
        reply = json.loads(process.stdout.readline() or '{"error": "the customer has left"}')
        if "error" in reply:
            raise AssertionError(f"stock Celery raised:\n{reply['error']}")
        return reply["answer"]

    def __enter__(self) -> Customer:
        self._process = subprocess.Popen(
            self._command,
            cwd=TESTS,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=10)  # it ends with its input
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
