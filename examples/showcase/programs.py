"""The programs of the main job: a web server and workers, as you would start them in terminals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

#: The folder of main.py and task.py.
SHOWCASE = Path(__file__).parent

#: Seconds that a program gets to end by itself when the job is over.
GRACE = 8.0


class Programs:
    """They run in a folder of their own, write what they print into files there, and end with the job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start_worker(self, name: str, *arguments: str) -> None:
        self.start(
            name, "celeriac", "-A", "main.celery", "worker", "-l", "info", "-n", f"{name}@%h", *arguments
        )

    def start_web_server(self) -> str:
        """Start uvicorn on port 8000, or on another one if that is taken; gives its address."""
        port = free_port(8000)
        address = f"http://127.0.0.1:{port}"
        self.start("web", "uvicorn", "main:app", "--host", "127.0.0.1", "--port", str(port))
        deadline = time.monotonic() + 20
        while self.running["web"].poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{address}/openapi.json", trust_env=False)
                return address
            time.sleep(0.05)
        raise RuntimeError("the web server does not answer")

    def ask(self, *arguments: str) -> str:
        """Run a celeriac command to its end; gives what it printed."""
        command = [sys.executable, "-m", "celeriac", "-A", "main.celery", *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def printed(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def start(self, name: str, module: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the job, which then ends its programs in order.
                start_new_session=True,
            )

    def ended(self) -> list[str]:
        """The names of those that ended although nobody asked them to."""
        return [name for name, program in self.running.items() if program.poll() is not None]

    def stop(self) -> None:
        for program in self.running.values():
            if program.poll() is None:
                program.terminate()
        deadline = time.monotonic() + GRACE
        for program in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
        self.running.clear()

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def environment() -> dict[str, str]:
    """Without a broker in it: the job shows the embedded default."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CELERY_")}
    return {**kept, "PYTHONPATH": str(SHOWCASE), "PYTHONUNBUFFERED": "1"}


def free_port(wanted: int) -> int:
    """The wanted port of 127.0.0.1, or any free one if somebody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # A port that was in use a minute ago is free for a server; uvicorn sees it the same way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            chosen: int = probe.getsockname()[1]
            return chosen
    raise RuntimeError("no free port on 127.0.0.1")
