"""Plans are kept beside the messages that come of them: one leader sends each occurrence exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import msgspec
import pytest

from celeriac.exceptions import Fenced, OperationalError
from celeriac.message import Depth
from celeriac.planned import HISTORY, Change, Plan
from celeriac.ports import Broker, ScheduleStore
from celeriac.testing.conformance.rig import ODD_NAMES, Opened, all_of, message, names, until

#: Seconds of a lease that shall not run out, and of one that shall.
LONG, SHORT = 60.0, 0.05

Open = Callable[[], ScheduleStore]


class ScheduleConformance(Opened):
    """Everything that `ScheduleStore` promises. `open_schedules` opens the plans of one group; its messages
    go to the store of `open_broker`."""

    @pytest.fixture
    def open_schedules(self) -> Open:
        raise NotImplementedError("override the fixture open_schedules: a function that opens a connection")

    @pytest.fixture
    def opened(self, open_schedules: Open) -> Iterator[Open]:
        with ExitStack() as stack:

            def opened() -> ScheduleStore:
                store = open_schedules()
                stack.callback(store.close)
                return store

            yield opened

    @pytest.fixture
    def schedules(self, opened: Open) -> ScheduleStore:
        return opened()

    # --- plans --------------------------------------------------------------------------------------------

    def test_a_plan_is_kept_as_it_was_written(self, schedules: ScheduleStore, opened: Open) -> None:
        plan = Plan("a", '{"é": 1}', 1_800_000_000_123, 1_800_000_000_456, 7, 1_700_000_000_001, "id", False)
        assert schedules.write([Change(plan)]) == [True]
        (kept,) = opened().plans()
        assert msgspec.structs.replace(kept, version=0) == plan
        assert kept.version > 0
        assert schedules.plans(["a", "other"]) == [kept]
        assert schedules.plans(["other"]) == schedules.plans([]) == []

    def test_who_writes_must_have_read_the_last_version(self, schedules: ScheduleStore) -> None:
        plan = put(schedules, "a")
        first = msgspec.structs.replace(plan, spec="first")
        second = msgspec.structs.replace(plan, spec="second")
        assert schedules.write([Change(first), Change(second)]) == [True, False]
        assert schedules.write([Change(Plan("a", "third"))]) == [False]
        assert [kept.spec for kept in schedules.plans()] == ["first"]

    def test_a_plan_that_was_removed_and_made_again_is_another(self, schedules: ScheduleStore) -> None:
        old = put(schedules, "a")
        assert schedules.remove(["a", "unknown"]) == 1
        until(lambda: time.time_ns() // 1_000_000 != old.version)
        put(schedules, "a", spec="new")
        assert schedules.write([Change(old)]) == [False]
        assert schedules.remove(["a"]) == 1
        assert schedules.plans() == []
        assert schedules.tick("s", LONG, 10, 9).plans == []

    def test_plans_come_in_the_order_of_their_names(self, schedules: ScheduleStore) -> None:
        for name in ("b", "c", "a"):
            put(schedules, name)
        assert [plan.name for plan in schedules.plans()] == ["a", "b", "c"]
        assert [plan.name for plan in schedules.plans(["c", "a"])] == ["a", "c"]

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_a_plan_may_have_an_odd_name(self, schedules: ScheduleStore, name: str) -> None:
        plan = put(schedules, name, due=5)
        assert schedules.tick("s", LONG, 10, 9).plans == [plan]
        assert schedules.write([Change(plan, notes=(b"1",))]) == [True]
        assert schedules.history(name, 9) == [b"1"]
        assert schedules.remove([name]) == 1
        assert schedules.history(name, 9) == []

    def test_the_last_notes_are_kept_the_newest_first(self, schedules: ScheduleStore) -> None:
        put(schedules, "a")
        for n in range(0, HISTORY + 10, 2):
            (plan,) = schedules.plans()
            assert schedules.write([Change(plan, notes=(b"%d" % n, b"%d" % (n + 1)))]) == [True]
        notes = schedules.history("a", 1000)
        assert notes == [b"%d" % n for n in range(HISTORY + 9, 9, -1)]
        assert schedules.history("a", 2) == notes[:2]
        assert schedules.history("a", 0) == schedules.history("other", 5) == []

    # --- ticks --------------------------------------------------------------------------------------------

    def test_what_is_due_comes_first_due_first_and_no_more_than_wanted(
        self, schedules: ScheduleStore
    ) -> None:
        for name, due in (("late", 30), ("soon", 10), ("middle", 20), ("paused", 0), ("far", 99)):
            put(schedules, name, due=due)
        tick = schedules.tick("s", LONG, 30, 2)
        assert [plan.name for plan in tick.plans] == ["soon", "middle"]
        assert tick.upcoming == 30
        tick = schedules.tick("s", LONG, 30, 9)
        assert [plan.name for plan in tick.plans] == ["soon", "middle", "late"]
        assert tick.upcoming == 99
        assert schedules.tick("s", LONG, 5, 9).upcoming == 10

    def test_what_moved_on_is_due_no_more(self, schedules: ScheduleStore) -> None:
        plan = put(schedules, "a", due=10)
        assert schedules.write([Change(msgspec.structs.replace(plan, due=20))]) == [True]
        assert schedules.tick("s", LONG, 15, 9).plans == []
        (plan,) = schedules.tick("s", LONG, 20, 9).plans
        assert schedules.write([Change(msgspec.structs.replace(plan, due=0))]) == [True]
        tick = schedules.tick("s", LONG, 99, 9)
        assert (tick.plans, tick.upcoming) == ([], 0)

    # --- leading ------------------------------------------------------------------------------------------

    def test_one_scheduler_leads_and_the_others_see_nothing(
        self, schedules: ScheduleStore, opened: Open
    ) -> None:
        put(schedules, "a", due=1)
        other = opened()
        first = schedules.tick("one", LONG, 9, 9)
        assert first.term > 0
        assert len(first.plans) == 1
        assert schedules.leader() == other.leader() == "one"
        second = other.tick("two", LONG, 9, 9)
        assert (second.term, second.plans) == (0, [])
        assert schedules.tick("one", LONG, 9, 9).term == first.term

    def test_a_lease_that_ran_out_is_another_ones(self, schedules: ScheduleStore, opened: Open) -> None:
        other = opened()
        term = schedules.tick("one", SHORT, 9, 9).term
        until(lambda: other.tick("two", LONG, 9, 9).term > 0)
        assert other.tick("two", LONG, 9, 9).term > term
        assert schedules.leader() == "two"
        assert schedules.tick("one", LONG, 9, 9).term == 0

    def test_who_resigns_lets_another_lead_at_once(self, schedules: ScheduleStore, opened: Open) -> None:
        term = schedules.tick("one", LONG, 9, 9).term
        schedules.resign("two")
        assert schedules.leader() == "one"
        schedules.resign("one")
        assert schedules.leader() == ""
        assert opened().tick("two", LONG, 9, 9).term > term

    def test_a_fallen_leader_sends_nothing(
        self, schedules: ScheduleStore, opened: Open, broker: Broker
    ) -> None:
        plan = put(schedules, "a", due=1)
        term = schedules.tick("one", LONG, 9, 9).term
        schedules.resign("one")
        opened().tick("two", LONG, 9, 9)
        with pytest.raises(Fenced):
            schedules.write([Change(plan, (message("m"),))], "one", term)
        assert broker.depth(["celery"])["celery"] == Depth()
        assert schedules.plans() == [plan]

    def test_a_leader_of_an_earlier_term_is_a_fallen_one(self, schedules: ScheduleStore) -> None:
        plan = put(schedules, "a", due=1)
        term = schedules.tick("one", LONG, 9, 9).term
        schedules.resign("one")
        again = schedules.tick("one", LONG, 9, 9).term
        with pytest.raises(Fenced):
            schedules.write([Change(plan)], "one", term)
        assert schedules.write([Change(plan)], "one", again) == [True]

    # --- sending ------------------------------------------------------------------------------------------

    def test_messages_go_out_in_the_step_that_moves_their_plan(
        self, schedules: ScheduleStore, broker: Broker
    ) -> None:
        one, two = put(schedules, "one", due=1), put(schedules, "two", due=1)
        stale = msgspec.structs.replace(two, version=two.version + 1)
        made = schedules.write(
            [
                Change(msgspec.structs.replace(one, due=5), (message("a"), message("b"))),
                Change(stale, (message("never"),)),
            ]
        )
        assert made == [True, False]
        assert broker.depth(["celery"])["celery"] == Depth(ready=2)
        assert broker.queues() == ["celery"]

    def test_a_message_with_an_eta_waits_for_it(self, schedules: ScheduleStore, broker: Broker) -> None:
        plan = put(schedules, "a")
        later = message("later", eta=time.time() + 3600)
        assert schedules.write([Change(plan, (later, message("now")))]) == [True]
        assert broker.depth(["celery"])["celery"] == Depth(ready=1, delayed=1)

    def test_a_waiting_child_is_woken_by_it(
        self, schedules: ScheduleStore, hire: Callable[..., object], threads: ThreadPoolExecutor
    ) -> None:
        child = hire()
        waiting = threads.submit(child.claim_names, wait=10.0)  # type: ignore[attr-defined]
        assert schedules.write([Change(put(schedules, "a"), (message("m"),))]) == [True]
        assert waiting.result(10.0) == ["m"]

    def test_of_eight_that_send_the_same_occurrence_one_does(
        self, opened: Open, broker: Broker, threads: ThreadPoolExecutor, hire: Callable[..., object]
    ) -> None:
        stores = [opened() for _ in range(8)]
        plan = put(stores[0], "a", due=1)
        for turn in range(10):
            changes = [Change(plan, (message(f"{turn} by {n}"),)) for n in range(8)]
            made = all_of(
                threads.submit(store.write, [change]) for store, change in zip(stores, changes, strict=True)
            )
            assert made.count([True]) == 1
            assert broker.depth(["celery"])["celery"] == Depth(ready=turn + 1)
            (plan,) = stores[0].plans()
        claims = hire().claim_all()  # type: ignore[attr-defined]
        assert [name.split()[0] for name in names(claims)] == [str(turn) for turn in range(10)]

    def test_many_changes_are_made_in_one_call(self, schedules: ScheduleStore, broker: Broker) -> None:
        plans = [Plan(f"plan {n}", "{}", due=n + 1) for n in range(1200)]
        assert schedules.write([Change(plan) for plan in plans]) == [True] * 1200
        due = schedules.tick("s", LONG, 5000, 5000)
        assert len(due.plans) == 1200
        changes = [
            Change(msgspec.structs.replace(plan, due=0), (message(plan.name),), (b"note",))
            for plan in due.plans
        ]
        assert schedules.write(changes, "s", due.term) == [True] * 1200
        assert schedules.write(changes, "s", due.term) == [False] * 1200
        assert broker.depth(["celery"])["celery"] == Depth(ready=1200)

    def test_closed_twice_it_does_nothing_more(self, opened: Open) -> None:
        schedules = opened()
        schedules.close()
        schedules.close()
        with pytest.raises(OperationalError):
            schedules.plans()


def put(schedules: ScheduleStore, name: str, spec: str = "{}", due: int = 0) -> Plan:
    """A plan as it lies there."""
    assert schedules.write([Change(Plan(name, spec, occurrence=due, due=due))]) == [True]
    (plan,) = schedules.plans([name])
    return plan
