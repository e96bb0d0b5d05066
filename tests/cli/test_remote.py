"""Operators' commands through the true executable: inspect, control, status, events, queue pause."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.conftest import Run
from services import PATIENCE, Program, clean_environment
from stand import alive, until

Start = Callable[..., Program]

CAMERA = (
    "from celeriac.events.snapshot import Polaroid\n"
    "class Camera(Polaroid):\n"
    "    def on_shutter(self, state):\n"
    "        print('picture of', len(state.workers), flush=True)\n"
)


@pytest.fixture
def worker(project: Path, worker_process: Start) -> Program:
    """A worker of the project that tells of its tasks."""
    with (project / "main.py").open("a") as file:
        file.write(
            "from celeriac.panel import control_command, inspect_command\n"
            "@inspect_command(args=[('word', str)], signature='[WORD]')\n"
            "def echo(state, word='nothing'):\n"
            "    'Says it again.'\n"
            "    return word\n" + CAMERA
        )
    worker = worker_process("main", project, "-P", "solo", "-E", "-n", "w@cli", "-l", "info")
    worker.wait_for_line(r" ready\.")
    return worker


def test_CLI_5_workers_are_asked_and_told(run: Run, worker: Program) -> None:
    shown = run("-A", "main", "status")
    assert (shown.returncode, shown.stdout) == (0, "->  w@cli: OK\n\n1 node online.\n")
    shown = run("-A", "main", "inspect", "ping")
    assert shown.stdout == "->  w@cli: OK\n        pong\n\n1 node online.\n"
    shown = run("-A", "main", "inspect", "registered", "--json")
    assert json.loads(shown.stdout)["w@cli"] == ["main.add", "main.fail"]
    shown = run("-A", "main", "inspect", "echo", "hello")
    assert shown.stdout.splitlines()[1].strip() == "hello"
    shown = run("-A", "main", "control", "rate_limit", "main.add", "10/m")
    assert "new rate limit set successfully" in shown.stdout
    shown = run("-A", "main", "control", "time_limit", "main.none", "5")
    assert (shown.returncode, shown.stdout.splitlines()[0]) == (1, "->  w@cli: ERROR")
    shown = run("-A", "main", "control", "shutdown")
    assert shown.stdout == "->  w@cli: OK\n\n1 node online.\n"
    assert worker.wait() == 0


def test_CLI_5_nobody_and_mistakes_are_told(run: Run) -> None:
    shown = run("-A", "main", "inspect", "ping")
    assert shown.returncode == 69
    assert "No nodes replied within time constraint" in shown.stderr
    shown = run("-A", "main", "inspect", "activ")
    assert (shown.returncode, "did you mean active?" in shown.stderr) == (2, True)
    shown = run("-A", "main", "inspect", "pool_grow")
    assert "celeriac control pool_grow" in shown.stderr
    shown = run("-A", "main", "control", "pool_grow", "many")
    assert "'many' is no int" in shown.stderr
    shown = run("-A", "main", "control", "rate_limit", "main.add")
    assert "rate_limit needs more: rate_limit <task_name> <rate_limit" in shown.stderr
    assert "pool_shrink [N=1]\n" in run("-A", "main", "control", "--list").stdout


def test_queues_are_paused_drained_and_resumed(run: Run) -> None:
    assert "is paused" in run("-A", "main", "queue", "pause", "celery").stdout
    (listed,) = json.loads(run("-A", "main", "queue", "list", "--json").stdout)
    assert listed["paused"] == "yes"
    assert "nothing of it runs" in run("-A", "main", "queue", "drain", "celery").stdout
    assert "served again" in run("-A", "main", "queue", "resume", "celery").stdout


@pytest.fixture
def looking(project: Path) -> Iterator[Callable[..., Program]]:
    """Starts `celeriac events` in the project's folder."""
    started: list[Program] = []

    def start(*arguments: str) -> Program:
        command = [sys.executable, "-m", "celeriac", "-A", "main", "events", *arguments]
        started.append(Program(command, cwd=project, env=clean_environment()))
        started[-1].start()
        return started[-1]

    yield start
    for program in started:
        program.kill()


