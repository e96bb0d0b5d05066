"""Chords on Redis are counted as packed runs; where a stock worker may count too, in Celery's own keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import structs

from celeriac import Celery, chord
from celeriac.drivers.opening import open_broker
from celeriac.entities import Broadcast, Queue
from celeriac.message import Binding, Claim, Count, Outcome
from celeriac.testing.conformance.counting import counted, members, told
from celeriac.testing.conformance.rig import Child
from celeriac.worker.execute import Executor, Job

#: Celery's keys of the chord "chord", and ours.
KEY = "celery-taskset-meta-chord"


class Fleet:
    """A worker of ours on Redis, and what a stock worker would leave there."""

    def __init__(self, url: str) -> None:
        self.broker: Any = open_broker(url, url)
        self.child = Child(self.broker, "owner", "node", 60.0, ["celery"])

    def ends(self, *ended: tuple[Claim, Count]) -> None:
        self.child.settle(*(Outcome(claim.number, counts=(count,)) for claim, count in ended))

    def stock_worker_starts(self) -> None:
        self.call("SADD", "_kombu.binding.celery.pidbox", "x")

    def stock_worker_counts(self, index: int, value: str) -> None:
        assert self.call("SADD", f"{KEY}.d", f"member {index}:{index}") == 1
        self.call("ZADD", f"{KEY}.j", index, f'[1, "member {index}", "SUCCESS", {value}]')

    def call(self, *command: Any) -> Any:
        return self.broker._operate(*command)

    def keys(self) -> set[str]:
        return {key.decode().removeprefix(KEY) for key in self.call("KEYS", f"{KEY}*")}

    def bodies(self) -> list[dict[str, object]]:
        return [told(body) for body in self.child.claim(want=9)]

    def nothing_is_left(self) -> bool:
        return self.keys() <= {".c"} and not self.call("EXISTS", "celeriac:chords")


@pytest.fixture
def fleet(redis_db: str) -> Iterator[Fleet]:
    fleet = Fleet(redis_db)
    yield fleet
    fleet.broker.close()


def values(*indexes: int) -> list[int]:
    return [10 * index for index in indexes]


def test_where_no_stock_worker_is_members_are_counted_in_packed_runs(fleet: Fleet) -> None:
    claims = members(fleet.child, 5)
    fleet.ends(*((claims[n], counted(n, 5)) for n in (2, 3, 0)))
    assert fleet.keys() == {".p"}
    assert 0 < fleet.call("PTTL", f"{KEY}.p") <= 60_000
    fleet.ends((claims[4], counted(4, 5)), (claims[1], counted(1, 5)))
    assert [body["values"] for body in fleet.bodies()] == [values(0, 1, 2, 3, 4)]
    assert fleet.nothing_is_left()


def test_BCK_5_what_was_counted_goes_to_celerys_keys_when_a_stock_worker_starts(fleet: Fleet) -> None:
    claims = members(fleet.child, 4)
    fleet.ends((claims[2], counted(2, 5)), (claims[0], counted(0, 5)))
    fleet.stock_worker_starts()
    fleet.ends((claims[1], counted(1, 5)))
    assert fleet.keys() == {".b", ".d", ".j"}
    assert 0 < fleet.call("PTTL", f"{KEY}.j") <= 60_000
    fleet.stock_worker_counts(4, "40")
    fleet.ends((claims[3], counted(3, 5)))
    assert [body["values"] for body in fleet.bodies()] == [values(0, 1, 2, 3, 4)]
    assert fleet.nothing_is_left()


def test_BCK_5_a_heartbeat_ends_a_chord_whose_last_member_a_stock_worker_counted(fleet: Fleet) -> None:
    claims = members(fleet.child, 2)
    fleet.ends(*((claims[n], counted(n, 3)) for n in (0, 1)))
    fleet.stock_worker_starts()
    fleet.stock_worker_counts(2, "7")
    fleet.broker.beat("node", 60.0)
    assert fleet.bodies() == [{"name": "body", "values": [0, 10, 7], "parent": "member 1", "root": "root 1"}]
    assert fleet.nothing_is_left()
    fleet.broker.beat("node", 60.0)
    assert fleet.bodies() == []


def test_BCK_5_a_heartbeat_breaks_it_too_if_one_of_ours_failed(fleet: Fleet) -> None:
    (claim,) = members(fleet.child, 1)
    fleet.ends((claim, counted(0, 2, failed=True)))
    fleet.stock_worker_counts(1, "7")
    fleet.broker.beat("node", 60.0)
    assert [body["name"] for body in fleet.bodies()] == ["broken"]
    assert fleet.nothing_is_left()


def test_a_heartbeat_hands_over_what_is_not_whole_and_leaves_it_where_no_stock_worker_is(
    fleet: Fleet,
) -> None:
    (claim,) = members(fleet.child, 1)
    fleet.ends((claim, counted(0, 2)))
    fleet.broker.beat("node", 60.0)
    assert fleet.keys() == {".p"}
    fleet.stock_worker_starts()
    fleet.broker.beat("node", 60.0)
    assert fleet.keys() == {".d", ".j"}
    assert fleet.call("ZRANGE", f"{KEY}.j", 0, -1) == [b'[1, "member 0", "SUCCESS", 0]']
    assert fleet.call("SMEMBERS", f"{KEY}.d") == [b"member 0:0"]
    assert not fleet.call("EXISTS", "celeriac:chords")


def test_a_heartbeat_forgets_a_chord_whose_time_is_over(fleet: Fleet) -> None:
    (claim,) = members(fleet.child, 1)
    fleet.ends((claim, counted(0, 2)))
    fleet.call("DEL", f"{KEY}.p")
    fleet.broker.beat("node", 60.0)
    assert not fleet.call("EXISTS", "celeriac:chords")


def test_a_member_that_is_counted_twice_with_another_value_counts_once_before_and_after_a_hand_over(
    fleet: Fleet,
) -> None:
    claims = members(fleet.child, 6)
    fleet.ends((claims[0], counted(0, 3)), (claims[1], counted(1, 3)))
    fleet.ends((claims[2], counted(1, 3, value="999")))
    assert fleet.bodies() == []
    fleet.stock_worker_starts()
    fleet.ends((claims[3], counted(0, 3, value="999")))
    assert fleet.bodies() == []
    fleet.ends((claims[4], counted(2, 3)))
    assert [body["values"] for body in fleet.bodies()] == [values(0, 1, 2)]
    fleet.ends((claims[5], counted(2, 3)))
    assert fleet.nothing_is_left()


def test_a_member_that_nobody_can_read_fails_a_stock_producers_chord_also_as_the_last_one(
    fleet: Fleet,
) -> None:
    fleet.stock_worker_starts()
    fleet.call("SET", f"{KEY}.s", 2)
    claims = members(fleet.child, 2)
    fleet.ends((claims[0], counted(0, 2)))
    assert 0 < fleet.call("PTTL", f"{KEY}.b") <= 60_000
    fleet.ends((claims[1], structs.replace(counted(1, 0, failed=True), body=(), broken=())))
    (broken,) = fleet.bodies()
    assert (broken["name"], broken["failed"]) == ("broken", "member 1")
    assert fleet.nothing_is_left()


def test_a_group_that_was_saved_is_counted_in_celerys_keys(fleet: Fleet) -> None:
    claims = members(fleet.child, 2)
    fleet.call(
        "SET", KEY, '{"result": [["chord", null], [[["member 0", null], null], [["member 1", null], null]]]}'
    )
    fleet.ends((claims[1], counted(1, 2)))
    assert fleet.keys() == {"", ".b", ".d", ".j"}
    fleet.ends((claims[0], counted(0, 2)))
    assert [body["values"] for body in fleet.bodies()] == [values(0, 1)]


def test_thousands_of_members_are_handed_over_and_all_in_the_body(fleet: Fleet) -> None:
    # More than Lua can spread as arguments of one call.
    size = 9000
    claims = members(fleet.child, size)
    for n in reversed(range(0, size, 500)):
        fleet.ends(*((claims[i], counted(i, size)) for i in reversed(range(n, n + 500))))
        if n == 500:
            fleet.stock_worker_starts()
    assert [body["values"] for body in fleet.bodies()] == [values(*range(size))]


def test_thousands_of_members_one_by_one_are_all_in_the_body(fleet: Fleet) -> None:
    size = 9000
    claims = members(fleet.child, size)
    for n in reversed(range(0, size, 500)):
        fleet.ends(*((claims[i], counted(i, size)) for i in reversed(range(n, n + 500))))
    assert [body["values"] for body in fleet.bodies()] == [values(*range(size))]
    assert fleet.nothing_is_left()


def test_a_body_that_goes_to_all_who_listen_is_not_told_before_it_is_sent(redis_db: str) -> None:
    with Celery("chords", broker=redis_db, backend=redis_db, set_as_current=False) as app:
        app.conf.update(task_queues=[Queue("celery"), Broadcast("all")], task_routes={"total": "all"})
        add, total = app.task(name="add")(lambda n: n), app.task(name="total")(sum)
        app.broker.bind([Binding("all", "bcast.all.w", "", "fanout")], 60.0)
        listening = app.bus.listen(["all*"])
        chord([add.s(1), add.s(2)], total.s())()
        app.broker.consume(["celery"])
        app.broker.enlist("owner", "node", 60.0)
        executor = Executor(app, "w")
        claims = app.broker.turn("owner", (), 9)
        jobs = [executor.prepare(claim) for claim in claims]
        app.broker.turn("owner", [job.run() for job in jobs if isinstance(job, Job)], 0)
        assert app.broker.depth(["bcast.all.w"])["bcast.all.w"].ready == 1
        app.bus.say("all", b"the end")
        assert listening.hear(10) == [("all", b"the end")]
        listening.close()
