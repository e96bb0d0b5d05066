"""A worker and those who send to it, on one private store: what the tests of workers stand on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from celeriac import Celery
from celeriac.message import Message
from celeriac.ports import Broker
from celeriac.result import AsyncResult
from services import PATIENCE, Program, start_worker

#: The apps that the workers run.
APPS = Path(__file__).parent / "worker" / "apps"
POOLS = ("prefork", "threads", "gevent", "asyncio", "solo")
DRIVERS = ("redis", "sqlite")


class Stand:
    """A store at `url`, a client of it, and workers that are started when they are wanted.

    As a context manager it is closed at the end, and prints what its workers said, for a test that failed.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.client = Celery("client", broker=url, backend=url, set_as_current=False)
        self.workers: list[Program] = []

    def start(self, *arguments: str, app: str = "main", env: dict[str, str] | None = None,
              ready: bool = True) -> Program:  # fmt: skip
        """A worker at INFO; `ready`: wait until it says so."""
        environment = {
            "CELERY_BROKER_URL": self.url,
            "CELERY_RESULT_BACKEND": self.url,
            "PYTHONPATH": os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")]),
            **(env or {}),
        }
        worker = start_worker(app, self.folder, "-l", "INFO", *arguments, env=environment)
        self.workers.append(worker)
        if ready:
            worker.wait_for_line(r" ready\.")
        return worker

    def send(self, name: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        return self.client.send_task(name if "." in name else f"main.{name}", args, **options)

    def path(self, name: str) -> Path:
        """A file that nobody has used before."""
        self._named = getattr(self, "_named", 0) + 1
        return self.folder / f"{name}-{self._named}"

    @property
    def broker(self) -> Broker:
        return self.client.broker

    def put(self, payload: bytes, queue: str = "celery") -> None:
        """Bytes into a queue as they are, as a foreign program might."""
        self.broker.publish([Message("foreign", queue, payload)])

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for worker in self.workers:
            print(worker.output)

    def close(self) -> None:
        self.client.close()
        for worker in self.workers:
            worker.stop()


def until(condition: Callable[[], Any], timeout: float = PATIENCE, what: str = "") -> Any:
    """The first true value of `condition`, asked again and again until it is too late."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what or 'it'} did not happen within {timeout:g} s"
        time.sleep(0.005)
    return value


def lines(path: Path) -> list[str]:
    """What was written into a ledger; nothing where nobody has written."""
    return path.read_text().splitlines() if path.exists() else []


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(worker: Program) -> list[psutil.Process]:
    """The children of a worker, not their own."""
    return psutil.Process(worker.pid).children()
