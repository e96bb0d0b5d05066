"""Each occurrence is sent exactly once, wherever the leader is killed, whatever the clock does."""

from __future__ import annotations

import gc
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from celeriac import Celery
from celeriac.beat import leading
from celeriac.beat.leading import Scheduler
from celeriac.drivers import opening
from celeriac.drivers.memory.broker import MemoryBroker
from celeriac.drivers.memory.schedules import MemorySchedules
from celeriac.drivers.memory.store import MemoryStore
from celeriac.ports import Broker, ScheduleStore
from celeriac.schedules import crontab, judging, schedule
from celeriac.schedules.entry import read_entry
from stand import until

SOURCE = Path(leading.__file__).parent.parent
#: Whose lines a killed leader may stand between: its own, and those of the driver.
KILLED_IN = ["beat/leading.py", "schedules/judging.py", "schedules/keeping.py"]
KILLED_IN_REDIS = [*KILLED_IN, "drivers/redis/schedules.py", "drivers/redis/connection.py"]
#: Within a transaction. Not in store.py: its lock is the process's, which does not die here.
KILLED_IN_SQLITE = [*KILLED_IN, "drivers/sqlite/schedules.py"]

#: A zone and the noons before its two odd days.
DAYS = {
    "Europe/Berlin": ("2027-03-27T12:00", "2027-10-30T12:00"),
    "America/New_York": ("2027-03-13T12:00", "2027-11-06T12:00"),
    "Australia/Lord_Howe": ("2027-04-03T12:00", "2027-10-02T12:00"),
    "Asia/Kolkata": ("2027-03-27T12:00", "2027-10-30T12:00"),
}
PLAN = {
    "every quarter": {"schedule": crontab(minute="*/15"), "catch_up": "all"},
    "in the odd hour": {"schedule": crontab(minute="10,30,50", hour="1-2"), "catch_up": "all"},
    "interval": {"schedule": schedule(1200), "catch_up": "all"},
    "with jitter": {"schedule": crontab(minute="5"), "catch_up": "all", "jitter": 240},
    "the last is enough": {"schedule": crontab(minute="*/15"), "catch_up": "last"},
    "fresh or never": {"schedule": crontab(minute="*/10"), "catch_up": "none", "deadline": 400},
}


class Killed(BaseException):
    """As SIGKILL: nothing of the killed is heard of again."""


