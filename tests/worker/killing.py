"""A scene for kills: one store, workers of `killed_app`, their ledger, and the means to kill at one line."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from celeriac import AsyncResult, Celery
from celeriac.message import Depth
from services import Program, clean_environment, start_worker

#: Seconds within which "at once" must have happened, long before a lease of 30 s ends. A machine with time to
#: spare takes a tenth of one.
AT_ONCE = 5.0
#: Seconds after which a wait gives up; generous, for a loaded machine.
PATIENCE = 10.0


class Entry(NamedTuple):
    """A line of the ledger."""

    word: str
    event: str
    pid: int
    deliveries: int
    time: float


def until(true: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Look again and again until it is true; gives what it was."""
    deadline = time.monotonic() + timeout
    while not (answer := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(0.005)
    return answer


class Scene:
    """One store with everything that a test of kills does to it."""

    def __init__(self, folder: Path, url: str, acks: str = "late", queue: str | None = None) -> None:
        self.folder = folder
        self.url = url
        self.acks = acks
        #: Scenes on one store do not meet.
        self.queue = queue or folder.name
        self.app = Celery("test", broker=url, backend=url, set_as_current=False)
        self.broker = self.app.broker
        self.workers: list[Program] = []
        self._used = 0
        self._deaths = 0

    # --- workers

    def start(self, *arguments: str, url: str | None = None, ready: bool = True) -> Program:
        """A worker; `ready`: once it says so."""
        name = f"w{len(self.workers) + 1}@here"
        worker = start_worker(
            "killed_app",
            self.folder,
            *("-l", "info", "-Q", self.queue, "-n", name, *arguments),
            env=self._environment(url or self.url),
        )
        self.workers.append(worker)
        if ready:
            worker.wait_for_line(r" ready\.")
        return worker

    def produce(self, word: str) -> int:
        """A program that sends one message and ends; gives its exit code."""
        return self.run(f"import killed_app; killed_app.work.apply_async(({word!r},), queue={self.queue!r})")

    def run(self, lines: str) -> int:
        """Another one; gives its exit code."""
        program = Program(
            [sys.executable, "-c", lines], cwd=self.folder, env=clean_environment(self._environment(self.url))
        )
        program.start()
        code = program.wait()
        program.stop()
        return code

    def _environment(self, url: str) -> dict[str, str]:
        return {
            "CELERY_BROKER_URL": url,
            "CELERY_RESULT_BACKEND": url,
            "KILLED_FOLDER": str(self.folder),
            "KILLED_ACKS": self.acks,
            "PYTHONPATH": str(Path(__file__).parent),
        }

    def children(self, worker: Program) -> list[int]:
        return [child.pid for child in psutil.Process(worker.pid).children()]

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            print(f"--- {' '.join(worker.command[1:])}\n{worker.output}")
        if self.ledger.exists():
            print(f"--- ledger\n{self.ledger.read_text()}")
        self.app.close()

    # --- tasks

    def words(self, *words: str) -> list[str]:
        """Each with a number that makes it a new one."""
        self._used += 1
        return [f"{word}{self._used}" for word in words]

    def last(self, word: str) -> str:
        """The newest of these."""
        return f"{word}{self._used}"

    def send(self, task: str, word: str, *more: Any, **options: Any) -> AsyncResult[Any]:
        result: AsyncResult[Any] = self.app.send_task(
            f"killed_app.{task}", (word, *more), queue=self.queue, **options
        )
        return result

    def open_gate(self, word: str) -> None:
        (self.folder / f"gate {word}").touch()

    def repair(self) -> None:
        (self.folder / "repaired").touch()

    # --- the ledger

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    def entries(self, word: str, event: str) -> list[Entry]:
        """What the ledger says, in the order of writing."""
        if not self.ledger.exists():
            return []
        lines = [line.split() for line in self.ledger.read_text().splitlines()]
        entries = [Entry(w, e, int(pid), int(count), float(at)) for w, e, pid, count, at in lines]
        return [entry for entry in entries if (entry.word, entry.event) == (word, event)]

    def wait_for(self, word: str, event: str, times: int = 1) -> Entry:
        """The `times`-th entry of that kind."""
        until(lambda: len(self.entries(word, event)) >= times, f"{word} {event} x{times}")
        return self.entries(word, event)[times - 1]

    def runs(self, word: str) -> tuple[int, int]:
        """How often it began and how often it ended."""
        return len(self.entries(word, "begin")), len(self.entries(word, "end"))

    # --- faults

    def arm(self, place: str) -> None:
        """The next process that comes to that line dies."""
        (self.folder / f"fault {place}").touch()

    def armed(self, place: str) -> bool:
        """Nobody has come to that line yet."""
        return (self.folder / f"fault {place}").exists()

    def wait_for_death(self) -> int:
        """The pid of the next one that died at a fault, once it is dead."""
        self._deaths += 1
        pid = self.wait_for("fault", "died", self._deaths).pid
        until(lambda: is_dead(pid), f"{pid} dies")
        return pid

    # --- the store

    def depth(self) -> Depth:
        return self.broker.depth([self.queue])[self.queue]

    def wait_until_nothing_waits(self) -> Depth:
        """Once no message is ready, delayed or claimed; gives what is dead."""

        def quiet() -> bool:
            depth = self.depth()
            return not (depth.ready or depth.delayed or depth.claimed)

        until(quiet, "all messages are done or dead")
        return self.depth()


def is_dead(pid: int) -> bool:
    """Gone, or a zombie that nobody has reaped yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def freeze(*pids: int) -> None:
    """SIGSTOP, and wait until it has taken hold."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        until(lambda pid=pid: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"{pid} stops")  # type: ignore[misc]


def thaw(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
