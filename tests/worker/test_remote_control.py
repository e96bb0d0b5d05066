"""A worker answers, obeys and tells of its tasks, on every kind of pool and driver, also while it is busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from celeriac.control import Inspect
from celeriac.conversation import Conversation
from celeriac.events.event import Fields
from celeriac.exceptions import TaskRevokedError, TimeoutError
from celeriac.message import Depth
from celeriac.wire.broadcast import Command, new_tag, pack_command
from celeriac.worker.presence import UNHEARD
from celeriac.worker.switchboard import PAUSE
from conftest import demand
from services import PATIENCE, RedisServer
from stand import Stand, family, lines, until

#: Pool, driver and rooms of the workers that all tests share.
KINDS = [("prefork", "redis", 2), ("prefork", "sqlite", 1), ("threads", "redis", 4), ("solo", "sqlite", 1)]


class Node(Stand):
    """A stand with one worker."""

    def __init__(self, kind: str, rooms: int, url: str, folder: Path) -> None:
        super().__init__(url, folder)
        self.kind, self.rooms = kind, rooms
        self.worker = self.start("-P", kind, "-c", str(rooms), "-n", "n@test", "-E")

    @property
    def ask(self) -> Inspect:
        return self.client.control.inspect(timeout=PATIENCE)

    def counted(self, task: str) -> int:
        """How many runs of it its stats tell."""
        return int(self.ask.stats()["n@test"]["total"].get(task, 0))  # type: ignore[index]

    def say(self, command: str, **arguments: Any) -> Any:
        """What it says to a command."""
        replies = self.client.control.broadcast(command, arguments, reply=True, timeout=PATIENCE)
        assert replies is not None
        ((answer),) = replies
        return answer["n@test"]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    demand("redis-server", RedisServer.executable() is not None)
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(map(str, kind[:2])))
def node(
    request: pytest.FixtureRequest, server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    pool, driver, rooms = request.param
    folder = tmp_path_factory.mktemp(pool)
    url = f"sqlite:///{folder}/store.db"
    if driver == "redis":
        url = f"{server.url.removesuffix('0')}{KINDS.index(request.param)}"
    node = Node(pool, rooms, url, folder)
    yield node
    node.close()
    print(node.worker.output)


@pytest.fixture
def busy(node: Node) -> Iterator[str]:
    """The id of a task that runs until the test is over."""
    gate, begun = node.path("gate"), node.path("begun")
    result = node.send("wait_for", str(gate), str(begun))
    until(lambda: lines(begun))
    yield result.id
    gate.touch()
    result.get(timeout=PATIENCE)


# --- asking


def test_RC_2_all_that_can_be_asked_is_answered_while_it_is_busy(node: Node, busy: str) -> None:
    ask = node.ask
    assert ask.ping() == {"n@test": {"ok": "pong"}}
    assert node.client.control.ping() == [{"n@test": {"ok": "pong"}}]
    (running,) = ask.active()["n@test"]  # type: ignore[index]
    assert running["id"] == busy
    assert (running["name"], running["type"], running["hostname"]) == (*("main.wait_for",) * 2, "n@test")
    assert abs(running["time_start"] - time.time()) < PATIENCE
    assert running["acknowledged"] is False
    assert running["delivery_info"]["routing_key"] == "celery"
    assert ask.reserved() == {"n@test": []}
    assert ask.registered()["n@test"].count("main.f") == 1  # type: ignore[index]
    assert "main.f [max_retries=3]" in ask.registered("max_retries", "rate_limit")["n@test"]  # type: ignore[index]
    assert [queue["name"] for queue in ask.active_queues()["n@test"]] == ["celery"]  # type: ignore[index]
    asked = ask.query_task(busy, "unknown")
    assert asked is not None
    # Since when it runs is noted a moment after it has begun.
    asked["n@test"][busy][1]["time_start"] = running["time_start"]
    assert asked == {"n@test": {busy: ["active", running]}}
    assert ask.conf()["n@test"]["task_unknown_delay"] == 0.5  # type: ignore[index]
    assert "software -> celeriac:" in ask.report()["n@test"]["ok"]  # type: ignore[index]
    assert ask.clock()["n@test"]["clock"] > 0  # type: ignore[index]
    assert ask.memsample()["n@test"].endswith("MB")  # type: ignore[index]
    assert len(ask.memdump()["n@test"]) == 1  # type: ignore[index]
    assert ask.hello("other@test")["n@test"].keys() == {"revoked", "clock"}  # type: ignore[index]
    assert "not offered" in ask.objgraph()["n@test"]["error"]  # type: ignore[index]


def test_RC_6_its_stats_count_what_it_ran(node: Node) -> None:
    before = node.counted("main.f")
    for result in [node.send("f", n) for n in range(5)]:
        result.get(timeout=PATIENCE)
    until(lambda: node.counted("main.f") == before + 5, what="all are counted")
    stats = node.ask.stats()["n@test"]  # type: ignore[index]
    assert stats["pid"] == node.worker.pid
    assert stats["pool"]["max-concurrency"] == node.rooms
    assert stats["broker"]["transport"] in node.url
    assert stats["rusage"].keys() >= {"utime", "stime", "maxrss"}
    assert stats["events_ever_lost"] == 0


def test_what_waits_for_its_time_is_shown(node: Node) -> None:
    later = node.send("f", "later", countdown=600)
    (shown,) = node.ask.scheduled()["n@test"]  # type: ignore[index]
    assert (shown["request"]["id"], shown["request"]["args"], shown["priority"]) == (later.id, ["later"], 6)
    assert node.ask.query_task(later.id)["n@test"][later.id][0] == "scheduled"  # type: ignore[index]
    later.revoke()
    assert later.id in node.ask.revoked()["n@test"]  # type: ignore[index]
    node.broker.purge("celery")


def test_RC_4_a_mistake_is_answered_with_an_error(node: Node) -> None:
    assert "KeyError" in node.say("no_such_command")["error"]
    assert "TypeError" in node.say("rate_limit")["error"]
    assert node.say("rate_limit", task_name="no", rate_limit="1/s") == {"error": "unknown task"}
    assert "Invalid rate limit" in node.say("rate_limit", task_name="main.f", rate_limit="1/x")["error"]
    assert node.say("time_limit", task_name="no", hard=1) == {"error": "unknown task"}
    assert "Autoscale not enabled" in node.say("autoscale", max=2, min=1)["error"]
    assert "Pool restarts not enabled" in node.say("pool_restart")["error"]
    assert "ValueError" in node.say("time_limit", task_name="main.f", soft="soon")["error"]
    assert "is a text, not 5" in node.say("add_consumer", queue=5)["error"]
    assert "cannot be printed" in node.say("add_consumer", queue="a\ud800")["error"]
    assert node.say("terminate", signal="KILL", task_id="unknown") == {"ok": "terminate: tasks unknown"}


def test_what_is_no_command_is_told_of_and_harms_nobody(node: Node) -> None:
    odd: list[dict[str, Any]] = [{"destination": 5}, {"pattern": 5}, {"expires": "soon"}, {"method": {}}]
    for fields in odd:
        command = Command(**{"method": "ping", "arguments": {}, **fields})
        node.client.bus.say("celery.pidbox", pack_command(command, "celery.pidbox", "reply.celery.pidbox"))
    raw = (b"[" * 100_000, b'{"body": "", "headers": 5}', b'{"body": "", "content-type": []}')
    for payload in raw:
        node.client.bus.say("celery.pidbox", payload)
    node.worker.wait_for_line("on the channel of remote control is no command", times=len(odd) + len(raw))
    assert node.ask.ping() == {"n@test": {"ok": "pong"}}


def test_RC_8_commands_of_ones_own_run_beside_the_worker(node: Node, tmp_path: Path) -> None:
    assert node.ask.ask("who_am_i", greeting="here is") == {"n@test": "here is n@test"}
    assert "no such thing" in node.ask.ask("break_down")["n@test"]["error"]
    note = tmp_path / "note"
    node.client.control.broadcast("leave_a_note", path=str(note))
    until(lambda: lines(note) == ["from n@test"])


def test_only_those_who_are_meant_answer(node: Node) -> None:
    control = node.client.control
    assert control.ping(destination=["other@test"], timeout=0.05) == []
    assert control.ping(destination="n@test") == [{"n@test": {"ok": "pong"}}]
    assert control.inspect(destination="n@test", timeout=PATIENCE).ping() == {"ok": "pong"}
    assert control.broadcast("ping", reply=True, pattern="n@*", timeout=PATIENCE) != []
    assert control.broadcast("ping", reply=True, pattern=r"^n@t.st$", matcher="pcre", timeout=PATIENCE) != []
    assert control.broadcast("ping", reply=True, pattern="m*", timeout=0.05) == []


def test_who_asks_may_have_another_clock(node: Node) -> None:
    box = f"{new_tag()}.reply.celery.pidbox"
    with closing(node.client.bus.open_box(box)) as answers:
        Conversation(node.client).say("ping", {}, None, None, None, ticket=new_tag(), box=box, keep=-3600)
        assert answers.hear(PATIENCE)


def test_it_answers_again_at_once_when_the_connection_of_remote_control_was_cut(
    node: Node, server: RedisServer
) -> None:
    server.command("CLIENT", "KILL", "TYPE", "pubsub")
    until(node.ask.ping, timeout=PAUSE / 2, what="an answer")


# --- telling it


def test_queues_come_and_go(node: Node) -> None:
    result = node.send("f", "in another queue", queue="another")
    assert node.say("add_consumer", queue="another") == {"ok": "add consumer another"}
    assert result.get(timeout=PATIENCE) == "in another queue"
    assert node.say("add_consumer", queue="another") == {"ok": "already consuming from 'another'"}
    assert node.say("cancel_consumer", queue="another") == {"ok": "no longer consuming from another"}
    assert node.send("f", 1).get(timeout=PATIENCE) == 1
    node.send("f", 2, queue="another")
    assert node.send("f", 3).get(timeout=PATIENCE) == 3
    assert node.broker.depth(["another"])["another"].ready == 1
    node.broker.purge("another")


def test_a_paused_queue_is_left_alone_until_it_is_resumed(node: Node) -> None:
    control = node.client.control
    assert control.drain("celery", timeout=PATIENCE) == 0
    result = node.send("f", "paused")
    until(lambda: node.broker.depth(["celery"])["celery"] == Depth(ready=1))
    control.resume("celery")
    assert result.get(timeout=PATIENCE) == "paused"


def test_limits_of_rate_and_time_change(node: Node) -> None:
    said = node.say("rate_limit", task_name="main.note", rate_limit="600/m")
    assert said == {"ok": "new rate limit set successfully"}
    ledger = node.path("ledger")
    began = time.monotonic()
    for result in [node.send("note", str(ledger), "x") for _ in range(4)]:
        result.get(timeout=PATIENCE)
    # The first may run before all children know.
    assert time.monotonic() - began > 0.15
    said = node.say("rate_limit", task_name="main.note", rate_limit=0)
    assert said == {"ok": "rate limit disabled successfully"}
    said = node.say("time_limit", task_name="main.soft", soft=0.1, hard=PATIENCE)
    assert said == {"ok": "time limits set successfully"}

    def is_cut_short() -> bool:
        gate = node.path("gate")
        result = node.send("soft", str(gate))
        with suppress(TimeoutError):
            return bool(result.get(timeout=1) == "cleaned up")
        gate.touch()  # this one began before its child knew
        result.get(timeout=PATIENCE)
        return False

    until(is_cut_short)


def test_WRK_9_a_running_task_is_terminated(node: Node) -> None:
    ledger, begun = node.path("ledger"), node.path("begun")
    before = node.counted("main.wants_to_go_on")
    result = node.send("wants_to_go_on", str(ledger), str(begun))
    until(lambda: lines(begun))
    until(lambda: node.counted("main.wants_to_go_on") == before + 1, what="it is counted while it runs")
    (said,) = node.client.control.revoke(
        result.id, terminate=True, signal="SIGKILL", reply=True, timeout=PATIENCE
    )  # type: ignore[misc]
    assert said == {"n@test": {"ok": f"terminate: {result.id}"}}
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=PATIENCE)
    # Its process was killed, or the error was raised where it was.
    assert lines(ledger) == ([] if node.kind == "prefork" else ["Terminated"])
    assert node.send("f", "goes on").get(timeout=PATIENCE) == "goes on"
    until(lambda: node.broker.depth(["celery"])["celery"] == Depth(), what="all is settled")


def test_stamped_tasks_are_revoked_by_their_stamp(node: Node) -> None:
    node.client.control.pause("celery")
    ledger = node.path("ledger")
    stamped = node.send("note", str(ledger), "no", stamped_headers=["customer"], customer="c1")
    wanted = node.send("note", str(ledger), "yes", stamped_headers=["customer"], customer="c2")
    node.client.control.revoke_by_stamped_headers({"customer": ["c1", "c9"]})
    node.client.control.resume("celery")
    wanted.get(timeout=PATIENCE)
    with pytest.raises(TaskRevokedError):
        stamped.get(timeout=PATIENCE)
    assert lines(ledger) == ["yes"]


# --- events


class Hearing:
    """Hears all events of a node while the test goes on."""

    def __init__(self, node: Node) -> None:
        self.events: list[Fields] = []
        self._receiver = node.client.events.Receiver(handlers={"*": self.events.append})
        self._receiver.__enter__()
        self._thread = threading.Thread(target=self._receiver.capture, kwargs={"wakeup": False})
        self._thread.start()

    def of(self, id: str) -> list[str]:
        """By the clock that they carry: what two children say may arrive in another order."""
        told = [event for event in self.events if event.get("uuid") == id]
        return [event["type"] for event in sorted(told, key=lambda event: event["clock"])]

    def one(self, kind: str, id: str | None = None) -> Fields:
        def found() -> list[Fields]:
            return [e for e in self.events if e["type"] == kind and (id is None or e["uuid"] == id)]

        event: Fields = until(found, what=kind)[-1]
        return event

    def close(self) -> None:
        self._receiver.should_stop = True
        self._thread.join(PATIENCE)


@pytest.fixture
def hearing(node: Node) -> Iterator[Hearing]:
    node.say("enable_events")
    hearing = Hearing(node)
    yield hearing
    hearing.close()


def test_EVT_2_every_kind_of_end_is_told(node: Node, hearing: Hearing) -> None:
    quiet = node.send("unnoticed")
    quiet.get(timeout=PATIENCE)
    well = node.send("f", "v")
    bad = node.send("fail", "no")
    again = node.send("second_time_lucky", str(node.path("ledger")), 0.01)
    late = node.send("f", expires=-1)
    for result in (well, bad, again, late):
        result.get(timeout=PATIENCE, propagate=False)
    assert hearing.one("task-succeeded", well.id).items() >= {"result": "'v'", "hostname": "n@test"}.items()
    assert hearing.one("task-succeeded", well.id)["runtime"] >= 0
    assert hearing.of(well.id) == ["task-received", "task-started", "task-succeeded"]
    received = hearing.one("task-received", well.id)
    assert received["name"] == "main.f"
    assert received["args"] == "('v',)"
    assert (received["retries"], received["eta"], received["pid"]) == (0, None, node.worker.pid)
    failed = hearing.one("task-failed", bad.id)
    assert failed["exception"] == "ValueError('no')"
    assert failed["traceback"].endswith("ValueError: no\n")
    hearing.one("task-succeeded", again.id)
    hearing.one("task-retried", again.id)
    assert hearing.of(again.id)[:3] == ["task-received", "task-started", "task-retried"]
    assert hearing.one("task-revoked", late.id)["expired"] is True
    clocks = [event["clock"] for event in hearing.events if event.get("uuid") == well.id]
    assert clocks == sorted(clocks)
    assert hearing.of(quiet.id) == []


def test_EVT_2_a_terminated_task_is_told(node: Node, hearing: Hearing) -> None:
    begun = node.path("begun")
    result = node.send("wants_to_go_on", str(node.path("ledger")), str(begun))
    until(lambda: lines(begun))
    node.client.control.terminate(result.id, signal="SIGTERM")
    revoked = hearing.one("task-revoked", result.id)
    assert revoked["terminated"] is True
    if node.kind == "prefork":
        assert revoked["signum"] == 15


def test_EVT_3_it_tells_of_itself(node: Node, hearing: Hearing) -> None:
    node.client.control.heartbeat()
    beat = hearing.one("worker-heartbeat")
    assert beat["hostname"] == "n@test"
    assert beat.keys() >= {"freq", "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys", "pid"}
    assert beat["sw_ident"] == "py-celeriac"


def test_EVT_3_a_monitor_that_asks_before_it_listens_hears_the_next_heartbeat(node: Node) -> None:
    node.client.control.heartbeat()  # as Flower does: nobody hears the answer
    node.say("ping")
    came = time.monotonic()
    hearing = Hearing(node)
    try:
        hearing.one("worker-heartbeat")
        assert time.monotonic() - came < UNHEARD / 2
    finally:
        hearing.close()


def test_events_are_turned_off_and_on(node: Node, hearing: Hearing) -> None:
    assert node.say("enable_events") == {"ok": "task events already enabled"}

    def run() -> tuple[str, int]:
        """A task, and the process that ran it."""
        result = node.send("where")
        return result.id, result.get(timeout=PATIENCE)[0]

    def silent_meanwhile() -> bool:
        assert node.say("disable_events") == {"ok": "task events disabled"}
        assert node.say("disable_events") == {"ok": "task events already disabled"}
        quiet = dict(run() for _ in range(4))
        assert node.say("enable_events") == {"ok": "task events enabled"}
        later: dict[str, int] = {}

        def heard_of_each() -> bool:
            later.update([run()])
            return {process for id, process in later.items() if hearing.of(id)} >= set(quiet.values())

        # A process tells in order: one that is heard again has told all that it had to tell before.
        until(heard_of_each, what="events are on again in each process")
        return not any(map(hearing.of, quiet))

    until(silent_meanwhile, what="each process has heard in time that events are off")


def test_EVT_6_a_state_is_put_together_from_what_was_heard(node: Node, hearing: Hearing) -> None:
    result = node.send("f", "of state")
    result.get(timeout=PATIENCE)
    hearing.one("task-succeeded", result.id)
    state = node.client.events.State()
    for event in list(hearing.events):
        state.event(event)
    task = state.tasks[result.id]
    assert (task.state, task.name, task.result) == ("SUCCESS", "main.f", "'of state'")
    assert task.worker.hostname == "n@test"
    assert state.workers["n@test"].alive


# --- workers of their own


Start = Callable[..., Stand]


@pytest.fixture
def stand(server: RedisServer, tmp_path: Path) -> Iterator[Stand]:
    with Stand(f"{server.url.removesuffix('0')}9", tmp_path) as stand:
        yield stand


def test_it_answers_while_all_children_hold_the_gil_and_its_pool_grows_and_shrinks(stand: Stand) -> None:
    worker = stand.start("-c", "1", "-n", "n@gil")
    begun = stand.path("begun")
    stand.send("hold_gil", str(begun), 2)
    until(lambda: lines(begun))
    control = stand.client.control
    began = time.monotonic()
    assert [task["name"] for task in control.inspect().active()["n@gil"]] == ["main.hold_gil"]  # type: ignore[index]
    assert control.pool_grow(-9, reply=True) == [{"n@gil": {"ok": "pool will grow"}}]
    assert control.pool_grow(2, reply=True) == [{"n@gil": {"ok": "pool will grow"}}]

    def children() -> int:
        return len(control.inspect().stats()["n@gil"]["pool"]["processes"])  # type: ignore[index]

    until(lambda: children() == 3, what="two more")
    assert stand.send("f", "served by a new one").get(timeout=PATIENCE) == "served by a new one"
    assert time.monotonic() - began < 2
    assert control.pool_shrink(2, reply=True) == [{"n@gil": {"ok": "pool will shrink"}}]
    until(lambda: children() == 1, what="two less")
    assert control.inspect().stats()["n@gil"]["pool"]["max-concurrency"] == 1  # type: ignore[index]
    # The busy one has stayed, and one stays always.
    assert control.pool_shrink(9, reply=True) == [{"n@gil": {"ok": "pool will shrink"}}]
    assert stand.send("f", "still").get(timeout=PATIENCE) == "still"
    control.shutdown()
    assert worker.wait() == 0
    assert "Got shutdown from remote" in worker.output


def test_a_command_of_ones_own_takes_no_child_of_a_gevent_worker_from_its_parent(stand: Stand) -> None:
    worker = stand.start("-P", "gevent", "-c", "2")
    note = stand.path("note")
    until(lambda: family(worker), what="the child")
    (child,) = family(worker)
    stand.client.control.broadcast("leave_a_note", path=str(note))  # by a process of its own, which ends
    until(lambda: lines(note))
    child.kill()
    worker.wait_for_line(rf"pid:{child.pid} exited with 'signal 9 \(SIGKILL\)'")


def test_RC_9_remote_control_can_be_forbidden_and_heartbeats_left_out(stand: Stand) -> None:
    hearing = stand.client.bus.listen(["celeryev/*"])
    stand.start("-c", "1", "--without-heartbeat", "worker.enable_remote_control=false")
    assert stand.client.control.ping(timeout=5) == []
    assert stand.send("f", 1).get(timeout=PATIENCE) == 1
    assert hearing.hear() == []
    hearing.close()
