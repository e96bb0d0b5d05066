"""`celery.beat` for other people's schedulers: the classes, and two of them from PyPI."""

from __future__ import annotations

import logging
import pickle
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from celeriac import Celery, signals
from celeriac.compat.beat import (
    EmbeddedService,
    PersistentScheduler,
    ScheduleEntry,
    Scheduler,
    SchedulingError,
    Service,
)
from celeriac.schedules import crontab, schedule

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("theirs", broker=f"memory://{uuid4().hex}", set_as_current=False)

    @app.task(name="work")
    def work(*args: Any) -> None: ...

    yield app
    app.close()


def count(app: Celery) -> int:
    return app.broker.depth(["celery"])["celery"].ready


def test_BEA_4_an_entry_knows_its_runs(app: Celery) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    entry = ScheduleEntry("a", "work", before, 3, schedule(30), (1,), {}, {"queue": "q"}, app=app)
    assert entry.is_due().is_due
    later = next(entry)
    assert (later.total_run_count, later.name, later.args) == (4, "a", (1,))
    assert later.last_run_at > before
    assert not later.is_due().is_due
    twin = pickle.loads(pickle.dumps(entry))
    assert twin == entry
    assert twin.editable_fields_equal(entry)
    twin.update(ScheduleEntry("a", "other", schedule=60, app=app))
    assert (twin.task, twin.total_run_count) == ("other", 3)
    assert twin != entry
    assert repr(entry) == "<ScheduleEntry: a work(1) <freq: 30.00 seconds>>"
    assert sorted([later, entry])


