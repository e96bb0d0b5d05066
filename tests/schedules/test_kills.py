"""Schedulers die with SIGKILL at one line; another takes over in time and sends what is to be sent, once."""

from __future__ import annotations

import ast
import re
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from celeriac import Celery
from celeriac.beat.leading import Scheduler
from services import Program, clean_environment, start_worker
from stand import until

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "states.md"
#: Seconds.
LEASE = 1.0


@pytest.fixture
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Celery]:
    if request.param == "redis":
        url = request.getfixturevalue("redis_db")
    else:
        url = f"sqlite:///{tmp_path}/celeriac.db"
    with Celery("killed", broker=url, set_as_current=False) as app:
        yield app


def kill_at(app: Celery, place: str) -> None:
    """A scheduler of its own process leads, comes to the place, and dies."""
    beat = Program(
        [sys.executable, str(FOLDER / "killed_beat.py"), app.broker_url, place],
        env=clean_environment({"PYTHONPATH": ":".join(sys.path)}),
    )
    beat.start()
    try:
        assert beat.wait() == -signal.SIGKILL, beat.output
    finally:
        beat.kill()


def take_over(app: Celery) -> Scheduler:
    """Another one that leads as soon as the lease of the dead is over."""
    store = app.open_schedules()
    scheduler = Scheduler(app, store, "heir", LEASE)

    def leads() -> bool:
        scheduler.tick()
        return scheduler.term > 0

    until(leads, LEASE + 4)
    store.close()
    return scheduler


def plan_for_now(app: Celery) -> None:
    """An entry that has been due for a minute, as one that nobody sent meanwhile."""
    now = time.time()
    app.time = lambda: now - 120
    app.schedules.add("a", "work", 86400, start=datetime.fromtimestamp(now - 60, UTC))
    app.time = time.time


@pytest.mark.parametrize(("app", "place"), [("redis", "looked"), ("sqlite", "judged")], indirect=["app"])
def test_killed_before_it_has_written_another_one_sends(app: Celery, place: str) -> None:
    plan_for_now(app)
    kill_at(app, place)
    assert app.broker.depth(["celery"])["celery"].ready == 0
    take_over(app)
    assert app.broker.depth(["celery"])["celery"].ready == 1
    assert [one.what for one in app.schedules.history("a")] == ["sent"]


@pytest.mark.parametrize(
    ("app", "place"), [("redis", "written"), ("sqlite", "written"), ("redis", "said")], indirect=["app"]
)
def test_killed_when_it_has_written_nobody_sends_again(app: Celery, place: str) -> None:
    plan_for_now(app)
    kill_at(app, place)
    assert app.broker.depth(["celery"])["celery"].ready == 1
    take_over(app)
    assert app.broker.depth(["celery"])["celery"].ready == 1
    assert app.schedules.get("a").runs == 1


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_killed_while_it_merges_what_code_declares_another_one_merges_its_own(app: Celery) -> None:
    kill_at(app, "merged")
    assert [one.name for one in app.schedules.list()] == ["static"]
    take_over(app)
    assert app.schedules.list() == []


def test_a_killed_leader_is_followed_within_its_lease_and_nothing_comes_twice(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "from celeriac import Celery\n"
        "app = Celery('main')\n"
        "app.conf.beat_lease = 1.0\n"
        "app.conf.beat_schedule = {'often': {'task': 't', 'schedule': 0.1, 'catch_up': 'all'}}\n"
    )
    environment = {"CELERY_BROKER_URL": f"sqlite:///{tmp_path}/celeriac.db"}
    beats = [start_worker("main", tmp_path, "-l", "info", env=environment, command="beat") for _ in range(2)]
    try:
        for beat in beats:
            beat.wait_for_line(r"beat: Starting\.\.\.")
        leads = rf"beat: \S+:({beats[0].pid}|{beats[1].pid}) leads, 1 entries in code"
        until(lambda: any(re.search(leads, beat.output) for beat in beats))
        leader, heir = sorted(beats, key=lambda beat: " leads, " not in beat.output)
        leader.wait_for_line(r"Scheduler: Sending due task often \(t\)", times=5)
        leader.kill()
        heir.wait_for_line(leads, timeout=LEASE + 4)
        heir.wait_for_line(r"Scheduler: Sending due task often \(t\)", times=15)
        heir.signal(signal.SIGTERM)
        assert heir.wait() == 0
        assert heir.output.endswith("beat: Shutting down...")
    finally:
        for beat in beats:
            beat.kill()
    with Celery("main", broker=environment["CELERY_BROKER_URL"], set_as_current=False) as app:
        history = app.schedules.history("often", 50)
        assert len(history) == min(50, app.schedules.get("often").runs)
        steps = {round((later.at - earlier.at).total_seconds(), 3) for later, earlier in pairwise(history)}
        assert steps == {0.1}, "none is missing and none is there twice"
        assert app.broker.depth(["celery"])["celery"].ready == app.schedules.get("often").runs


def test_each_row_of_the_page_of_states_about_schedulers_is_a_test() -> None:
    lines = re.findall(r"^\| S\d+ \|.*$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [line.split()[1] for line in lines] == [f"S{number}" for number in range(1, len(lines) + 1)]
    assert len(lines) >= 5
    named = set(re.findall(r"`(test_\w+)`", "\n".join(lines)))
    there = {
        node.name
        for path in FOLDER.glob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert named <= there
    mine = {
        node.name
        for node in ast.parse(Path(__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and "page" not in node.name
    }
    assert mine <= named
