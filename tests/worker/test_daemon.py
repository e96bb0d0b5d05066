"""A worker as a service: signals, pidfile, what it tells its service manager, where its stacks are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from celeriac import Celery
from celeriac.exceptions import ImproperlyConfigured, SecurityError
from celeriac.worker import start
from celeriac.worker.pidfile import pidfile
from stand import Stand, lines, until

Run = Callable[..., subprocess.CompletedProcess[str]]


class Manager:
    """What a service manager hears (sd_notify)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.bind(str(path))
        self._line.settimeout(20)

    def wait_for(self, *words: str) -> None:
        """Until these were said, in this order."""
        waiting = list(words)
        while waiting:
            if self._line.recv(100).decode().splitlines()[0] == waiting[0]:
                del waiting[0]

    def close(self) -> None:
        self._line.close()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_WRK_11_hup_finishes_what_runs_and_starts_anew_in_the_same_process_and_systemd_is_told(
    stand: Stand, pool: str
) -> None:
    heard = Manager(stand.folder / "notify")
    environment = {"NOTIFY_SOCKET": str(heard.path), "WATCHDOG_USEC": "400000"}
    worker = stand.start("-P", pool, "-c", "1", "--pidfile", "w.pid", env=environment)
    heard.wait_for("READY=1", "WATCHDOG=1", "WATCHDOG=1")
    gate, begun = stand.path("gate"), stand.path("begun")
    running = stand.send("wait_for", str(gate), str(begun))
    until(lambda: lines(begun) == ["begun"])
    worker.signal(signal.SIGHUP)
    worker.wait_for_line("Warm shutdown")
    heard.wait_for("RELOADING=1")
    gate.touch()
    worker.wait_for_line(r"Restarting celery worker \(.*-A main worker .*--pidfile w\.pid\)")
    worker.wait_for_line(r" ready\.", times=2)
    heard.wait_for("READY=1")
    assert running.get(timeout=20) == "seen"
    assert stand.send("f", 1).get(timeout=20) == 1
    assert (stand.folder / "w.pid").read_text() == f"{worker.pid}\n"
    # A stop that is asked for while it is about to start anew wins.
    gate = stand.path("gate")
    again = stand.send("wait_for", str(gate), str(begun))
    until(lambda: lines(begun)[-1:] == ["begun"] and len(lines(begun)) > 2)
    worker.signal(signal.SIGHUP)
    worker.wait_for_line("Warm shutdown", times=2)
    worker.signal(signal.SIGTERM)
    worker.wait_for_line("Warm shutdown", times=3)
    heard.wait_for("STOPPING=1")
    gate.touch()
    assert worker.wait() == 0
    assert worker.output.count("Restarting") == 1
    assert again.get(timeout=20) == "seen"
    assert not (stand.folder / "w.pid").exists()
    heard.close()


def test_WRK_11_usr1_shows_where_all_threads_of_all_children_stand_also_under_the_gil(stand: Stand) -> None:
    worker = stand.start("-c", "2")
    begun = stand.path("begun")
    stand.send("hold_gil", str(begun), 2)
    until(lambda: lines(begun) == ["begun"])
    worker.signal(signal.SIGUSR1)
    worker.wait_for_line(r"Stacks of the supervisor \(pid \d+\):")
    worker.wait_for_line(r"Stacks of Worker-1 \(pid \d+\), the newest call first:")
    worker.wait_for_line(r'File ".*/apps/main\.py", line \d+ in hold_gil')
    assert stand.send("f", 1).get(timeout=20) == 1
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.parametrize("pool", ["asyncio", "gevent"])
def test_WRK_11_usr1_shows_where_coroutines_and_greenlets_stand(stand: Stand, pool: str) -> None:
    worker = stand.start("-P", pool, "-c", "2")
    gate, begun = stand.path("gate"), stand.path("begun")
    task = "wait_for_async" if pool == "asyncio" else "wait_for"
    running = stand.send(task, str(gate), str(begun))
    until(lambda: lines(begun) == ["begun"])
    worker.signal(signal.SIGUSR1)
    worker.wait_for_line(r"Coroutines and greenlets \(pid \d+\):")
    worker.wait_for_line(rf'File ".*/apps/main\.py", line \d+, in {task}')
    gate.touch()
    assert running.get(timeout=20) == "seen"


def test_WRK_11_usr1_shows_the_stacks_of_a_solo_worker_and_limits_still_strike(stand: Stand) -> None:
    worker = stand.start("-P", "solo")
    gate, begun = stand.path("gate"), stand.path("begun")
    running = stand.send("wait_for", str(gate), str(begun), soft_time_limit=2)
    until(lambda: lines(begun) == ["begun"])
    worker.signal(signal.SIGUSR1)
    worker.wait_for_line(r"Stacks of this process")
    worker.wait_for_line(r'File ".*/apps/main\.py", line \d+, in wait_for')
    with pytest.raises(Exception, match="2"):
        running.get(timeout=20)


def test_WRK_11_a_remapped_term_is_a_cold_stop(stand: Stand) -> None:
    worker = stand.start("-c", "1", env={"REMAP_SIGTERM": "SIGQUIT"})
    begun = stand.path("begun")
    stand.send("wait_for", str(stand.path("gate")), str(begun))
    until(lambda: lines(begun) == ["begun"])
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 1
    assert "Cold shutdown" in worker.output
    assert stand.broker.depth(["celery"])["celery"].ready == 1


def test_process_1_of_a_container_waits_for_what_tasks_left_behind() -> None:
    program = (
        "import os, time\n"
        "from celeriac.worker.originals import reap_strangers\n"
        "pids = [os.fork() or os._exit(0) for _ in range(3)]\n"
        "for pid in pids:\n"
        "    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)\n"
        "reap_strangers(())\n"
        "known = os.fork() or os._exit(7)\n"
        "os.waitid(os.P_PID, known, os.WEXITED | os.WNOWAIT)\n"
        "reap_strangers({known})\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(known, 0)[1]))\n"
        "reap_strangers(())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("7\n", "")


@pytest.mark.parametrize("left", ["", "nonsense", "999999999", "9" * 30, "own"])
def test_WRK_20_a_pidfile_that_nobody_lives_by_is_replaced(tmp_path: Path, left: str) -> None:
    path = tmp_path / "w.pid"
    path.write_text(str(os.getpid()) if left == "own" else left)
    with pidfile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_WRK_20_a_pidfile_of_a_living_process_or_in_no_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pid"
    path.write_text(str(os.getppid()))
    with pytest.raises(ImproperlyConfigured, match="which runs"), pidfile(str(path)):
        pass
    assert path.exists()
    with pytest.raises(ImproperlyConfigured, match="cannot be written"), pidfile("/nowhere/w.pid"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused for being root")
def test_WRK_20_root_does_not_accept_pickle_unless_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("pickles", set_as_current=False, accept_content=["json", "pickle"])
    monkeypatch.delenv("C_FORCE_ROOT", raising=False)
    with pytest.raises(SecurityError, match="C_FORCE_ROOT=1"):
        start._refuse_pickle_as_root(app)
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    start._refuse_pickle_as_root(app)
