"""Fixtures that several folders of tests share: a private Redis, true worker processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from services import Program, RedisServer, start_worker

#: `worker_process(app, cwd, *arguments, env=None, program="celeriac")`, as services.start_worker.
StartWorker = Callable[..., Program]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has it ignored, by us and by all that we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One private redis-server for each process of tests; who wants to stop one takes `own_redis`."""
    demand("redis-server", RedisServer.executable() is not None)
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
def redis_db(redis_server: RedisServer) -> str:
    """The address of an empty Redis database; the server belongs to this process of tests alone."""
    assert redis_server.command("FLUSHALL") == "+OK"
    return redis_server.url


@pytest.fixture(scope="module")
def module_redis() -> Iterator[RedisServer]:
    """A redis-server for the tests of one file, which nobody empties."""
    demand("redis-server", RedisServer.executable() is not None)
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A redis-server for one test, to be stopped, paused and restarted at will."""
    demand("redis-server", RedisServer.executable() is not None)
    with RedisServer() as server:
        yield server


@pytest.fixture
def worker_process() -> Iterator[StartWorker]:
    """Starts true workers; all are stopped after the test, and a failed test shows what they printed."""
    started: list[Program] = []

    def start(app: str, cwd: Path | str, *arguments: str, env: Mapping[str, str] | None = None,
              program: str = "celeriac") -> Program:  # fmt: skip
        started.append(start_worker(app, cwd, *arguments, env=env, program=program))
        return started[-1]

    yield start
    for worker in started:
        worker.stop()
        print(f"--- {' '.join(worker.command[1:])}\n{worker.output}")


@pytest.fixture(scope="session")
def stock_celery() -> str:
    """The Python of an environment that holds the original Celery; `scripts/setup interop` makes it."""
    folder = os.environ.get("CELERIAC_STOCK_CELERY") or Path(__file__).parent.parent / ".venv-celery"
    python = Path(folder) / "bin" / "python"
    demand("the original Celery (.venv-celery)", python.exists())
    return str(python)


def demand(what: str, present: bool) -> None:
    """Skip at home and fail in CI, where nothing may be missing unseen."""
    if present:
        return
    if os.environ.get("CI") or os.environ.get("CELERIAC_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what} is not installed, and here it must be")
    pytest.skip(f"{what} is not installed")
