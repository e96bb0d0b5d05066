"""`celeriac beat` says what it is; `celeriac schedule` does on the command line what app.schedules does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from celeriac import Celery
from celeriac.beat.service import Beat
from celeriac.beat.start import BeatOptions, block
from celeriac.checking import findings
from celeriac.cli.beat import beat
from celeriac.cli.invocation import Invocation
from celeriac.cli.schedule import schedule
from celeriac.exceptions import CeleriacError

Say = Callable[..., str]


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("shop", broker=f"memory://{uuid4().hex}", set_as_current=False) as app:
        app.conf.beat_schedule = {"static": {"task": "shop.count", "schedule": 30.0}}
        yield app


@pytest.fixture
def say(app: Celery) -> Say:
    """Run `celeriac schedule ...`; gives what it prints, and raises what it raises."""

    def say(*words: str) -> str:
        invocation = Invocation(app_spec="shop", quiet=True, _app=app)
        done = CliRunner().invoke(schedule, words, obj=invocation)
        if done.exit_code == 1 and done.exception is not None:
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    return say


def test_BEA_8_the_start_block_tells_where_the_schedule_is(app: Celery) -> None:
    lines = block(app, BeatOptions(hostname="celerybeat@here", loglevel="INFO"), Beat(app)).splitlines()
    assert lines[0].startswith("celeriac beat v")
    assert lines[1] == "__    -    ... __   -        _"
    assert lines[2].startswith("LocalTime -> ")
    assert lines[3] == "Configuration ->"
    assert [line.split(" -> ")[0] for line in lines[4:]] == [
        "    . broker",
        "    . loader",
        "    . scheduler",
        "    . db",
        "    . logfile",
        "    . maxinterval",
    ]
    assert lines[7].endswith("(group shop)")
    assert lines[8].endswith("[stderr]@%INFO")


def test_BEA_8_the_options_of_celery_are_there() -> None:
    shown = CliRunner().invoke(beat, ["--help"]).output
    for option in (
        "--detach",
        "--schedule",
        "--scheduler",
        "--max-interval",
        "--no-enable-remote-control",
        "--hostname",
        "--loglevel",
        "--logfile",
        "--pidfile",
        "--uid",
        "--gid",
        "--umask",
    ):
        assert option in shown


def test_an_entry_is_added_looked_at_and_removed(say: Say, app: Celery) -> None:
    said = say(
        "add", "report", "shop.sum_up", "--cron", "30 2 * * *", "-a", "[1]", "--timezone", "Europe/Berlin"
    )
    assert said.startswith("Added report (30 2 * * *).\nNext: ")
    rows = json.loads(say("list", "--json"))
    assert [(row["name"], row["from"], row["state"]) for row in rows] == [
        ("report", "store", "on"),
        ("static", "code", "on"),
    ]
    assert all(" 02:30:00" in line for line in say("next", "report", "-n", "3").splitlines())
    assert say("trigger", "report").strip() in say("history", "report")
    assert app.broker.depth(["celery"])["celery"].ready == 1
    assert say("pause", "static") == "Paused static (every 30.00 seconds).\n"
    assert json.loads(say("list", "--json"))[1]["state"] == "paused"
    assert say("resume", "static").startswith("Resumed static")
    assert say("remove", "report") == "Removed report.\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pause sttic", "did you mean 'static'"),
        ("remove static", "declared in code"),
        ("add static shop.count --every 5", "declared in code"),
        ("add a shop.count --every 5 --timezone Berlin", "no time zone"),
    ],
)
def test_what_cannot_be_done_is_told_with_its_cure(say: Say, words: str, says: str) -> None:
    with pytest.raises(CeleriacError, match=says):
        say(*words.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["add", "a", "t"], "say when"),
        (["add", "a", "t", "--every", "5", "--cron", "* * * * *"], "say when"),
        (["add", "a", "t", "--cron", "61 * * * *"], "61 is no minute"),
        (["add", "a", "t", "--at", "tomorrow"], "is no time"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(app: Celery, words: list[str], says: str) -> None:
    done = CliRunner().invoke(schedule, words, obj=Invocation(app_spec="shop", quiet=True, _app=app))
    assert done.exit_code == 2
    assert says in done.output


def test_schedules_belong_to_an_app(app: Celery) -> None:
    done: Any = CliRunner().invoke(schedule, ["list"], obj=Invocation(_app=app))
    assert done.exit_code == 2
    assert "say which with -A" in done.output


def test_a_check_of_the_app_tells_of_entries_that_cannot_be_meant(app: Celery) -> None:
    @app.task(name="known")
    def known() -> None: ...

    app.conf.beat_schedule = {
        "well": {"task": "known", "schedule": 60.0},
        "mistyped": {"task": "known", "shedule": 60.0},
        "unknown": {"task": "knwon", "schedule": 60.0},
    }
    told = {finding.about: (finding.grade, finding.says) for finding in findings(app)}
    assert told["beat_schedule['mistyped']"][0] == "error"
    assert "did you mean 'schedule'" in told["beat_schedule['mistyped']"][1]
    assert told["beat_schedule['unknown']"][0] == "warning"
    assert "beat_schedule['well']" not in told
