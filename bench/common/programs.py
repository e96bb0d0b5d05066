"""Programs that are started and ended: a private redis-server, the systems' workers and clients."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil


class Program:
    """A process that leads a group of its own, with all that it starts."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path, **more: object) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, env=dict(env), stderr=output, start_new_session=True,
                **{"stdout": output, "stdin": subprocess.DEVNULL, "cwd": log.parent, **more},
            )  # fmt: skip

    @property
    def tree(self) -> list[psutil.Process]:
        """This process and all below it."""
        try:
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def alive(self) -> None:
        """Raise, with what it printed, if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.process.args} ended:\n{self.log.read_text()[-2000:]}")

    def pause(self) -> None:
        """Freeze it with all below it."""
        for process in self.tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        for process in self.tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def stop(self) -> None:
        """KILL all of it: some take seconds to end by themselves, and nothing here is worth keeping."""
        family = self.tree
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        # A connection that is not closed yet could be given the first message of the next round.
        psutil.wait_procs(family, timeout=5)


class Redis:
    """A private redis-server on a free port of 127.0.0.1 that writes nothing to disk."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        executable = shutil.which("redis-server") or shutil.which("valkey-server")
        if executable is None:
            raise SystemExit("redis-server is not installed")
        command = [executable, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.program = Program([*command, "--appendonly", "no"], os.environ, folder / "redis.log")
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.version = ""
        deadline = time.monotonic() + 10
        while not self.version:
            self.program.alive()
            with contextlib.suppress(OSError):
                self.version = self.info("server")["redis_version"]
            if time.monotonic() > deadline:
                raise RuntimeError("redis-server does not answer")
            time.sleep(0.01)

    def ask(self, *words: str) -> str:
        """One command of plain words, answered by a line or a bulk of text."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            with connection.makefile("rb") as answer:
                first = answer.readline().decode()
                if first[0] == "$":
                    return answer.read(int(first[1:])).decode()
                return first[1:].strip()

    def info(self, section: str) -> dict[str, str]:
        """INFO of one section."""
        lines = self.ask("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def empty(self) -> None:
        """Forget everything."""
        self.ask("FLUSHALL")

    def stop(self) -> None:
        self.program.stop()


class Wire:
    """A network of known delay in front of a server of 127.0.0.1; see wire.py."""

    def __init__(self, port: int, delay: float, log: Path) -> None:
        command = [sys.executable, "-m", "common.wire", str(port), str(delay)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        self._program = Program(command, environment, log, stdout=subprocess.PIPE, text=True)
        assert self._program.process.stdout is not None
        self.url = f"redis://127.0.0.1:{int(self._program.process.stdout.readline())}/0"

    def stop(self) -> None:
        self._program.stop()


def scratch() -> Path:
    """A folder for one run."""
    return Path(tempfile.mkdtemp(prefix="celeriac-bench-"))
