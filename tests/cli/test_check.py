"""`celeriac check` and `celeriac config explain`, as a person runs them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def write(project: Path, name: str, *lines: str) -> None:
    (project / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_sound_app_is_shown_queue_by_queue(run: Run, project: Path) -> None:
    done = run("-A", "main", "check")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "queue celery\n  main.add\n  main.fail\n\nAll well.\n"


def test_every_broken_module_is_shown_with_its_true_error(run: Run, project: Path) -> None:
    write(
        project,
        "main.py",
        "from celeriac import Celery",
        "app = Celery('main', include=['first', 'second', 'nowhere'])",
        "app.autodiscover_tasks(['package', 'bare'])",
        "@app.task",
        "def add(x, y): return x + y",
    )
    write(project, "first.py", "import no_such_library")
    write(project, "second.py", "from third import x")
    write(project, "third.py", "from second import y")
    (project / "package").mkdir()
    write(project, "package/__init__.py")
    write(project, "package/tasks.py", "1 / 0")
    (project / "bare").mkdir()
    write(project, "bare/__init__.py")
    done = run("-A", "main", "check")
    assert done.returncode == 1
    said = done.stdout
    assert "error: first: The module 'first' failed while it was imported:" in said
    assert "ModuleNotFoundError: No module named 'no_such_library'" in said
    assert "two modules import each other" in said
    assert "error: nowhere: There is no module 'nowhere'" in said
    assert "error: package.tasks:" in said
    assert "ZeroDivisionError" in said
    assert "bare.tasks" not in said
    assert "celeriac/" not in said
    assert "  main.add" in said
    assert "4 errors" in said


def test_settings_that_contradict_each_other_are_told(run: Run, project: Path) -> None:
    write(
        project,
        "main.py",
        "from celeriac import Celery",
        "app = Celery('main', broker='sqlite:///a.db', task_time_limit=5, task_soft_time_limit=9,",
        "             task_serializer='pickle', task_queues=['mail'],",
        "             task_routes={'main.ad': 'mail'}, task_track_started=True,",
        "             worker_prefetch_multiplier=1,",
        "             broker_transport_options={'visibility_timeout': 5}, my_own=1)",
        "@app.task",
        "def add(x, y): return x + y",
    )
    done = run("-A", "main", "check", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    found = {(one["grade"], one["about"]): one["says"] for one in answer["findings"]}
    assert "comes after the hard one" in found["error", "task_soft_time_limit"]
    assert "Add 'pickle' to accept_content" in found["error", "task_serializer"]
    assert "only a worker started with -Q celery" in found["warning", "queue celery"]
    assert "results are off" in found["warning", "task_track_started"]
    assert "'main.ad' means no task" in found["note", "task_routes"]
    assert "no effect here" in found["note", "worker_prefetch_multiplier"]
    assert "visibility_timeout" in found["note", "broker_transport_options"]
    assert "your own" in found["note", "my_own"]
    assert answer["queues"] == [
        {"queue": "mail", "tasks": [], "by_default": True},
        {"queue": "celery", "tasks": ["main.add"], "by_default": False},
    ]


def test_a_setting_is_explained_with_the_place_where_it_was_set(run: Run, project: Path) -> None:
    write(project, "settings.py", "task_time_limit = 30", "broker_url = 'redis://:geheim@localhost/0'")
    write(
        project,
        "main.py",
        "from celeriac import Celery",
        "app = Celery('main')",
        "app.config_from_object('settings')",
        "app.conf.task_acks_late = False",
    )
    done = run("-A", "main", "config", "explain", "task.acks_late", "CELERYD_TASK_TIME_LIMIT", "broker_url")
    assert done.returncode == 0, done.stderr
    late, limit, broker = done.stdout.split("\n\n")
    assert late.splitlines() == [
        "task_acks_late = False",
        "  Acknowledge when the task ends; False: when it starts.",
        "  default:   True",
        f"  set:       {project}/main.py:4",
        "  status:    honoured",
        "  old name:  CELERY_ACKS_LATE",
    ]
    assert "task_time_limit = 30" in limit
    assert "set:       the module settings" in limit
    assert "geheim" not in broker
    done = run("-A", "main", "-b", "sqlite:///x.db", "config", "explain", "broker_url", "result_backend")
    assert "set:       -b" in done.stdout
    assert "in effect: results are off" in done.stdout


def test_what_the_environment_set_is_told_so(run: Run, project: Path) -> None:
    done = run("config", "explain", "broker_url", environ={"CELERY_BROKER_URL": "sqlite:///there.db"})
    assert "CELERY_BROKER_URL in the environment" in done.stdout


def test_without_a_name_all_that_was_set_is_listed(run: Run, project: Path) -> None:
    done = run("-A", "main", "config", "explain")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["name", "broker_url", "result_backend"]
    assert len(run("-A", "main", "config", "explain", "--all").stdout.splitlines()) > 200
    assert run("config", "explain").stdout == "All settings are as by default.\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("task_acks_lat", "did you mean 'task_acks_late'"),
        ("tsak.acks_late", "did you mean 'task_acks_late'"),
        ("nothing_like_it", "there is no setting 'nothing_like_it'"),
    ],
)
def test_a_name_that_is_none_says_so(run: Run, name: str, said: str) -> None:
    done = run("config", "explain", name)
    assert done.returncode != 0
    assert said in done.stderr
