"""`make run` ends by itself without a terminal, stays until Ctrl-C on one, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services import clean_environment

MAIN_JOB = Path(__file__).parent.parent.parent / "examples" / "main_job.py"

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def folder() -> Iterator[Path]:
    """The job's temporary folder; its name is short, as those of the system are."""
    with tempfile.TemporaryDirectory(prefix="job-") as name:
        yield Path(name)


@pytest.fixture
def port_8000_taken() -> Iterator[None]:
    with socket.socket() as taken:
        # Somebody else may have it already: that is as good.
        with contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        yield


@pytest.mark.usefixtures("port_8000_taken")
def test_the_main_job_ends_by_itself_without_a_terminal(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(MAIN_JOB)],
        cwd=folder,
        env=clean_environment({"TMPDIR": str(folder), "COLUMNS": "150"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "127.0.0.1:8000/" not in done.stdout
    assert "after 5 retries" in done.stdout
    assert left_behind(folder) == []


def test_the_main_job_stays_until_ctrl_c_on_a_terminal(folder: Path) -> None:
    terminal, its_end = pty.openpty()
    env = clean_environment({"TMPDIR": str(folder), "TERM": "xterm", "COLUMNS": "120"})
    job = subprocess.Popen(
        [sys.executable, str(MAIN_JOB)],
        cwd=folder,
        env=env,
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
    )
    os.close(its_end)
    try:
        shown = read_until(terminal, rb"Ctrl-C ends it", 120)
        assert job.poll() is None
        assert re.search(rb"Try it by hand: http://127\.0\.0\.1:\d+/docs", shown)
        os.killpg(job.pid, signal.SIGINT)
        read_until(terminal, None, 30)
        assert job.wait(30) == 0
        assert left_behind(folder) == []
    finally:
        job.kill()
        job.wait()
        os.close(terminal)


def read_until(terminal: int, pattern: bytes | None, timeout: float) -> bytes:
    """What a terminal shows, until the pattern is in it or (None) its other end is closed."""
    shown = b""
    deadline = time.monotonic() + timeout
    while pattern is None or not re.search(pattern, shown):
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, shown.decode(errors="replace")
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other end is closed
            chunk = b""
        if not chunk:
            assert pattern is None, shown.decode(errors="replace")
            break
        shown += chunk
    return shown


def left_behind(folder: Path) -> list[str]:
    """Files and processes of the job that are still there."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder) and process.pid != os.getpid():
                processes.append(" ".join(process.cmdline()))
    return processes + [str(path) for path in folder.iterdir()]
