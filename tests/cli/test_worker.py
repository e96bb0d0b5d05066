"""`celeriac worker` as it is started for true: what its command line says is what it does."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celeriac.compat.nodenames import gethostname
from services import PATIENCE, Program, clean_environment

Start = Callable[..., Program]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shop(project: Path) -> Path:
    """The project with a task that tells how its process was made."""
    with (project / "main.py").open("a") as file:
        file.write(
            "import os, socket, sys\n"
            "@celery.task\n"
            "def look():\n"
            "    monkey = sys.modules.get('gevent.monkey')\n"
            "    return {\n"
            "        'pid': os.getpid(), 'session': os.getsid(0), 'umask': os.umask(0o22),\n"
            "        'patched': monkey is not None and monkey.is_module_patched('socket'),\n"
            "        'limit': celery.conf.task_time_limit, 'queue': celery.conf.task_default_queue,\n"
            "    }\n"
        )
    return project


def test_it_serves_and_stops_with_exit_code_0(run: Run, shop: Path, worker_process: Start) -> None:
    worker = worker_process("main", shop, "-l", "info", "-c", "1", "-n", "w1@%h")
    worker.wait_for_line(rf"w1@{gethostname()} ready\.")
    assert look(run)["patched"] is False
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert "Warm shutdown" in worker.output


@pytest.mark.parametrize("way", ["-P gevent", "-Pgevent", "--pool=gevent", "environment"])
def test_a_gevent_worker_is_patched_however_it_is_asked_for(
    run: Run, shop: Path, worker_process: Start, way: str
) -> None:
    words, env = (way.split(), {}) if way != "environment" else ([], {"CELERY_WORKER_POOL": "gevent"})
    worker_process("main", shop, "-l", "info", *words, env=env).wait_for_line(r" ready\.")
    assert look(run)["patched"] is True


def test_settings_at_the_end_reach_the_tasks(run: Run, shop: Path, worker_process: Start) -> None:
    words = ["-l", "info", "-c", "1", "-Q", "mail", "task.time_limit=77", "task_default_queue=mail"]
    worker_process("main", shop, *words).wait_for_line(r" ready\.")
    seen = look(run, "--queue", "mail")
    assert (seen["limit"], seen["queue"]) == (77, "mail")


def test_options_without_effect_say_why_and_quiet_says_nothing(shop: Path, worker_process: Start) -> None:
    words = "-P solo -l info -O fair --without-gossip --without-mingle -E -s file --autoscale 3,1".split()
    worker = worker_process("main", shop, *words)
    worker.wait_for_line(r" ready\.")
    for option in ("-O", "--without-gossip", "--without-mingle", "-s/--schedule-filename", "--autoscale"):
        assert f"\n{option} has no effect here because " in f"\n{worker.output}"
    assert "--prefetch-multiplier has no effect" not in worker.output

    quiet = worker_process("main", shop, *words, env={"CELERY_QUIET": "1"})
    quiet.wait_for_line(r" ready\.")
    assert "has no effect" not in quiet.output
    assert "[config]" not in quiet.output


def test_it_goes_to_the_background_with_log_and_pidfile(run: Run, shop: Path) -> None:
    words = "-A main worker -l info -c 1 -f %n.log --pidfile %n.pid --umask 077".split()
    started = run(*words, "-D")
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    seen = look(run)
    pid = int((shop / "celery.pid").read_text())
    alive = os.pidfd_open(pid)
    try:
        assert seen["session"] not in (os.getsid(0), pid)
        assert (shop / "celery.log").stat().st_mode & 0o777 == 0o600
        again = run(*words)
        assert again.returncode == 1
        assert f"process {pid}" in again.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
        ended, _, _ = select.select([alive], [], [], PATIENCE)
        os.close(alive)
    assert ended, "it does not stop"
    assert not (shop / "celery.pid").exists()
    assert "succeeded" in (shop / "celery.log").read_text()


def test_CLI_8_an_app_adds_options_of_its_own_and_a_signal_tells_of_them(
    shop: Path, worker_process: Start
) -> None:
    with (shop / "main.py").open("a") as file:
        file.write(
            "import click\n"
            "from celeriac.signals import celeryd_init\n"
            "celery.user_options['worker'].add(click.Option(['--site'], default='here'))\n"
            "@celeryd_init.connect\n"
            "def tell(sender, options, **kwargs):\n"
            "    print('site', options['site'], options['pool'])\n"
            "from celeriac.signals import user_preload_options\n"
            "celery.user_options['preload'].add(click.Option(['--land'], default='none'))\n"
            "@user_preload_options.connect\n"
            "def hear(sender, app, options, **kwargs):\n"
            "    print(sender, app.main, options)\n"
        )
    worker = worker_process("main", shop, "-P", "solo", "--site", "there", "--land", "far")
    worker.wait_for_line("site there solo")
    worker.wait_for_line(r"worker \w+ \{'land': 'far'\}")


def test_without_an_app_it_runs_the_tasks_of_included_modules(run: Run, tmp_path: Path) -> None:
    (tmp_path / "chores.py").write_text(
        "from celeriac import shared_task\n@shared_task\ndef add(x, y):\n    return x + y\n"
    )
    store = ["-b", "sqlite:///some.db", "--result-backend", "sqlite:///some.db"]
    command = [sys.executable, "-m", "celeriac", *store, "worker", "-P", "solo", "-l", "info", "-I", "chores"]
    with Program(command, cwd=tmp_path, env=clean_environment()) as worker:
        worker.wait_for_line(r" ready\.")
        task_id = run(*store, "call", "chores.add", "-a", "[1, 2]").stdout.strip()
        assert run(*store, "result", task_id, "--timeout", "20").stdout == "3\n"


def look(run: Run, *options: str) -> dict[str, Any]:
    """Send the task `look` and return what it saw."""
    called = run("-A", "main", "call", "main.look", *options)
    assert called.returncode == 0, called.stderr
    done = run("-A", "main", "result", called.stdout.strip(), "--timeout", "20", "--json")
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)["result"]
    return seen


def test_what_fails_before_it_is_in_the_background_is_seen(run: Run, shop: Path) -> None:
    (shop / "broken.py").write_text("import thing_that_is_not_there\n")
    done = run("-A", "broken", "worker", "-D", "-f", "w.log")
    assert done.returncode == 1
    assert "No module named 'thing_that_is_not_there'" in done.stderr


def test_with_reload_it_starts_anew_at_every_change_also_after_a_broken_one(
    project: Path, worker_process: Start
) -> None:
    source = (project / "main.py").read_text()

    def version(text: str) -> None:
        (project / "main.py").write_text(source + text)

    version("print('the first')")
    worker = worker_process("main", project, "--reload", "-l", "info", "-c", "1")
    worker.wait_for_line(r" ready\.")
    version("print('the second')")
    worker.wait_for_line(r"main\.py changed: the worker starts anew")
    worker.wait_for_line(r"the second")
    worker.wait_for_line(r" ready\.", times=2)
    version("broken(")
    worker.wait_for_line(r"the worker ended with \d+; it starts anew when a file changes")
    version("print('the third')")
    worker.wait_for_line(r" ready\.", times=3)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert "Warm shutdown" in worker.output
