"""True programs for tests: a private redis-server, a worker, a web server; none outlives the tests."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

#: Seconds that a program may take to be ready; generous, for a loaded machine of CI.
PATIENCE = 20.0


class Program:
    """A program with its output at hand: start, wait for a line, signal, stop.

    It leads a process group of its own, so stopping it also ends what it started. If the tests themselves
    are killed, a shell at the other end of a pipe notices and ends the group.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path | str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.cwd = cwd
        self.env = None if env is None else dict(env)
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._ended = False

    def start(self) -> None:
        self._ended = False
        self._process = subprocess.Popen(
            self.command,
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._guard = subprocess.Popen(
            ["sh", "-c", 'read word || kill -KILL -"$0"', str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return None if self._process is None else self._process.poll()

    @property
    def output(self) -> str:
        """All that it printed until now, standard output and errors together."""
        with self._news:
            return "\n".join(self.lines)

    def wait_for_line(self, pattern: str, timeout: float = PATIENCE, *, times: int = 1) -> re.Match[str]:
        """The `times`-th printed line in which the regular expression is found, old lines included."""
        deadline = time.monotonic() + timeout
        seen, found = 0, 0
        with self._news:
            while True:
                for line in self.lines[seen:]:
                    if match := re.search(pattern, line):
                        found += 1
                        if found == times:
                            return match
                seen = len(self.lines)
                remaining = deadline - time.monotonic()
                if self._ended or remaining <= 0:
                    why = f"ended with {self.returncode}" if self._ended else f"{timeout} s passed"
                    raise AssertionError(f"no line like {pattern!r}: {why}\n" + "\n".join(self.lines))
                self._news.wait(remaining)

    def signal(self, number: int) -> None:
        """Send a signal to the program alone, not to what it started; nothing happens if it has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):  # another thread may see its end first
                os.kill(self.pid, number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; gives the exit code."""
        assert self._process is not None, "not started"
        return self._process.wait(timeout)

    def stop(self, timeout: float = 10.0) -> int | None:
        """TERM, then KILL for the whole group; may be called twice and before the start."""
        if self._process is None:
            return None
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a stopped process gets its signals only when it goes on
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self.kill()

    def kill(self) -> int | None:
        """KILL for the whole group, as a machine that loses power."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        self._release()
        return code

    def _release(self) -> None:
        if self._guard is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.communicate(b"free\n", timeout=5)
            self._guard = None
        if self._reader is not None:
            self._reader.join(5)
            self._reader = None

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        process.wait()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def __enter__(self) -> Program:
        if not self.running:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_worker(
    app: str,
    cwd: Path | str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    program: str = "celeriac",
    command: str = "worker",
) -> Program:
    """Start the true command `python -m celeriac -A app worker ...`; the caller stops it."""
    words = [sys.executable, "-m", program, "-A", app, command, *arguments]
    worker = Program(words, cwd=cwd, env=clean_environment(env))
    worker.start()
    return worker


def start_uvicorn(app: str, cwd: Path | str, *, env: Mapping[str, str] | None = None) -> tuple[Program, str]:
    """Start uvicorn on a port that the system chose; gives it and its address, once it answers."""
    command = [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "0", "--no-access-log"]
    server = Program(command, cwd=cwd, env=clean_environment(env))
    server.start()
    try:
        address = server.wait_for_line(r"running on (http://127\.0\.0\.1:\d+)").group(1)
    except BaseException:
        server.kill()
        raise
    return server, address


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without what would steer celeriac, unbuffered, and with `extra`."""
    steering = ("CELERY_", "CELERIAC_", "PYTHONDONTWRITEBYTECODE")  # compiling anew is half of a start
    kept = {key: value for key, value in os.environ.items() if not key.startswith(steering)}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "C_FORCE_ROOT": "1", **(extra or {})}


class RedisServer:
    """A private redis-server on a free port of 127.0.0.1, with nothing on disk unless `options` say so.

    >>> with RedisServer() as server:
    ...     server.command("PING")
    '+PONG'
    """

    def __init__(self, *options: str) -> None:
        self.options = options
        self.port = 0
        self._folder: str | None = None
        self._program: Program | None = None

    @staticmethod
    def executable() -> str | None:
        """Where redis-server is, or valkey-server, which some systems have in its place."""
        return shutil.which("redis-server") or shutil.which("valkey-server")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._program is not None, "not started"
        return self._program.pid

    def start(self) -> None:
        """Start it; after the first time on the same port, so that `restart` is what clients see as one."""
        if self._program is not None and self._program.running:
            return
        executable = self.executable()
        assert executable is not None, "redis-server is not installed"
        self._folder = self._folder or tempfile.mkdtemp(prefix="celeriac-redis-")
        last_output = ""
        # Another program may take the free port before redis-server does: then try the next one.
        for _ in range(10):
            port = self.port or free_port()
            self._program = Program(
                [executable, "--port", str(port), "--bind", "127.0.0.1", "--dir", self._folder,
                 "--save", "", "--appendonly", "no", "--daemonize", "no", *self.options]
            )  # fmt: skip
            self._program.start()
            with contextlib.suppress(AssertionError):
                self._program.wait_for_line(r"Ready to accept connections")
                self.port = port
                return
            last_output = self._program.output
            self._program.kill()
        raise AssertionError(f"redis-server does not start:\n{last_output}")

    def stop(self) -> None:
        """End it and forget its files; may be called twice."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def kill(self) -> None:
        """KILL it; its port and files are kept for `start`."""
        if self._program is not None:
            self._program.kill()
            self._program = None

    def restart(self) -> None:
        """KILL it and start it again on the same port: empty, unless `options` made it keep a file."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop it in its tracks: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: str) -> str:
        """Send one command of plain words; gives the first line of the answer, such as `+OK` or `:3`."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            with connection.makefile("rb") as answer:
                return answer.readline().decode().rstrip("\r\n")

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
