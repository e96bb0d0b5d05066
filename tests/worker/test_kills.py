"""Every line of docs/states.md: a true worker is killed there, and the message is where the page says."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from celeriac import AsyncResult, Celery
from celeriac.drivers.redis import scripts
from celeriac.exceptions import TaskRevokedError, TimeLimitExceeded, WorkerLostError
from celeriac.message import Depth, Message
from proxy import Cut, Proxy
from services import Program, RedisServer
from worker.killing import AT_ONCE, PATIENCE, Scene, freeze, is_dead, kill, thaw, until

#: Seconds of the lease, where a test waits for its end.
LEASE = 2.0
#: The end of a lease is seen at the next beat of another node, of which there are three in a lease.
TAKEN_OVER = LEASE + LEASE / 3 + AT_ONCE


@pytest.fixture(scope="module", params=["redis", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('kills')}/kills.db"
        return
    with RedisServer() as server:
        yield server.url


@pytest.fixture(scope="module", params=["late", "early"])
def acks(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


early = pytest.mark.parametrize("acks", ["early"], indirect=True, scope="module")
late = pytest.mark.parametrize("acks", ["late"], indirect=True, scope="module")


@pytest.fixture
def scene(url: str, acks: str, tmp_path: Path) -> Iterator[Scene]:
    """Nobody works here yet."""
    scene = Scene(tmp_path, url, acks)
    yield scene
    scene.close()


# --- a producer is killed ---------------------------------------------------------------------------------


@late
@pytest.mark.parametrize(("place", "ready"), [("before publishing", 0), ("published, reply unread", 1)])
def test_a_killed_producers_message_is_there_whole_or_not_at_all(
    scene: Scene, place: str, ready: int
) -> None:
    scene.arm(place)
    assert scene.produce("victim") == -signal.SIGKILL
    assert scene.depth() == Depth(ready=ready)
    scene.start("-c", "1")
    scene.send("work", "next")
    scene.wait_for("next", "end")
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs("victim") == (ready, ready)


# --- a child is killed ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wards(url: str, acks: str) -> Iterator[list[Scene]]:
    """The wards of one store; the last one is in use."""
    wards: list[Scene] = []
    yield wards
    for scene in wards:
        scene.close()


@pytest.fixture
def ward(
    wards: list[Scene], url: str, acks: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """A worker of two children that lives through all the kills of its children; a new one if a test has left
    the last one in disorder."""
    if not wards:
        wards.append(Scene(tmp_path_factory.mktemp("ward"), url, acks))
        wards[-1].start("-c", "2")
    scene = wards[-1]
    yield scene
    if scene.depth() != Depth():
        wards.remove(scene)
        scene.close()


class Killed(NamedTuple):
    """What a kill at one line came to."""

    #: Where the message was when its child was dead and nobody had heard of it yet.
    place: str
    begun: int
    ended: int
    #: That the last run was told; -1 if there was none.
    deliveries: int
    state: str


READY, CLAIMED, DONE = "ready", "claimed", "done"
FAILED = Killed(CLAIMED, 0, 0, -1, "FAILURE")
UNTOUCHED = Killed(CLAIMED, 1, 1, 0, "SUCCESS")


def kill_at(scene: Scene, place: str, **options: Any) -> Killed:
    """Send a victim to a worker of two children, of which one is busy all the time and the other dies."""
    (worker,) = scene.workers
    neighbour, victim, following = scene.words("neighbour", "victim", "next")
    scene.send("hold", neighbour)
    neighbours_pid = scene.wait_for(neighbour, "begin").pid
    scene.arm(f"running {victim}" if place == "running" else place)
    result = scene.send("work", victim, **options)
    dead = scene.wait_for_death()
    where = scene.depth()
    scene.send("work", following)

    thawed = time.time()
    thaw(worker.pid)
    new_child = scene.wait_for(following, "begin")
    assert new_child.pid not in (dead, neighbours_pid)
    assert new_child.time - thawed < AT_ONCE, "the child is replaced at once"
    result.get(timeout=10, propagate=False)
    runs = scene.entries(victim, "begin")
    if runs and where != Depth(claimed=1):
        assert runs[-1].time - thawed < AT_ONCE, "the message is back at once"

    assert not scene.entries(neighbour, "end")
    scene.open_gate(neighbour)
    assert scene.wait_for(neighbour, "end").pid == neighbours_pid
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs(neighbour) == scene.runs(following) == (1, 1)
    if result.state == "FAILURE":
        assert isinstance(result.result, WorkerLostError)
        assert "signal 9 (SIGKILL)" in str(result.result)
    begun, ended = scene.runs(victim)
    return Killed(place_of(where), begun, ended, runs[-1].deliveries if runs else -1, result.state)


def place_of(depth: Depth) -> str:
    """Of the victim; beside it only the neighbour is there, and it is claimed."""
    return {Depth(ready=1, claimed=1): READY, Depth(claimed=2): CLAIMED, Depth(claimed=1): DONE}[depth]


def test_killed_before_the_turn_is_sent(ward: Scene, url: str) -> None:
    # An idle child has sent it to Redis beforehand, and not read what came of it.
    place = CLAIMED if url.startswith("redis") else READY
    for _ in range(5):
        killed = kill_at(ward, "before the turn")
        if killed.place == place:
            assert killed == UNTOUCHED._replace(place=place)
            return
        # A turn was on its way when the trap was set: it has claimed the message, which may even have begun
        # before the next turn sprang the trap. It is tried again.
    pytest.fail(f"the message is never {place}")


def test_killed_when_the_claim_is_made_and_its_reply_unread(ward: Scene) -> None:
    assert kill_at(ward, "claiming, reply unread") == UNTOUCHED


def test_killed_with_a_claim_that_has_not_begun(ward: Scene) -> None:
    assert kill_at(ward, "claimed") == UNTOUCHED


@early
def test_killed_before_the_mark_of_an_early_acknowledgement(ward: Scene) -> None:
    assert kill_at(ward, "before the mark") == UNTOUCHED


@early
def test_killed_between_the_mark_and_the_beginning(ward: Scene) -> None:
    assert kill_at(ward, "marked") == FAILED


def test_killed_when_begun_but_before_the_first_line_of_the_task(ward: Scene) -> None:
    again = Killed(CLAIMED, 1, 1, 1, "SUCCESS")
    assert kill_at(ward, "begun") == (again if ward.acks == "late" else FAILED)


def test_killed_while_the_task_runs(ward: Scene) -> None:
    again, never = Killed(CLAIMED, 2, 1, 1, "SUCCESS"), Killed(CLAIMED, 1, 0, 0, "FAILURE")
    assert kill_at(ward, "running") == (again if ward.acks == "late" else never)


@pytest.mark.parametrize("place", ["finished", "before settling"])
def test_killed_when_finished_but_not_settled(ward: Scene, place: str) -> None:
    again, never = Killed(CLAIMED, 2, 2, 1, "SUCCESS"), Killed(CLAIMED, 1, 1, 0, "FAILURE")
    assert kill_at(ward, place) == (again if ward.acks == "late" else never)


@pytest.mark.parametrize("place", ["settling, reply unread", "settled"])
def test_killed_when_settled(ward: Scene, place: str) -> None:
    assert kill_at(ward, place) == UNTOUCHED._replace(place=DONE)


@late
@pytest.mark.parametrize("place", ["finished", "settling, reply unread", "settled"])
def test_a_follow_up_is_sent_once_wherever_its_child_is_killed(ward: Scene, place: str) -> None:
    link = ward.app.signature("killed_app.follow", queue=ward.queue)
    killed = kill_at(ward, place, link=link)
    # When the task is settled it is its follow-up that the dead child has claimed, in the same step.
    assert killed.place == CLAIMED
    assert killed.begun == (2 if place == "finished" else 1)
    assert ward.runs(f"after-{ward.last('victim')}") == (1, 0)


@late
@pytest.mark.parametrize(
    "place", ["begun", "running", "finished", "before settling", "settling, reply unread", "settled"]
)
def test_a_chords_body_is_sent_once_wherever_the_child_of_its_member_is_killed(
    ward: Scene, place: str
) -> None:
    body = ward.app.signature("killed_app.follow", queue=ward.queue)
    body.freeze()
    kill_at(ward, place, group_id=str(uuid4()), group_index=0, chord={**body, "chord_size": 1})
    sent = f"after-['{ward.last('victim')}']"
    until(lambda: ward.runs(sent) == (1, 0), "the body runs")
    until(lambda: ward.depth() == Depth(), "nothing is left")
    assert ward.runs(sent) == (1, 0)


def test_a_stream_goes_on_when_the_child_that_fills_it_is_killed(ward: Scene) -> None:
    (worker,) = ward.workers
    (victim,) = ward.words("victim")
    ward.arm(f"running {victim}")
    result = ward.send("pour", victim)
    parts = iter(result.stream(timeout=PATIENCE))
    assert next(parts) == "one"
    ward.wait_for_death()
    thaw(worker.pid)
    if ward.acks == "late":
        assert list(parts) == ["two", "three"]
        assert ward.runs(victim) == (2, 1)
    else:
        with pytest.raises(WorkerLostError):
            next(parts)
        assert ward.runs(victim) == (1, 0)


@late
def test_a_delayed_message_waits_in_the_store_whoever_is_killed(scene: Scene) -> None:
    worker = scene.start("-c", "2")
    due = time.time() + 1.5
    scene.send("work", "delayed", countdown=1.5)
    assert scene.depth() == Depth(delayed=1)
    kill(*scene.children(worker))
    scene.send("work", "now")
    scene.wait_for("now", "end")
    until(lambda: scene.depth() == Depth(delayed=1), "the other is settled")
    run = scene.wait_for("delayed", "begin")
    assert due - 0.01 <= run.time < due + AT_ONCE
    assert run.deliveries == 0
    assert scene.wait_until_nothing_waits() == Depth()


def test_neighbours_in_the_batch_of_a_killed_task_lose_nothing_and_are_not_counted(scene: Scene) -> None:
    """Before it those that finished and were not settled, behind it those that had not begun."""
    before, behind = [f"before{n}" for n in range(150)], [f"behind{n}" for n in range(50)]
    results = [scene.send("work", word) for word in [*before, "victim", *behind]]
    scene.arm("running victim")
    worker = scene.start("-c", "1", ready=False)
    scene.wait_for_death()
    thaw(worker.pid)
    assert scene.wait_until_nothing_waits() == Depth()
    for word in behind:
        assert scene.runs(word) == (1, 1), f"{word} had not begun and runs once"
    for word in before:
        begun, ended = scene.runs(word)
        assert begun == ended
        assert begun == 1 or (begun == 2 and scene.acks == "late"), f"{word} ran {begun} times"
    lives = {scene.entries(word, "begin")[-1].deliveries for word in before + behind}
    assert lives == {0}, "only the one that ran is counted"
    assert [scene.entries(word, "begin")[0].time for word in behind] == sorted(
        scene.entries(word, "begin")[0].time for word in behind
    )
    assert scene.runs("victim") == ((2, 1) if scene.acks == "late" else (1, 0))
    lost = sum(result.state == "FAILURE" for result in results)
    # Early, who had finished and not been settled is told as lost: its end was never heard of.
    assert (lost == 0) if scene.acks == "late" else (lost >= 1)


@late
def test_a_poisonous_task_costs_three_children_and_nobody_else_and_can_be_replayed(scene: Scene) -> None:
    before, behind = [f"before{n}" for n in range(200)], [f"behind{n}" for n in range(20)]
    crowd = [scene.send("work", word) for word in before]
    told = scene.app.signature("killed_app.told", queue=scene.queue)
    result = scene.send("poison", "poison", link_error=told)
    crowd += [scene.send("work", word) for word in behind]
    gorged = scene.send("gorge", "gorge")
    neighbour = scene.send("hold", "neighbour", priority=0)
    scene.start("-c", "2")

    with pytest.raises(WorkerLostError, match="3 worker processes died while running this task"):
        result.get(timeout=10)
    scene.wait_for("told", "begin")
    with pytest.raises(MemoryError):
        gorged.get(timeout=10)
    scene.open_gate("neighbour")
    assert neighbour.get(timeout=10) == "neighbour"
    assert scene.wait_until_nothing_waits() == Depth(dead=1)
    assert scene.runs("neighbour") == (1, 1)
    assert [entry.deliveries for entry in scene.entries("poison", "begin")] == [0, 1, 2]
    assert len(scene.entries("told", "begin")) == 1
    assert {one.get(timeout=10) for one in crowd} == {*before, *behind}
    # Who had ended in the batch of a child that died, and was not settled, runs again.
    assert {scene.runs(word) for word in before + behind} <= {(n, n) for n in (1, 2, 3, 4)}
    (letter,) = scene.broker.letters(10)
    assert letter.id == result.id
    assert letter.reason.endswith(": exitcode 70; signal 11 (SIGSEGV); signal 6 (SIGABRT)")

    scene.repair()
    assert scene.broker.replay([letter.id]) == 1
    assert scene.wait_for("poison", "end").deliveries == 0
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.app.AsyncResult(result.id).state == "SUCCESS"


def test_all_rooms_of_a_killed_child_share_its_fate(scene: Scene) -> None:
    """Threads die together: nobody can tell which one was the reason, so each that ran is counted."""
    worker = scene.start("-P", "threads", "-c", "2")
    running = [scene.send("hold", word) for word in ("one", "two")]
    (pid,) = {scene.wait_for(word, "begin").pid for word in ("one", "two")}
    scene.send("work", "waiting")
    assert until(lambda: scene.depth() == Depth(ready=1, claimed=2), "the third waits for a room")
    killed = time.time()
    kill(pid)
    scene.open_gate("one")
    scene.open_gate("two")
    assert scene.wait_for("waiting", "begin").time - killed < AT_ONCE
    for result in running:
        result.get(timeout=10, propagate=False)
    assert scene.wait_until_nothing_waits() == Depth()
    if scene.acks == "late":
        assert [scene.runs(word) for word in ("one", "two")] == [(2, 1), (2, 1)]
        assert {scene.entries(word, "begin")[1].deliveries for word in ("one", "two")} == {1}
    else:
        assert [scene.runs(word) for word in ("one", "two")] == [(1, 0), (1, 0)]
        assert {type(result.result) for result in running} == {WorkerLostError}
    assert scene.runs("waiting") == (1, 1)
    assert worker.running


def test_what_a_hard_limit_killed_never_runs_again(ward: Scene) -> None:
    (late_one,) = ward.words("overdue")
    result = ward.send("hold", late_one, time_limit=0.2)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=10)
    assert ward.wait_until_nothing_waits() == Depth()
    assert ward.runs(late_one) == (1, 0)
    (following,) = ward.words("next")
    assert ward.send("work", following).get(timeout=10) == following


def test_what_was_terminated_never_runs_again(ward: Scene) -> None:
    (unwanted,) = ward.words("unwanted")
    result = ward.send("hold", unwanted)
    ward.wait_for(unwanted, "begin")
    result.revoke(terminate=True, signal="SIGKILL")
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)
    assert ward.wait_until_nothing_waits() == Depth()
    assert ward.runs(unwanted) == (1, 0)
    (following,) = ward.words("wanted")
    assert ward.send("work", following).get(timeout=10) == following


# --- orders to stop ---------------------------------------------------------------------------------------


def test_a_warm_stop_finishes_what_runs_and_leaves_the_rest_uncounted(scene: Scene) -> None:
    worker = scene.start("-c", "2")
    results = hold_two(scene)
    scene.send("work", "waiting")
    worker.signal(signal.SIGTERM)
    worker.wait_for_line("Warm shutdown")
    assert scene.depth() == Depth(ready=1, claimed=2)
    scene.open_gate("one")
    scene.open_gate("two")
    assert worker.wait() == 0
    assert [result.get(timeout=10) for result in results] == ["one", "two"]
    assert scene.depth() == Depth(ready=1)
    assert scene.runs("one") == scene.runs("two") == (1, 1)
    scene.start("-c", "1")
    assert scene.wait_for("waiting", "end").deliveries == 0
    assert scene.wait_until_nothing_waits() == Depth()


@late
def test_a_cold_stop_returns_what_ran(scene: Scene) -> None:
    results = stop_cold(scene)
    assert scene.depth() == Depth(ready=3)
    both_run_again_or_never(scene, results, deliveries=0)
    assert scene.runs("waiting") == (1, 1)


@early
def test_a_cold_stop_fails_what_was_acknowledged_early(scene: Scene) -> None:
    results = stop_cold(scene)
    assert scene.depth() == Depth(ready=1)
    both_run_again_or_never(scene, results, deliveries=0)
    assert scene.runs("waiting") == (1, 1)


def stop_cold(scene: Scene) -> list[AsyncResult[Any]]:
    """By two Ctrl-C, with two tasks running and one waiting."""
    worker = scene.start("-c", "2")
    results = hold_two(scene)
    scene.send("work", "waiting")
    worker.signal(signal.SIGINT)
    worker.wait_for_line("Warm shutdown")
    worker.signal(signal.SIGINT)
    assert worker.wait() == 1
    return results


def test_a_killed_supervisor_takes_its_children_along_and_they_return_everything(scene: Scene) -> None:
    worker = scene.start("-c", "2")
    children = scene.children(worker)
    results = hold_two(scene)
    other = scene.start("-c", "2")
    scene.send("work", "elsewhere")
    scene.wait_for("elsewhere", "end")
    killed = time.time()
    kill(worker.pid)
    if scene.acks == "late":
        assert scene.wait_for("one", "begin", times=2).time - killed < AT_ONCE
        assert scene.wait_for("two", "begin", times=2).time - killed < AT_ONCE
    until(lambda: all(is_dead(child) for child in children), "the children end", AT_ONCE)
    assert time.time() - killed < 2 * AT_ONCE
    both_run_again_or_never(scene, results, deliveries=1, start=False)
    assert other.running


@early
def test_a_claim_that_is_being_marked_when_its_supervisor_dies_runs_once_at_most(scene: Scene) -> None:
    scene.start("-c", "1")
    scene.arm("orphaned while marking")
    result = scene.send("work", "victim")
    until(lambda: not scene.armed("orphaned while marking"), "its child returns all")
    scene.start("-c", "1")
    result.get(timeout=10, propagate=False)
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs("victim") in {(1, 1), (0, 0)}
    assert (result.state == "SUCCESS") == (scene.runs("victim") == (1, 1))


def test_a_killed_node_is_taken_over_when_its_lease_ends(scene: Scene) -> None:
    worker = scene.start("-c", "2", "--lease", str(LEASE))
    results = hold_two(scene)
    scene.start("-c", "2", "--lease", str(LEASE))
    killed = time.time()
    os.killpg(worker.pid, signal.SIGKILL)
    if scene.acks == "late":
        taken = [scene.wait_for(word, "begin", times=2).time for word in ("one", "two")]
        assert max(taken) - killed < TAKEN_OVER
        assert min(taken) - killed > LEASE / 2, "not before the lease ended"
    both_run_again_or_never(scene, results, deliveries=1, start=False)


def test_a_killed_solo_worker_is_taken_over_when_its_lease_ends(scene: Scene) -> None:
    worker = scene.start("-P", "solo", "--lease", str(LEASE))
    result = scene.send("hold", "one")
    scene.wait_for("one", "begin")
    scene.start("-c", "1", "--lease", str(LEASE))
    kill(worker.pid)
    scene.open_gate("one")
    result.get(timeout=10, propagate=False)
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs("one") == ((2, 1) if scene.acks == "late" else (1, 0))


def another_takes_over(scene: Scene, worker: Program) -> None:
    """The worker is about to die with "one" in hand."""
    until(lambda: not worker.running, "the supervisor dies with the claims of its child in hand")
    assert scene.depth() == Depth(claimed=1)
    scene.open_gate("one")
    scene.start("-c", "1", "--lease", str(LEASE))
    assert scene.wait_for("one", "end").deliveries == 1
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs("one") == (2, 1)


@late
def test_a_supervisor_killed_while_it_takes_over_is_taken_over_itself(scene: Scene) -> None:
    worker = scene.start("-c", "1", "--lease", str(LEASE))
    scene.send("hold", "one")
    child = scene.wait_for("one", "begin").pid
    scene.arm("adopted")
    kill(child)
    another_takes_over(scene, worker)


# --- thought dead, and alive ------------------------------------------------------------------------------


def test_a_zombies_late_outcome_is_refused_and_it_works_on_as_a_new_owner(scene: Scene) -> None:
    zombie = scene.start("-c", "1", "--lease", str(LEASE))
    (child,) = scene.children(zombie)
    result = scene.send("hold", "one")
    scene.wait_for("one", "begin")
    saviour = scene.start("-c", "1", "--lease", str(LEASE))
    freeze(zombie.pid, child)
    if scene.acks == "late":
        assert scene.wait_for("one", "begin", times=2).deliveries == 1
    else:
        with pytest.raises(WorkerLostError):
            result.get(timeout=10)
    stored = scene.app.results
    assert stored is not None
    before = stored.load([result.id])
    # The dead man walks: it tells how far it is and ends the task first, and must not be heard.
    (scene.folder / "telling").touch()
    (scene.folder / f"gate one {child}").touch()
    thaw(zombie.pid, child)
    zombie.wait_for_line("The store does not know this child any more")
    assert scene.entries("one", "end")[0].pid == child
    assert stored.load([result.id]) == before
    assert scene.depth() == Depth(claimed=1 if scene.acks == "late" else 0)
    scene.open_gate("one")
    if scene.acks == "late":
        assert result.get(timeout=10) == "one"
        assert scene.runs("one") == (2, 2)
    assert scene.wait_until_nothing_waits() == Depth()

    saviour.stop()
    scene.send("work", "more")
    assert scene.wait_for("more", "end").pid in scene.children(zombie)
    assert scene.wait_until_nothing_waits() == Depth()


@late
def test_a_task_that_holds_the_gil_longer_than_the_lease_runs_once(scene: Scene) -> None:
    scene.start("-c", "1", "--lease", str(LEASE))
    scene.start("-c", "1", "--lease", str(LEASE))
    result = scene.send("grip", "one", LEASE + 1.0)
    assert result.get(timeout=15) == "one"
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs("one") == (1, 1)
    assert scene.entries("one", "begin")[0].deliveries == 0


# --- the wire to Redis breaks, and Redis itself -----------------------------------------------------------

#: Seconds within which a worker consumes again by itself, whatever happened to its store.
RECOVERED = 10.0


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, Proxy]]:
    """A worker that reaches its Redis through a wire that breaks, again and again."""
    with RedisServer() as server, Proxy(server.port) as proxy:
        scene = Scene(tmp_path_factory.mktemp("wire"), server.url)
        scene.start("-c", "1", url=proxy.url)
        scene.send("work", "first").get(timeout=10)
        yield scene, proxy
        scene.close()


@pytest.mark.parametrize("settles", [False, True], ids=["claiming", "settling"])
@pytest.mark.parametrize("cut", list(Cut))
def test_a_turn_whose_wire_breaks_happens_once(wire: tuple[Scene, Proxy], cut: Cut, settles: bool) -> None:
    scene, proxy = wire
    earlier, word = scene.words("earlier", "victim")
    broken = trap(proxy, scripts.TURN, cut, *((b'"SUCCESS"', b"") if settles else (b"", b"killed_app")))
    if not settles:
        # The turn that lies at the bell had passed before the trap was there: this message takes it, and the
        # next turn goes into the trap.
        assert scene.send("work", earlier).get(timeout=10) == earlier
    sent = time.time()
    assert scene.send("work", word).get(timeout=10) == word
    assert broken.wait(10)
    assert time.time() - sent < RECOVERED
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs(word) == (1, 1)
    assert settles or scene.runs(earlier) == (1, 1)
    assert scene.entries(word, "begin")[0].deliveries == 0


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("cut", list(Cut))
def test_a_message_whose_producers_wire_breaks_is_stored_once(
    redis_server: RedisServer, cut: Cut, count: int
) -> None:
    queue = f"{cut.name} {count}"
    messages = [Message(f"{n}", queue, b"the victim") for n in range(count)]
    with (
        Proxy(redis_server.port) as proxy,
        Celery("producer", broker=proxy.url, set_as_current=False) as app,
    ):
        app.broker.publish([Message("first", queue, b"first")])
        broken = proxy.break_at(cut, b"the victim")
        app.broker.publish(messages)
        assert broken.wait(10)
        app.broker.publish([Message("last", queue, b"last")])
        assert app.broker.peek(queue, 9) == [b"first", *(m.payload for m in messages), b"last"]
        app.broker.purge(queue)


@pytest.mark.parametrize("script", ["ADOPT", "TURN"])
@pytest.mark.parametrize("cut", list(Cut))
def test_a_take_over_whose_wire_breaks_is_tried_again(
    wire: tuple[Scene, Proxy], cut: Cut, script: str
) -> None:
    scene, proxy = wire
    (word,) = scene.words("victim")
    scene.send("hold", word)
    child = scene.wait_for(word, "begin").pid
    broken = trap(proxy, getattr(scripts, script), cut, b"" if script == "ADOPT" else b"/heir-")
    kill(child)
    killed = time.time()
    assert broken.wait(10)
    assert scene.wait_for(word, "begin", times=2).time - killed < RECOVERED
    scene.open_gate(word)
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs(word) == (2, 1)
    assert scene.entries(word, "begin")[1].deliveries == 1


def test_after_a_silent_wire_came_back_the_worker_goes_on(wire: tuple[Scene, Proxy]) -> None:
    scene, proxy = wire
    running, waiting = scene.words("running", "waiting")
    scene.send("hold", running)
    scene.wait_for(running, "begin")
    proxy.swallow()
    scene.open_gate(running)
    scene.wait_for(running, "end")
    scene.send("work", waiting)
    assert scene.depth() == Depth(ready=1, claimed=1)
    proxy.restore()
    restored = time.time()
    assert scene.wait_for(waiting, "end").time - restored < RECOVERED
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs(running) == scene.runs(waiting) == (1, 1)


def test_a_redis_that_keeps_a_log_comes_back_with_everything(tmp_path: Path) -> None:
    with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server:
        scene = Scene(tmp_path, server.url, queue="kept")
        try:
            scene.start("-c", "1")
            scene.send("hold", "running")
            scene.wait_for("running", "begin")
            scene.send("work", "waiting")
            scene.send("work", "delayed", countdown=0.1)
            server.restart()
            assert scene.depth() == Depth(ready=1, delayed=1, claimed=1)
            scene.open_gate("running")
            for word in ("running", "waiting", "delayed"):
                assert scene.wait_for(word, "end").deliveries == 0
            assert scene.wait_until_nothing_waits() == Depth()
            assert {scene.runs(word) for word in ("running", "waiting", "delayed")} == {(1, 1)}
        finally:
            scene.close()


def test_a_redis_that_keeps_nothing_comes_back_empty_and_the_worker_goes_on(tmp_path: Path) -> None:
    with RedisServer() as server:
        scene = Scene(tmp_path, server.url, queue="kept")
        try:
            worker = scene.start("-c", "1")
            result = scene.send("hold", "running")
            scene.wait_for("running", "begin")
            scene.send("work", "waiting")
            server.restart()
            restarted = time.time()
            assert scene.depth() == Depth()
            scene.open_gate("running")
            scene.send("work", "more")
            assert scene.wait_for("more", "end").time - restarted < RECOVERED
            worker.wait_for_line(r"outcomes of .* are refused")
            assert scene.wait_until_nothing_waits() == Depth()
            assert scene.runs("running") == (1, 1)
            assert scene.runs("waiting") == (0, 0)
            assert scene.app.AsyncResult(result.id).state == "PENDING"
        finally:
            scene.close()


def trap(
    proxy: Proxy, script: scripts.Script, cut: Cut, request: bytes = b"", reply: bytes = b""
) -> threading.Event:
    return proxy.break_at(cut, script.digest.encode(), request, reply=reply)


# --- what the tests above share ---------------------------------------------------------------------------


def hold_two(scene: Scene) -> list[AsyncResult[Any]]:
    """Two tasks that run until their gates open."""
    results = [scene.send("hold", word) for word in ("one", "two")]
    for word in ("one", "two"):
        scene.wait_for(word, "begin")
    return results


def both_run_again_or_never(
    scene: Scene, results: list[AsyncResult[Any]], deliveries: int, start: bool = True
) -> None:
    """Late: each runs a second time, to its end. Early: never, and its result says that it was lost."""
    if start:
        scene.start("-c", "2")
    for word in ("one", "two"):
        scene.open_gate(word)
    for result in results:
        result.get(timeout=10, propagate=False)
    assert scene.wait_until_nothing_waits() == Depth()
    for word, result in zip(("one", "two"), results, strict=True):
        if scene.acks == "late":
            assert (scene.runs(word), result.state) == ((2, 1), "SUCCESS")
            assert scene.entries(word, "begin")[1].deliveries == deliveries
        else:
            assert (scene.runs(word), result.state) == ((1, 0), "FAILURE")
            assert isinstance(result.result, WorkerLostError)


# --- many messages at once, a restart, a limit ------------------------------------------------------------


@late
def test_a_producer_killed_in_the_middle_of_many_has_sent_the_first_of_them(scene: Scene) -> None:
    """Three exchanges, for each message is large; it dies when the third is not sent."""
    lines = f"""