def test_BEA_5_a_scheduler_sends_what_is_due_and_says_when_to_come_again(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.beat_schedule = {"a": {"task": "work", "schedule": 20.0, "args": (1,)}}
    scheduler = Scheduler(app, max_interval=5)
    assert scheduler.tick() == 5
    entry = scheduler.schedule["a"]
    entry.last_run_at -= timedelta(seconds=30)
    scheduler._heap = None
    with caplog.at_level(logging.DEBUG, "celery.beat"):
        assert scheduler.tick() == 0
    assert count(app) == 1
    assert scheduler.schedule["a"].total_run_count == 1
    assert "Scheduler: Sending due task a (work)" in caplog.text
    assert "work sent. id->" in caplog.text
    assert scheduler.tick() == 5


def test_BEA_5_entries_are_added_merged_and_compared(app: Celery) -> None:
    scheduler = Scheduler(app)
    scheduler.add(name="a", task="work", schedule=30)
    scheduler.merge_inplace({"b": {"task": "work", "schedule": crontab(minute=1)}})
    assert list(scheduler.schedule) == ["b"]
    scheduler.update_from_dict({"c": {"task": "work", "schedule": 10, "relative": True}})
    assert scheduler.schedule["c"].schedule.relative
    assert scheduler.schedules_equal(dict(scheduler.schedule), scheduler.schedule)
    assert not scheduler.schedules_equal({}, scheduler.schedule)


def test_BEA_5_what_cannot_be_sent_is_a_scheduling_error(app: Celery) -> None:
    scheduler = Scheduler(app)
    entry = scheduler.add(name="a", task="work", schedule=30, args=(object(),))
    with pytest.raises(SchedulingError, match="a could not be sent"):
        scheduler.apply_async(entry)


def test_BEA_6_a_file_keeps_the_runs_and_a_damaged_one_is_made_anew(app: Celery, tmp_path: Path) -> None:
    app.conf.beat_schedule = {"a": {"task": "work", "schedule": 20.0}}
    name = str(tmp_path / "schedule")
    first = PersistentScheduler(app, schedule_filename=name)
    first.apply_async(first.schedule["a"])
    first.close()
    second = PersistentScheduler(app, schedule_filename=name)
    assert second.schedule["a"].total_run_count == 1
    second.close()
    app.conf.timezone = "Europe/Berlin"
    third = PersistentScheduler(app, schedule_filename=name)
    assert third.schedule["a"].total_run_count == 0
    third.close()
    for file in tmp_path.iterdir():
        file.write_bytes(b"not a shelf")
    fourth = PersistentScheduler(app, schedule_filename=name)
    assert list(fourth.schedule) == ["a"]
    fourth.close()


def test_BEA_7_a_service_runs_a_scheduler_until_it_is_stopped(app: Celery) -> None:
    heard: list[Any] = []

    def hear(sender: Any, **_: Any) -> None:
        heard.append(sender)

    class Ticking(Scheduler):
        closed = False

        def tick(self, *_: Any, **__: Any) -> float:
            if self.app.broker.depth(["celery"])["celery"].ready < 3:
                self.app.send_task("work")
                return 0.001
            service.stop()
            return 0.01

        def close(self) -> None:
            Ticking.closed = True

    service = Service(app, max_interval=1, scheduler_cls=Ticking)
    signals.beat_init.connect(hear)
    try:
        service.start()
    finally:
        signals.beat_init.disconnect(hear)
    assert heard == [service]
    assert Ticking.closed
    assert count(app) == 3
    embedded = EmbeddedService(app, scheduler_cls=Ticking)
    embedded.service = service  # it is over already
    embedded.start()
    embedded.join(5)
    assert not embedded.is_alive()


def test_BEA_7_a_scheduler_that_cannot_be_found_is_told_at_the_start(app: Celery) -> None:
    for name in ("nowhere", "celery_nowhere:Scheduler", "celeriac.app:Nowhere"):
        with pytest.raises(ImportError):
            Service(app, scheduler_cls=name)


WITH_REDBEAT = """
import sys
from celery import Celery
from celery.beat import Service
from celery.schedules import crontab
from redbeat import RedBeatSchedulerEntry

app = Celery("theirs", broker=sys.argv[1])
app.conf.redbeat_redis_url = sys.argv[1]
app.conf.redbeat_lock_timeout = 10
app.conf.beat_max_loop_interval = 0.05
app.conf.beat_schedule = {"static": {"task": "static", "schedule": 0.1}}
service = Service(app, scheduler_cls="redbeat.RedBeatScheduler")
RedBeatSchedulerEntry("dynamic", "dynamic", crontab(minute="*/5"), args=[1], app=app).save()
assert RedBeatSchedulerEntry.from_key("redbeat:dynamic", app=app).schedule == crontab(minute="*/5")
tick = service.scheduler.tick

def counted():
    pause = tick()
    if app.broker.depth(["celery"])["celery"].ready >= 3:
        service.stop()
    return pause

service.scheduler.tick = counted
service.start()
print("sent")
"""

WITH_DJANGO = """
import sys
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x", USE_TZ=True, INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from celery import Celery
from celery.beat import Service
from celery.schedules import crontab
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

app = Celery("theirs", broker=sys.argv[1])
app.conf.beat_schedule = {
    "static": {"task": "static", "schedule": 0.1},
    "nightly": {"task": "static", "schedule": crontab(hour=2, minute=30)},
}
every, _ = IntervalSchedule.objects.get_or_create(every=50, period="microseconds")
PeriodicTask.objects.create(name="dynamic", task="dynamic", interval=every, args="[1]")
berlin, _ = CrontabSchedule.objects.get_or_create(minute="*/5", timezone="Europe/Berlin")
PeriodicTask.objects.create(name="crontab", task="dynamic", crontab=berlin)
service = Service(app, max_interval=0.05, scheduler_cls="django_celery_beat.schedulers:DatabaseScheduler")
tick = service.scheduler.tick

def counted():
    pause = tick()
    if app.broker.depth(["celery"])["celery"].ready >= 3:
        service.stop()
    return pause

service.scheduler.tick = counted
service.start()
assert PeriodicTask.objects.get(name="dynamic").total_run_count > 0
print("sent")
"""


@pytest.mark.parametrize("program", [WITH_REDBEAT, WITH_DJANGO], ids=["redbeat", "django-celery-beat"])
def test_BEA_5_a_scheduler_from_pypi_runs_through_the_dropin(
    python: Run, redis_db: str, program: str
) -> None:
    done = python("-c", program, redis_db)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("sent\n")
