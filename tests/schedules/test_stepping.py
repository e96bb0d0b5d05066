"""`app.testing()` steps schedules by the clock of the test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from celeriac import Celery
from celeriac.schedules import crontab


def make_app() -> Celery:
    app = Celery("stepping", set_as_current=False)

    @app.task(name="work")
    def work(word: str) -> str:
        return word

    return app


def test_time_that_passes_runs_what_was_planned_for_it() -> None:
    app = make_app()
    app.conf.beat_schedule = {"hourly": {"task": "work", "schedule": crontab(minute=0), "args": ("h",)}}
    with app.testing(now=datetime(2027, 1, 1, 12, 30, tzinfo=UTC)) as stepper:
        assert stepper.run() == []
        ran = stepper.advance(timedelta(hours=3))
        assert [(one.value, one.at.hour, one.at.minute) for one in ran] == [
            ("h", 13, 0),
            ("h", 14, 0),
            ("h", 15, 0),
        ]
        assert stepper.finish() == []


def test_what_the_test_plans_itself_is_run_too_and_paused_it_is_not() -> None:
    app = make_app()
    with app.testing() as stepper:
        app.schedules.add("a", "work", 10, args=("a",))
        assert [one.value for one in stepper.advance(35)] == ["a", "a", "a"]
        app.schedules.pause("a")
        assert stepper.advance(35) == []
        app.schedules.trigger("a")
        assert [one.value for one in stepper.run()] == ["a"]
    with app.testing() as stepper:
        assert app.schedules.list() == [], "each test begins with nothing"


def test_scheduled_and_delayed_tasks_come_in_the_order_of_their_times() -> None:
    app = make_app()
    with app.testing() as stepper:
        app.schedules.add("a", "work", 10, args=("a",))
        app.tasks["work"].apply_async(("later",), countdown=15)
        assert [one.value for one in stepper.advance(20)] == ["a", "later", "a"]