import os
import killed_app
def calls():
    for word in ("one", "two", "three"):
        yield word, "x" * 3_000_000
    os.kill(os.getpid(), 9)
killed_app.work.apply_many(calls(), queue={scene.queue!r})
"""
    assert scene.run(lines) == -signal.SIGKILL
    scene.start("-c", "1")
    scene.wait_for("one", "end")
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs("one") == (1, 1)
    # It was on its way: there whole, or not at all.
    assert scene.runs("two") in ((0, 0), (1, 1))
    assert scene.runs("three") == (0, 0)


@late
def test_a_worker_that_is_told_to_start_anew_loses_and_doubles_nothing(scene: Scene) -> None:
    worker = scene.start("-c", "1")
    running = scene.send("hold", "running")
    scene.wait_for("running", "begin")
    scene.send("work", "waiting")
    worker.signal(signal.SIGHUP)
    worker.wait_for_line("Warm shutdown")
    until(lambda: scene.depth() == Depth(ready=1, claimed=1), "what waits is not held")
    scene.open_gate("running")
    assert running.get(timeout=10) == "running"
    worker.wait_for_line(r" ready\.", times=2)
    assert scene.wait_for("waiting", "end").deliveries == 0
    assert scene.wait_until_nothing_waits() == Depth()
    assert scene.runs("running") == scene.runs("waiting") == (1, 1)


@late
def test_a_supervisor_killed_while_it_settles_what_a_limit_killed_is_taken_over(scene: Scene) -> None:
    worker = scene.start("-c", "1", "--lease", str(LEASE))
    scene.arm("adopted")
    scene.send("hold", "one", time_limit=0.2)
    another_takes_over(scene, worker)


def test_a_limit_and_a_cold_stop_wait_for_no_silent_store(tmp_path: Path) -> None:
    with RedisServer() as server, Proxy(server.port) as proxy:
        scene = Scene(tmp_path, server.url)
        try:
            # The lease is asked for twice a second.
            worker = scene.start("-c", "2", "--lease", "1.5", url=proxy.url)
            scene.send("hold", "limited", time_limit=1.2)
            scene.send("hold", "free")
            limited, free = (scene.wait_for(word, "begin").pid for word in ("limited", "free"))
            proxy.swallow()
            until(lambda: is_dead(limited), "its limit is over", timeout=1.2 + 3.0)
            assert not is_dead(free)
            worker.signal(signal.SIGQUIT)
            until(lambda: is_dead(free), "nothing goes on after a cold stop", timeout=3.0)
            proxy.restore()
            worker.wait(20)
        finally:
            scene.close()