def test_CLI_6_events_are_dumped_and_shown_to_cameras(
    run: Run, worker: Program, looking: Callable[..., Program]
) -> None:
    lines, objects, camera = looking("--dump"), looking("--json"), looking("-c", "main.Camera", "-F", "0.1")
    for program in (lines, objects):
        program.wait_for_line("heartbeat")
    id = run("-A", "main", "call", "main.add", "-a", "[1, 2]").stdout.strip()
    lines.wait_for_line(rf"w@cli \[.*\] task received: main.add\({id}\) args=\(1, 2\) kwargs=\{{\}}")
    lines.wait_for_line(rf"task succeeded: main.add\({id}\).*result=3")
    found = objects.wait_for_line("task-succeeded")
    assert json.loads(found.string)["uuid"] == id
    camera.wait_for_line("picture of 1")
    lines.signal(signal.SIGINT)
    assert lines.wait() == 0


@pytest.mark.parametrize("words", [("events", "-c", "main.Camera", "-F", "0.1"), ("beat",)], ids=" ".join)
def test_CLI_6_a_camera_and_a_scheduler_go_to_the_background(
    run: Run, project: Path, words: tuple[str, ...]
) -> None:
    with (project / "main.py").open("a") as file:
        file.write(CAMERA)
    daemon = ("-D", "-l", "info", "-f", "d.log", "--pidfile", "d.pid")
    done = run("-A", "main", *words, *daemon)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int((project / "d.pid").read_text())
    try:
        assert os.getsid(pid) not in (os.getsid(0), pid)
        said = "picture of 0" if words[0] == "events" else "leads"
        until(lambda: said in (project / "d.log").read_text(), what=said)
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: not alive(pid))
    assert not (project / "d.pid").exists()


def test_CLI_6_what_is_wrong_with_a_camera_is_told_before_it_goes_away(run: Run) -> None:
    done = run("-A", "main", "events", "-c", "main.Nothing", "-D", "-f", "d.log")
    assert (done.returncode, "there is no camera 'main.Nothing'" in done.stderr) == (1, True)


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *command: str, cwd: Path) -> None:
        # They would count more than the terminal itself.
        kept = {
            name: value for name, value in clean_environment().items() if name not in ("COLUMNS", "LINES")
        }
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=kept | {"TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.screen = ""

    def wait_for(self, pattern: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.screen):
            assert time.monotonic() < deadline, f"no {pattern!r} in\n{self.screen[-5000:]}"
            if select.select([self._ours], [], [], 0.1)[0]:
                data = os.read(self._ours, 65536).decode(errors="replace")
                self.screen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data)

    def press(self, keys: str) -> None:
        """What stood there before does not count any more."""
        self.screen = ""
        os.write(self._ours, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        self.screen = ""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


def test_CLI_6_the_monitor_shows_tasks_and_obeys_keys(run: Run, worker: Program, project: Path) -> None:
    terminal = Terminal(sys.executable, "-m", "celeriac", "-A", "main", "events", cwd=project)
    try:
        terminal.wait_for(r"1 online: w@cli")
        well = run("-A", "main", "call", "main.add", "-a", "[1, 2]").stdout.strip()
        terminal.wait_for(rf"{well} +main\.add +w@cli +[\d:]+ +SUCCESS")
        terminal.press("i")
        terminal.wait_for(r"args: \(1, 2\)")
        terminal.press("r")
        terminal.wait_for(r"Result[^\n]*\n[^\n]*3")
        bad = run("-A", "main", "call", "main.fail").stdout.strip()
        terminal.wait_for(rf"{bad} +main\.fail +w@cli +[\d:]+ +FAILURE")
        terminal.press("kkt")
        terminal.wait_for("ValueError: no such thing")
        terminal.press("l5/m\r")
        terminal.wait_for("new rate limit set successfully")
        terminal.press("c")
        terminal.wait_for("it will not begin")
        terminal.resize(12, 60)
        terminal.wait_for("l rate…")
        terminal.press("q")
        assert terminal.process.wait(PATIENCE) == 0
    finally:
        terminal.close()
