"""Entries are declared, changed and looked at; what is missed, late or over is treated as they say."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from celeriac import Celery
from celeriac.beat.leading import Scheduler
from celeriac.exceptions import ImproperlyConfigured
from celeriac.message import Result
from celeriac.planning import Planned
from celeriac.schedules import BaseSchedule, crontab, once, schedstate, schedule
from celeriac.schedules.entry import BeatLazyFunc, read_entry
from celeriac.wire.task import unpack

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC).timestamp()


class Stand:
    """An app on a memory of its own whose clock the test moves, and schedulers."""

    def __init__(self, opened: ExitStack, **settings: Any) -> None:
        self.time = NOON
        self._url = f"memory://{uuid4().hex}"
        self._opened = opened
        self.app = self.another_app(**settings)

    def another_app(self, **settings: Any) -> Celery:
        app = Celery("stand", set_as_current=False, broker=self._url, backend=self._url, **settings)
        app.time = lambda: self.time
        self._opened.callback(app.close)

        @app.task(name="work")
        def work(*args: Any, **kwargs: Any) -> None: ...

        return app

    def scheduler(self, name: str = "one", app: Celery | None = None) -> Scheduler:
        app = app or self.app
        store = app.open_schedules()
        self._opened.callback(store.close)
        return Scheduler(app, store, name, lease=60.0)

    def pass_time(self, scheduler: Scheduler, seconds: float) -> list[str]:
        """Time passes at once; returns the args of what was sent."""
        self.time += seconds
        for _ in range(5):
            scheduler.tick()
        return self.sent()

    def sent(self) -> list[str]:
        payloads = self.app.broker.peek("celery", 1000)
        self.app.broker.purge("celery")
        return [",".join(map(str, unpack(one).arguments(["json"])[0])) for one in payloads]


@pytest.fixture
def stand() -> Iterator[Stand]:
    with ExitStack() as opened:
        yield Stand(opened)


def add(stand: Stand, name: str = "a", rule: Any = 60, **said: Any) -> Planned:
    return stand.app.schedules.add(name, "work", rule, args=(name,), **said)


# --- dynamic entries --------------------------------------------------------------------------------------


def test_what_is_added_while_a_scheduler_runs_is_sent_by_it(stand: Stand) -> None:
    one = stand.scheduler()
    one.tick()
    assert add(stand).next == datetime.fromtimestamp(NOON + 60, UTC)
    assert stand.pass_time(one, 59) == []
    assert stand.pass_time(one, 1) == ["a"]
    assert stand.pass_time(one, 60) == ["a"]


def test_a_change_holds_from_the_next_occurrence_on(stand: Stand) -> None:
    one = stand.scheduler()
    add(stand)
    stand.app.schedules.update("a", args=("other",))
    assert stand.pass_time(one, 60) == ["other"]
    stand.app.schedules.update("a", schedule=crontab(minute=30))
    assert stand.pass_time(one, 60) == []
    assert stand.pass_time(one, 30 * 60) == ["other"]
    assert stand.app.schedules.get("a").runs == 2


def test_paused_it_is_silent_and_resumed_it_makes_up_for_nothing(stand: Stand) -> None:
    one = stand.scheduler()
    add(stand, catch_up="all")
    paused = stand.app.schedules.pause("a")
    assert (paused.paused, paused.next) == (True, None)
    assert stand.pass_time(one, 600) == []
    resumed = stand.app.schedules.resume("a")
    assert resumed.next == datetime.fromtimestamp(NOON + 660, UTC)
    assert stand.pass_time(one, 60) == ["a"]


def test_triggered_it_is_sent_at_once_and_its_schedule_stays(stand: Stand) -> None:
    one = stand.scheduler()
    add(stand)
    task_id = stand.app.schedules.trigger("a")
    assert stand.sent() == ["a"]
    assert stand.pass_time(one, 60) == ["a"]
    first, second = stand.app.schedules.history("a")
    assert (first.what, second.what, second.task_id) == ("sent", "triggered", task_id)
    assert first.at == datetime.fromtimestamp(NOON + 60, UTC)
    assert stand.app.schedules.get("a").runs == 1


def test_removed_it_is_gone(stand: Stand) -> None:
    one = stand.scheduler()
    add(stand)
    stand.app.schedules.remove("a")
    assert stand.pass_time(one, 600) == []
    assert stand.app.schedules.list() == []
    with pytest.raises(KeyError, match="no schedule 'a'"):
        stand.app.schedules.remove("a")


def test_a_name_is_taken_once_unless_it_is_to_be_replaced(stand: Stand) -> None:
    add(stand)
    add(stand)  # the same: nothing to quarrel about
    with pytest.raises(ValueError, match="already"):
        add(stand, rule=30)
    assert add(stand, rule=30, replace=True).schedule == "every 30.00 seconds"


def test_a_mistyped_name_is_told_the_one_that_is_meant(stand: Stand) -> None:
    add(stand, "nightly report")
    with pytest.raises(KeyError, match="did you mean 'nightly report'"):
        stand.app.schedules.get("nightly reports")


def test_next_lists_what_comes(stand: Stand) -> None:
    add(stand, rule=crontab(hour=2, minute=30), timezone="Europe/Berlin")
    assert [moment.isoformat() for moment in stand.app.schedules.next("a", 2)] == [
        "2027-03-02T02:30:00+01:00",
        "2027-03-03T02:30:00+01:00",
    ]
    add(stand, "b", max_runs=2)
    assert len(stand.app.schedules.next("b", 9)) == 2


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"catchup": "all"}, "did you mean 'catch_up'"),
        ({"catch_up": "some"}, "none, last or all"),
        ({"jitter": -1}, "jitter is a number of seconds"),
        ({"max_runs": 0}, "max_runs is a whole number"),
        ({"timezone": "Berlin"}, "no time zone"),
        ({"start": "tomorrow"}, "start is a datetime"),
        ({"schedule": "daily"}, "is no schedule"),
        ({"schedule": float("inf")}, "'a': cannot convert float infinity"),
        ({"schedule": -5}, "an interval is longer than 0 seconds, not -5"),
        ({"task": None}, "needs 'task'"),
        ({"args": 16}, r"args is a tuple or a list, not 16; that of one value is \(16,\)"),
        ({"args": "16"}, r"that of one value is \('16',\)"),
        ({"kwargs": [1]}, r"kwargs is a dict, not \[1\]"),
        ({"args": (object(),)}, "cannot be stored"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_cure(stand: Stand, said: dict[str, Any], says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says):
        stand.app.schedules.add(**{"name": "a", "task": "work", "schedule": 5, **said})


def test_an_entry_that_is_no_dict_is_refused_with_the_cure() -> None:
    said: Any = "work"
    with pytest.raises(ImproperlyConfigured, match="'a' is a dict with 'task' and 'schedule', not 'work'"):
        read_entry("a", said)


def test_a_schedule_of_ones_own_is_for_code_alone(stand: Stand) -> None:
    class Mine(BaseSchedule):
        def next_after(self, moment: float, zone: Any = None) -> float:
            return moment + 7

    with pytest.raises(ImproperlyConfigured, match="declare 'a' in beat_schedule"):
        add(stand, rule=Mine())


# --- static entries ---------------------------------------------------------------------------------------


def test_BEA_1_what_code_declares_is_merged_by_its_name(stand: Stand) -> None:
    stand.app.conf.beat_schedule = {
        "static": {
            "task": "work",
            "schedule": timedelta(seconds=30),
            "args": ("s",),
            "options": {"queue": "q"},
        }
    }
    add(stand, "dynamic")
    stand.app.add_periodic_task(45.0, stand.app.tasks["work"].s("p"), name="periodic", catch_up="none")
    assert [(one.name, one.static) for one in stand.app.schedules.list()] == [
        ("dynamic", False),
        ("periodic", True),
        ("static", True),
    ]
    assert stand.pass_time(stand.scheduler(), 0) == []
    stand.time += 30
    stand.scheduler().tick()
    (payload,) = stand.app.broker.peek("q", 9)
    headers = json.loads(payload)["headers"]
    assert headers["celery_beat_task"] is True
    assert headers["celeriac_scheduled"] == "2027-03-01T12:00:30+00:00"


def test_a_static_entry_keeps_its_state_over_another_leader_and_goes_with_its_code(stand: Stand) -> None:
    stand.app.conf.beat_schedule = {"s": {"task": "work", "schedule": 60.0, "args": ("s",)}}
    one = stand.scheduler()
    one.tick()
    assert stand.pass_time(one, 60) == ["s"]
    one.resign()
    newer = stand.another_app()
    newer.conf.beat_schedule = {"s": {"task": "work", "schedule": 60.0, "args": ("newer",)}}
    two = stand.scheduler("two", newer)
    assert stand.pass_time(two, 60) == ["newer"]
    assert newer.schedules.get("s").runs == 2
    two.resign()
    stand.scheduler("three", stand.another_app()).tick()
    assert stand.another_app().schedules.list() == []


def test_another_time_zone_of_the_app_counts_from_the_next_leader_on(stand: Stand) -> None:
    def declare(app: Celery) -> Celery:
        app.conf.beat_schedule = {
            "crontab": {"task": "work", "schedule": crontab(hour=15, minute=0), "args": ("c",)},
            "elsewhere": {"task": "work", "schedule": crontab(hour=15), "timezone": "Asia/Tokyo"},
            "interval": {"task": "work", "schedule": 7200, "args": ("i",)},
        }
        return app

    one = stand.scheduler(app=declare(stand.another_app(timezone="Europe/Berlin")))
    one.tick()
    one.resign()
    stand.time += 3600
    two = stand.scheduler("two", declare(stand.app))
    assert stand.pass_time(two, 0) == []
    assert [stand.pass_time(two, 3600) for _ in range(3)] == [["i"], ["c"], ["i"]], "15:00 UTC, once"


def test_a_static_entry_can_be_paused_but_not_changed_from_outside(stand: Stand) -> None:
    stand.app.conf.beat_schedule = {"s": {"task": "work", "schedule": 60.0, "args": ("s",)}}
    stand.app.schedules.pause("s")
    one = stand.scheduler()
    assert stand.pass_time(one, 600) == []
    assert stand.app.schedules.resume("s").next is not None
    assert stand.pass_time(one, 60) == ["s"]
    for change in (
        lambda: stand.app.schedules.update("s", args=()),
        lambda: stand.app.schedules.remove("s"),
        lambda: add(stand, "s"),
    ):
        with pytest.raises(ImproperlyConfigured, match="declared in code"):
            change()


def test_BEA_1_a_lazy_argument_is_computed_for_each_message(stand: Stand) -> None:
    stand.app.conf.beat_schedule = {
        "s": {
            "task": "work",
            "schedule": 60.0,
            "args": (BeatLazyFunc(lambda: date.fromtimestamp(stand.time).isoformat()),),
        }
    }
    one = stand.scheduler()
    one.tick()
    assert stand.pass_time(one, 60) == ["2027-03-01"]
    assert stand.pass_time(one, 86400) == ["2027-03-02"]


def test_an_unreadable_entry_of_the_configuration_is_told_by_its_name(stand: Stand) -> None:
    stand.app.conf.beat_schedule = {"broken": {"task": "work", "scedule": 60.0}}
    with pytest.raises(ImproperlyConfigured, match=r"'broken' has no 'scedule': did you mean 'schedule'"):
        stand.scheduler().tick()


# --- late and missed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ({}, 1),  # as in Celery: one for all that were missed
        ({"catch_up": "last"}, 1),
        ({"catch_up": "all"}, 60),
        ({"catch_up": "none"}, 0),
        ({"catch_up": "all", "deadline": 600}, 10),
        ({"catch_up": "last", "deadline": 10}, 0),
    ],
)
def test_after_an_hour_without_a_scheduler(stand: Stand, said: dict[str, Any], count: int) -> None:
    add(stand, **said)
    one = stand.scheduler()
    one.tick()
    stand.time += 45
    assert len(stand.pass_time(one, 3600)) == count
    assert stand.pass_time(one, 15) == ["a"], "from then on as ever"
    assert sum(one.what == "dropped" for one in stand.app.schedules.history("a")) <= 1


def test_BEA_3_a_crontab_that_is_later_than_beat_cron_starting_deadline_is_dropped(stand: Stand) -> None:
    stand.app.conf.beat_cron_starting_deadline = 60
    add(stand, rule=crontab(minute=0))
    add(stand, "interval", rule=3600)
    one = stand.scheduler()
    one.tick()
    assert stand.pass_time(one, 3600 + 61) == ["interval"]


def test_a_clock_that_is_set_back_doubles_nothing(stand: Stand) -> None:
    add(stand, rule=crontab(), catch_up="all")
    one = stand.scheduler()
    assert len(stand.pass_time(one, 600)) == 10
    assert stand.pass_time(one, -300) == []
    assert stand.pass_time(one, 299) == []
    assert len(stand.pass_time(one, 61)) == 1


# --- limits of an entry -----------------------------------------------------------------------------------


def test_it_begins_at_its_start_and_ends_at_its_end(stand: Stand) -> None:
    start = datetime.fromtimestamp(NOON + 600, UTC)
    add(stand, start=start, end=start + timedelta(seconds=120), catch_up="all")
    one = stand.scheduler()
    assert stand.pass_time(one, 599) == []
    assert len(stand.pass_time(one, 1000)) == 3, "at the start, after one minute and after two"
    assert stand.app.schedules.get("a").next is None


def test_it_runs_so_often_and_no_more(stand: Stand) -> None:
    add(stand, max_runs=3, catch_up="all")
    assert len(stand.pass_time(stand.scheduler(), 600)) == 3
    assert stand.app.schedules.next("a") == []


def test_one_that_was_over_goes_on_when_it_may_run_more_often(stand: Stand) -> None:
    add(stand, max_runs=1)
    one = stand.scheduler()
    assert stand.pass_time(one, 120) == ["a"]
    stand.app.schedules.pause("a")
    assert stand.app.schedules.resume("a").next is None, "it is over still"
    stand.app.schedules.update("a", max_runs=2)
    assert [stand.pass_time(one, 60) for _ in range(3)] == [["a"], [], []]


def test_one_moment_comes_once(stand: Stand) -> None:
    add(stand, rule=once(datetime.fromtimestamp(NOON + 90, UTC)))
    one = stand.scheduler()
    assert stand.pass_time(one, 89) == []
    assert stand.pass_time(one, 500) == ["a"]
    assert stand.pass_time(one, 500) == []


def test_jitter_spreads_what_is_due_at_one_moment(stand: Stand) -> None:
    for n in range(20):
        add(stand, f"job {n}", rule=crontab(minute=30), jitter=100)
    one = stand.scheduler()
    counts = [len(stand.pass_time(one, 30 * 60))]
    counts += [len(stand.pass_time(one, 10)) for _ in range(10)]
    assert sum(counts) == 20
    assert max(counts) < 10
    assert stand.app.schedules.get("job 1").last == datetime.fromtimestamp(NOON + 1800, UTC)


@pytest.mark.parametrize("said", [{"catch_up": "none"}, {"deadline": 30}])
def test_what_jitter_puts_off_is_not_late(stand: Stand, said: dict[str, Any]) -> None:
    add(stand, rule=600, jitter=300, **said)
    one = stand.scheduler()
    sent = [len(stand.pass_time(one, 20)) for _ in range(10 * 600 // 20)]
    assert sum(sent) >= 9, "the tenth may be due a little later"


def test_without_overlap_none_is_sent_while_the_last_one_runs(stand: Stand) -> None:
    add(stand, overlap=False)
    one = stand.scheduler()
    assert stand.pass_time(one, 60) == ["a"]
    assert stand.pass_time(one, 60) == []
    first = stand.app.schedules.history("a")[-1]
    assert stand.app.schedules.history("a")[0].what == "overlap"
    results = stand.app.results
    assert results is not None
    results.save([Result(first.task_id, b'{"task_id":"x","status":"SUCCESS","result":null}')])
    assert stand.pass_time(one, 60) == ["a"]


def has_ended(stand: Stand, name: str = "a") -> None:
    """The task that was sent last left its result."""
    sent = next(one for one in stand.app.schedules.history(name) if one.what == "sent")
    results = stand.app.results
    assert results is not None
    results.save([Result(sent.task_id, b'{"task_id":"x","status":"SUCCESS","result":null}')])


def test_what_was_left_out_for_overlap_is_no_run(stand: Stand) -> None:
    add(stand, overlap=False, max_runs=2)
    one = stand.scheduler()
    assert stand.pass_time(one, 60) == ["a"]
    assert stand.pass_time(one, 60) == []
    assert stand.app.schedules.get("a").last == datetime.fromtimestamp(NOON + 60, UTC)
    has_ended(stand)
    assert [stand.pass_time(one, 60) for _ in range(3)] == [["a"], [], []]


def test_what_was_left_out_of_a_rule_that_is_asked_is_no_run_either(stand: Stand) -> None:
    class Always(BaseSchedule):
        def is_due(self, last_run_at: datetime) -> schedstate:
            return schedstate(True, 60.0)

    asked = {"task": "work", "schedule": Always(), "args": ("asked",), "overlap": False, "max_runs": 2}
    stand.app.conf.beat_schedule = {"asked": asked, "b": {"task": "work", "schedule": 60, "args": ("b",)}}
    one = stand.scheduler()
    assert sorted(stand.pass_time(one, 0) + stand.pass_time(one, 60)) == ["asked", "b"]
    assert stand.pass_time(one, 60) == ["b"]
    has_ended(stand, "asked")
    assert [sorted(stand.pass_time(one, 60)) for _ in range(3)] == [["asked", "b"], ["b"], ["b"]]


def test_without_overlap_one_whose_result_has_expired_has_ended(stand: Stand) -> None:
    week = 7 * 86_400
    add(stand, overlap=False, rule=week)
    one = stand.scheduler()
    stand.time += week
    one.tick()
    stand.time += week
    one.tick()
    assert stand.app.broker.depth(["celery"])["celery"].ready == 1, "the first waits still"
    assert stand.sent() == ["a"]
    assert stand.pass_time(one, week) == ["a"]


def test_a_result_that_nobody_can_read_is_one(stand: Stand) -> None:
    add(stand, overlap=False)
    one = stand.scheduler()
    assert stand.pass_time(one, 60) == ["a"]
    sent = stand.app.schedules.history("a")[0]
    results = stand.app.results
    assert results is not None
    results.save([Result(sent.task_id, b"\x80\x04pickled, and pickle is not accepted")])
    assert stand.pass_time(one, 60) == ["a"]


def test_no_overlap_without_results_is_refused() -> None:
    app = Celery("x", set_as_current=False, broker=f"memory://{uuid4().hex}")
    with pytest.raises(ImproperlyConfigured, match="needs results"):
        app.schedules.add("a", "work", 60, overlap=False)
    app.close()


def test_arguments_that_do_not_fit_are_refused_when_they_are_added(stand: Stand) -> None:
    @stand.app.task(name="strict")
    def strict(x: int) -> None: ...

    with pytest.raises(TypeError, match="strict"):
        stand.app.schedules.add("a", "strict", 60)


def test_one_entry_that_cannot_be_sent_holds_up_no_other(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(BaseSchedule):
        def next_after(self, moment: float, zone: Any = None) -> float:
            if moment > NOON + 30:
                raise ZeroDivisionError("broken rule")
            return moment + 60

    stand.app.conf.beat_schedule = {
        "broken": {"task": "work", "schedule": Broken()},
        "well": {"task": "work", "schedule": 60.0, "args": ("w",)},
    }
    one = stand.scheduler()
    one.tick()
    with caplog.at_level(logging.ERROR, "celery.beat"):
        assert stand.pass_time(one, 60) == ["w"]
    assert "broken is not sent, this occurrence is dropped: ZeroDivisionError: broken rule" in caplog.text
    assert stand.pass_time(one, 60) == ["w"]


# --- schedules of one's own -------------------------------------------------------------------------------


def test_a_rule_of_ones_own_names_the_next_moment(stand: Stand) -> None:
    class EverySeventh(BaseSchedule):
        def next_after(self, moment: float, zone: Any = None) -> float:
            return (moment // 7 + 1) * 7

    stand.app.conf.beat_schedule = {
        "s": {"task": "work", "schedule": EverySeventh(), "args": ("s",), "catch_up": "all"}
    }
    one = stand.scheduler()
    one.tick()
    assert len(stand.pass_time(one, 70)) == 10
    assert len(stand.app.schedules.next("s", 3)) == 3


def test_BEA_3_a_rule_written_for_celery_is_asked_whether_it_is_due(stand: Stand) -> None:
    class OddMinutes(schedule):
        def is_due(self, last_run_at: datetime) -> schedstate:
            return schedstate(int(stand.time // 60) % 2 == 1, 60.0)

    rule = OddMinutes(60)
    rule.nowfun = lambda: datetime.fromtimestamp(stand.time, UTC)
    stand.app.conf.beat_schedule = {"s": {"task": "work", "schedule": rule, "args": ("s",)}}
    one = stand.scheduler()
    one.tick()
    assert stand.sent() == []
    assert [len(stand.pass_time(one, 60)) for _ in range(6)] == [1, 0, 1, 0, 1, 0]


def test_BEA_3_a_rule_written_for_celery_counts_from_when_it_was_first_asked(stand: Stand) -> None:
    class AtWork(crontab):
        def is_due(self, last_run_at: datetime) -> schedstate:
            return super().is_due(last_run_at)

    rule = AtWork(minute="*/5", app=stand.app)
    rule.nowfun = lambda: datetime.fromtimestamp(stand.time, UTC)
    said = {"task": "work", "schedule": rule}
    stand.app.conf.beat_schedule = {
        "ever": {**said, "args": ("ever",)},
        "twice": {**said, "args": ("twice",), "max_runs": 2},
        "soon over": {**said, "args": ("soon over",), "end": datetime.fromtimestamp(NOON + 300, UTC)},
    }
    one = stand.scheduler()
    one.tick()
    assert stand.app.schedules.get("ever").last is None
    ran = [sorted(stand.pass_time(one, 60)) for _ in range(15)]
    assert [one for one in ran if one] == [["ever", "soon over", "twice"], ["ever", "twice"], ["ever"]]
    assert [n for n, one in enumerate(ran, 1) if one] == [5, 10, 15]


def test_BEA_3_a_rule_written_for_celery_asks_its_own_app_for_the_time(stand: Stand) -> None:
    class AtWork(crontab):
        def is_due(self, last_run_at: datetime) -> schedstate:
            return super().is_due(last_run_at)

    stand.app.conf.timezone = "Europe/Berlin"
    rule = AtWork(hour=14, minute=0)
    stand.app.conf.beat_schedule = {"s": {"task": "work", "schedule": rule, "args": ("s",)}}
    one = stand.scheduler()
    one.tick()
    assert [stand.pass_time(one, 1800) for _ in range(4)] == [[], ["s"], [], []]


def test_a_rule_of_ones_own_is_known_to_the_next_scheduler(stand: Stand) -> None:
    class FullTens(BaseSchedule):
        def next_after(self, moment: float, zone: Any = None) -> float:
            return (moment // 600 + 1) * 600

    def declare(app: Celery) -> Celery:
        app.conf.beat_schedule = {"s": {"task": "work", "schedule": FullTens(), "args": ("s",)}}
        return app

    one = stand.scheduler(app=declare(stand.app))
    one.tick()
    one.resign()
    stand.time += 601
    two = stand.scheduler("two", declare(stand.another_app()))
    assert stand.pass_time(two, 0) == ["s"], "what was missed between the two"


# --- several schedulers -----------------------------------------------------------------------------------


def test_of_three_one_sends_and_a_second_takes_over_at_once_when_it_ends(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    add(stand)
    first, *others = (stand.scheduler(name) for name in ("one", "two", "three"))
    with caplog.at_level(logging.INFO, "celery.beat"):
        first.tick()
        stand.time += 60
        for other in others:
            other.tick()
        assert stand.sent() == []
        assert stand.app.schedules.leader() == "one"
        first.resign()
        others[0].tick()
    assert stand.sent() == ["a"]
    assert stand.app.schedules.leader() == "two"
    assert "two leads, 0 entries in code" in caplog.text
    assert "Scheduler: Sending due task a (work)" in caplog.text


def test_two_apps_on_one_broker_schedule_each_its_own(stand: Stand) -> None:
    other = stand.another_app(beat_group="other")
    stand.app.conf.beat_schedule = {"mine": {"task": "work", "schedule": 60.0, "args": ("mine",)}}
    other.conf.beat_schedule = {"theirs": {"task": "work", "schedule": 60.0, "args": ("theirs",)}}
    one, two = stand.scheduler(), stand.scheduler("two", other)
    two.tick()
    one.tick()
    stand.time += 60
    two.tick()
    assert stand.pass_time(one, 0) == ["theirs", "mine"]


def test_the_scheduler_says_how_long_it_may_sleep(stand: Stand) -> None:
    one = stand.scheduler()
    assert one.tick() == 1.0, "a change must be seen within a second"
    add(stand, rule=0.25)
    assert one.tick() == pytest.approx(0.25)
    assert stand.scheduler("two").tick() <= 1.0


def test_listening_signals_hear_of_scheduled_messages(stand: Stand, heard: Callable[[], list[str]]) -> None:
    add(stand)
    assert stand.pass_time(stand.scheduler(), 60) == ["a"]
    assert heard() == ["before", "after"]


@pytest.fixture
def heard() -> Iterator[Callable[[], list[str]]]:
    from celeriac.signals import after_task_publish, before_task_publish

    said: list[str] = []

    def before(**_: Any) -> None:
        said.append("before")

    def after(**_: Any) -> None:
        said.append("after")

    before_task_publish.connect(before)
    after_task_publish.connect(after)
    yield lambda: said
    before_task_publish.disconnect(before)
    after_task_publish.disconnect(after)
