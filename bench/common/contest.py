"""One run of one question: a Redis, a ledger, and the systems under test with their workers and clients."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from common.programs import Program, Redis, Wire, scratch

BENCH = Path(__file__).parent.parent
PROJECT = BENCH.parent


class Contest:
    """Everything that one script starts; leaving it ends all."""

    def __init__(self, *, results: bool = False, broker: str | None = None, delay: float = 0.0) -> None:
        self.folder = scratch()
        self.redis = Redis(self.folder)
        self._wire: Wire | None = None
        if delay:
            # Every system speaks to Redis over a network that takes so many seconds, each way.
            self._wire = Wire(self.redis.port, delay, self.folder / "wire.log")
            broker = self._wire.url
        #: The address of each system's store; `{name}` stands for the system.
        self._broker = broker or self.redis.url
        self._results = results
        self._clients: dict[str, Client] = {}
        self._keep = False

    def environment(self, name: str) -> dict[str, str]:
        """What a process of this system is started with."""
        # Some machines forbid writing bytecode: then each start compiles what no installer has, which is us.
        unwanted = ("CELERY_", "CELERIAC_", "PYTHONDONTWRITEBYTECODE")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
        return {
            **clean,
            # Who puts another checkout of celeriac there measures that one.
            "PYTHONPATH": os.pathsep.join((str(BENCH), *filter(None, [os.environ.get("PYTHONPATH")]))),
            "BENCH_BROKER": self._broker.format(name=name, folder=self.folder),
            "BENCH_RESULTS": "1" if self._results else "0",
            "BENCH_LEDGER": str(self.folder / f"{name}.ledger"),
        }

    def client(self, name: str, *, ledger_of: str | None = None) -> Client:
        """The calling side of a system; it lives until the end."""
        if name not in self._clients:
            environment = self.environment(ledger_of or name)
            self._clients[name] = Client(name, environment, self.folder / f"{name}.client.log")
        return self._clients[name]

    @contextmanager
    def worker(self, name: str, processes: int = 2, *, command: Sequence[str] = ()) -> Iterator[Program]:
        """A running worker; it has been started and nothing more is known."""
        command = command or self.client(name).command("worker", processes)
        program = Program(command, self.environment(name), self.folder / f"{name}.log")
        try:
            yield program
        finally:
            program.stop()
            # A system that is in trouble is not measured, it is repaired first.
            if "Traceback" in program.log.read_text(errors="replace"):
                print(f"{name} printed a traceback, see {program.log}", file=sys.stderr)
                self._keep = True

    def ledger(self, name: str) -> Ledger:
        return Ledger(self.folder / f"{name}.ledger")

    @contextmanager
    def ready_worker(self, name: str, processes: int = 2) -> Iterator[Program]:
        """A running worker whose processes have all run something."""
        with self.worker(name, processes) as program:
            self.warm_up(name, program)
            yield program

    def warm_up(self, name: str, program: Program, n: int = 50) -> None:
        ledger = self.ledger(name)
        ledger.clear()
        self.client(name).do("load", n)
        ledger.wait_for(n, program)

    def __enter__(self) -> Contest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()
        if self._wire is not None:
            self._wire.stop()
        self.redis.stop()
        if error is None and not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"logs are in {self.folder}", file=sys.stderr)


class Client:
    """See peers/client.py."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._program = Program([python_of(name), "-m", "peers.client", name], environment, log, **pipes)

    def do(self, word: str, *arguments: Any) -> float:
        """Let it do something; returns how many seconds it took."""
        return float(self.ask(word, *arguments)[0])

    def command(self, word: str, *arguments: Any) -> list[str]:
        """The command line that a word of the peer's file gives."""
        return list(self.ask(word, *arguments)[1])

    def ask(self, word: str, *arguments: Any) -> Any:
        process = self._program.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([word, *arguments]) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the client ended:\n{self._program.log.read_text()[-2000:]}")
        answer = json.loads(line)
        if isinstance(answer, list):
            return answer
        raise RuntimeError(answer["error"])

    def close(self) -> None:
        self._program.stop()


class Ledger:
    """The file that every execution makes longer by one byte."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def clear(self) -> None:
        os.truncate(self._path, 0)

    @property
    def length(self) -> int:
        return self._path.stat().st_size

    def wait_for(self, n: int, program: Program, patience: float = 60.0) -> float:
        """Wait until it is so long; returns the moment, monotonic seconds."""
        deadline = time.monotonic() + patience
        while self.length < n:
            if time.monotonic() > deadline:
                program.alive()
                raise TimeoutError(f"{self.length} of {n} after {patience} s, see {program.log}")
            time.sleep(0.001)
        return time.monotonic()


def python_of(name: str) -> str:
    """The interpreter of the environment that a system is installed in."""
    folder = {"celeriac": ".venv", "saq": ".venv-bench-saq"}.get(name, ".venv-bench")
    return str(PROJECT / folder / "bin" / "python")


def alternate(names: Sequence[str], rounds: int, measure: Callable[[str], Any]) -> dict[str, list[Any]]:
    """Measure all systems in turn, so many rounds; whoever fails is told and left out."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in list(found):
            try:
                found[name].append(measure(name))
            except (RuntimeError, TimeoutError) as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                del found[name]
    return found