@contextmanager
def killed_at(line: int, files: list[str]) -> Iterator[None]:
    """Within, the process of the scheduler dies before the so-and-so-many-th line of these files."""
    left = count(line, -1)
    names = {str(SOURCE / file) for file in files}

    def watch(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in names:
            return None
        if event == "line" and next(left) <= 0:
            raise Killed
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(before)


def in_a_thread(work: Callable[..., int], *args: Any) -> int:
    """What is raised between two instructions of an `except` leaves its error as the one that is being
    handled, for as long as the thread lives: all that tests raise later would have it as its context."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *args).result()


class Clocks:
    """The clock on the wall, which a test sets as it likes, and the one of leases, which only goes on."""

    def __init__(self, wall: float) -> None:
        self.wall = self.latest = wall
        self.ticks = 0.0

    def step(self, seconds: float) -> None:
        self.wall += seconds
        self.latest = max(self.latest, self.wall)


def app_of(zone: str, clocks: Clocks, plan: dict[str, Any]) -> Celery:
    app = Celery("once", set_as_current=False, timezone=zone, broker="memory://unused")
    app.time = lambda: clocks.wall
    app.conf.beat_schedule = {name: {"task": name, **said} for name, said in plan.items()}
    return app


def expected(app: Celery, name: str, start: float, end: float) -> list[int]:
    """All occurrences of an entry after the start that are due up to the end."""
    entry = read_entry(name, app.conf.beat_schedule[name])
    zone, found = entry.zone(app.timezone), []
    occurrence = judging.first(entry, start, zone)
    while judging.due_of(entry, occurrence) <= end * 1000:
        found.append(occurrence)
        occurrence = judging.following(entry, occurrence, zone)
    return found


def sent(broker: Broker, number: int) -> dict[str, Counter[int]]:
    """What lies in the queue: by entry, how often each occurrence."""
    found: dict[str, Counter[int]] = {}
    for payload in broker.peek("celery", number):
        headers = json.loads(payload)["headers"]
        moment = datetime.fromisoformat(headers["celeriac_scheduled"])
        assert headers["celery_beat_task"] is True
        found.setdefault(headers["task"], Counter())[round(moment.timestamp() * 1000)] += 1
    return found


def run_and_kill(
    app: Celery,
    open_store: Callable[[], ScheduleStore],
    clocks: Clocks,
    rng: random.Random,
    ticks: int,
    files: list[str],
    over: Callable[[], None],
    lease: float = 1.0,
) -> int:
    """Three schedulers; the one whose turn it is is killed somewhere in each second tick. `over` lets leases
    end. Returns how many were killed."""
    names = count(1)

    def another() -> Scheduler:
        return Scheduler(app, open_store(), f"beat {next(names)}", lease)

    schedulers, killed = [another() for _ in range(3)], 0
    for _ in range(ticks):
        # The clock goes on by about ten minutes, stands still, is set forward or back.
        clocks.step(rng.choice([600, 600, 900, 900, 1200, 2700, -1800, 0, 0.3]))
        clocks.ticks += 0.2
        place = rng.randrange(3)
        try:
            with killed_at(rng.randint(0, 700), files):
                schedulers[place].tick()
        except Killed:
            killed += 1
            schedulers[place] = another()
        if rng.random() < 0.7:
            over()
    # What is left: whoever leads brings everything up to the latest time that there was.
    over()
    clocks.wall = clocks.latest
    for _ in range(40):
        schedulers[0].tick()
    return killed


def check(app: Celery, broker: Broker, start: float, clocks: Clocks) -> int:
    found = sent(broker, 100_000)
    for name, said in app.conf.beat_schedule.items():
        due = expected(app, name, start, clocks.latest)
        occurrences = found.get(name, Counter())
        assert occurrences == Counter(set(occurrences)), f"{name}: something was sent twice"
        if said["catch_up"] == "all":
            assert sorted(occurrences) == due, name
        else:
            assert set(occurrences) <= set(due), name
            assert occurrences
    return sum(counter.total() for counter in found.values())


@pytest.mark.parametrize("zone", DAYS)
def test_three_schedulers_that_are_killed_around_500_ticks_send_each_occurrence_once(zone: str) -> None:
    killed = messages = 0
    for noon in DAYS[zone]:
        start = datetime.fromisoformat(noon).replace(tzinfo=ZoneInfo(zone)).timestamp()
        clocks = Clocks(start)
        app = app_of(zone, clocks, PLAN)
        store = MemoryStore(now=lambda clocks=clocks: clocks.wall, ticks=lambda clocks=clocks: clocks.ticks)

        def over(clocks: Clocks = clocks) -> None:
            clocks.ticks += 1.0

        def open_store(store: MemoryStore = store) -> ScheduleStore:
            return MemorySchedules(store, "once")

        Scheduler(app, open_store(), "first", 1.0).tick()
        over()
        rng = random.Random(noon)
        killed += in_a_thread(run_and_kill, app, open_store, clocks, rng, 250, KILLED_IN, over)
        messages += check(app, MemoryBroker(store), start, clocks)
        assert clocks.latest - start > timedelta(hours=20).total_seconds(), "the odd night is not over"
    assert killed > 200
    assert messages > 500


# A killed leader leaves its connection as it is.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("driver", ["redis", "sqlite"])
def test_a_leader_killed_within_its_store_sends_each_occurrence_once(
    driver: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("redis_db") if driver == "redis" else f"sqlite:///{tmp_path}/celeriac.db"
    files = KILLED_IN_REDIS if driver == "redis" else KILLED_IN_SQLITE
    start = datetime.fromisoformat(DAYS["Europe/Berlin"][0]).replace(tzinfo=ZoneInfo("UTC")).timestamp()
    clocks = Clocks(start)
    app = app_of("Europe/Berlin", clocks, PLAN)
    stores: list[ScheduleStore] = []

    def open_store() -> ScheduleStore:
        stores.append(opening.open_schedules(url, "once"))
        return stores[-1]

    def over() -> None:
        until(lambda: stores[0].leader() == "")

    broker = opening.open_broker(url)
    try:
        watching = open_store()
        first = Scheduler(app, watching, "first", 0.03)
        until(lambda: first.tick() >= 0 and first.term > 0)
        over()
        killed = in_a_thread(run_and_kill, app, open_store, clocks, random.Random(1), 90, files, over, 0.03)
        assert killed > 30
        assert check(app, broker, start, clocks) > 60
    finally:
        broker.close()
        for store in stores:
            store.close()
        gc.collect()
