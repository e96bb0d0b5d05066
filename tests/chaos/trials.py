"""The long forms of what no storm shows: each takes a stage, dice and a length, and tells what it saw."""

from __future__ import annotations

import contextlib
import itertools
import random
import resource
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest

from celeriac import Celery, states
from celeriac.exceptions import CeleriacError, OperationalError
from celeriac.message import Depth, Message
from celeriac.wire.packing import pack
from chaos import fuzz
from chaos.failover import replicated
from chaos.ledger import Tally
from chaos.length import Full, Length
from chaos.one_file import a_full_disk, writers_of_one_file
from chaos.report import assert_flat, growth
from chaos.stage import ORDINARY, QUEUE, RedisStore, Sample, Stage, group, kill, until
from chaos.storm import BACK, resources
from chaos.terminating import race
from chaos.waiters import Lateness
from services import clean_environment, free_port

#: Our keys that may stay without a TTL: there are as many as queues, workers and exchanges.
LASTING = {
    "celeriac:queues", "celeriac:listened", "celeriac:owners", "celeriac:nodes", "celeriac:revoked",
}  # fmt: skip
POOLS = ("prefork", "threads", "gevent", "asyncio")


class Trial(NamedTuple):
    """One of them."""

    name: str
    #: As those of an act.
    row: int
    full: Full
    lease: float
    run: Callable[[Stage, random.Random, Length], str]
    driver: str = "redis"
    redis: Sequence[str] = ()


def cut_all_the_time(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 2: long tasks of every pool and delays of five leases, while connections break all the time."""
    store = redis_of(stage)
    long = max(3 * stage.lease, min(20.0, length.seconds / 2))
    for pool in POOLS:
        stage.start_worker("-P", pool, "-c", "3", ready=False)
    for worker in stage.workers:
        worker.wait_for_line(r" ready\.")
    due: dict[str, float] = {}
    rounds = 0
    cuts = store.proxy.cuts
    over = threading.Event()

    def cut() -> None:
        while not over.wait(0.1):
            # Who reaches its store not even once in a lease loses it, as it must.
            if store.shortest_lease() > stage.lease / 2:
                store.proxy.reset()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        while not rounds or length.lasts(store.proxy.cuts - cuts, reserve=long):
            rounds += 1
            for number in range(2):
                stage.send(f"grip{rounds}.{number}", long, task="grip")
                stage.send(f"sleep{rounds}.{number}", long)
                stage.send(f"coroutine{rounds}.{number}", long, task="awork")
            for number in range(50):
                word = f"delayed{rounds}.{number}"
                due[word] = time.time() + 5 * stage.lease
                stage.send(word, countdown=5 * stage.lease)
            ends = time.monotonic() + long + 5 * stage.lease
            while time.monotonic() < ends:
                stage.check_the_law()
                time.sleep(0.5)
    finally:
        over.set()
        cutter.join()
    stage.wait_until_done(60)
    stage.check_all_ran()
    assert set(stage.ledger.begins.values()) == {1}, "each runs once"
    late = [one.time - due[one.word] for one in stage.ledger.entries
            if one.event == "begin" and one.word in due]  # fmt: skip
    assert min(late) >= -0.01
    return (
        f"{len(stage.sent)} tasks of up to {long:.0f} s with leases of {stage.lease:g} s, each once; "
        f"connections cut {store.proxy.cuts - cuts} times; delays late by {max(late):.1f} s at most"
    )


def everybody_waits(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 7: 32 threads and 32 coroutines wait for results, one after the other; cuts in the middle."""
    store = redis_of(stage)
    stage.start_worker("-P", "asyncio", "-c", "64", url=store.url)
    size, seconds = min(length.size, 1e12), min(length.seconds, 1e6)
    waiters = subprocess.Popen(
        [sys.executable, "-m", "chaos.waiters", store.workers_url, store.url, f"{size}", f"{seconds}"],
        cwd=stage.folder,
        env=clean_environment({"PYTHONPATH": str(Path(__file__).parent.parent)}),
        stdout=subprocess.PIPE,
    )
    cuts = 0
    try:
        while waiters.poll() is None:
            time.sleep(dice.uniform(1.0, 3.0))
            cuts += 1
            store.proxy.reset()
    finally:
        waiters.kill()
        said, _ = waiters.communicate()
    found = msgspec.json.decode(said, type=Lateness)
    assert not found.failed, f"{len(found.failed)} waiters failed: {found.failed[0]}"
    assert found.p99 <= 50.0, f"woken late: {found}"
    return f"{found}; {cuts} times all connections cut, nobody hung"


def a_million_delayed(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 9: as many delayed messages as fit into the time, a million at most; they hold up nobody."""
    store = redis_of(stage)
    worker = stage.start_worker("-c", "1", url=store.url)
    stage.send("warm")
    stage.wait_until_done(10)
    child = psutil.Process(stage.children(worker)[0])
    before = child.memory_info().rss
    due, count = time.time() + 3600, 0
    while length.lasts(count, reserve=length.seconds / 2):
        stage.app().broker.publish(
            [Message(f"d{count + n}", "celery", b"x" * 300, eta=due + n / 1000) for n in range(1000)]
        )
        count += 1000
    waits = []
    for number in range(20):
        began = time.time()
        stage.app().send_task("chaos_app.work", (f"now{number}",), task_id=f"now{number}")
        until(lambda n=number: stage.ledger.read() or stage.ledger.ends[f"now{n}"], "it runs", pause=0.002)  # type: ignore[misc]
        waits.append(time.time() - began)
    grown = child.memory_info().rss - before
    assert grown < 10 << 20, f"the child has grown by {grown >> 20} MiB"
    assert store.census().depth.delayed == count
    assert stage.app().broker.purge("celery") == count
    return (
        f"{count:,} delayed messages: a task ran within {max(waits):.2f} s, the child grew {grown >> 10} KiB"
    )


def restarts(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 9: workers start, work, and end in order or not, as often as fits; nothing stays behind."""
    store = redis_of(stage)
    count, began = 0, time.monotonic()
    keeper = stage.start_worker("-c", "1")
    stage.send("first")
    stage.wait_until_done(20)
    settled(stage, owners=1)
    base = store.call("DBSIZE")
    while not count or length.lasts(count):
        worker = stage.start_worker("-P", dice.choice(POOLS), "-c", "2")
        stage.send(f"t{count}")
        stage.wait_until_done(30)
        if dice.random() < 0.5:
            kill(*group(worker))
            worker.kill()
        else:
            worker.stop()
        stage.workers.remove(worker)
        count += 1
        stage.samples.append(
            Sample(time.monotonic() - began, count, count, 0, 0, 0, 0, 0, *resources([keeper]))
        )
    ended = time.monotonic()
    settled(stage, owners=1)
    until(lambda: store.call("DBSIZE") <= base + 2, "as many keys as before", 60)
    forgotten = time.monotonic() - ended
    if count > 100:
        assert_flat(stage.samples)
    keeper.stop()
    left = {key.decode() for key in store.call("KEYS", "*") if store.call("PTTL", key) == -1}
    assert left <= LASTING, f"keys without a TTL: {sorted(left - LASTING)}"
    stage.check_all_ran()
    return (
        f"{count} restarts, half of them SIGKILL: keys as before after {forgotten:.1f} s, each that is no "
        f"queue has a TTL; a worker that saw them all has {growth(stage.samples, 'memory')}, descriptors "
        f"{growth(stage.samples, 'descriptors')}"
    )


def settled(stage: Stage, owners: int) -> None:
    command = redis_of(stage).server.command
    until(
        lambda: (
            command("HLEN", "celeriac:owners") == f":{owners}" and command("ZCARD", "celeriac:nodes") == ":1"
        ),
        "the dead are forgotten",
        60,
    )


def soak(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 9: as much as goes through; connections, descriptors and memory do not grow."""
    store = redis_of(stage)
    for _ in range(2):
        stage.start_worker("-c", "2", "-l", "warning", ready=False, url=store.url)
    broker, tally = stage.app().broker, Tally(stage.ledger.path, "s")
    count, most = 0, 0
    began = looked = time.monotonic()
    redis = psutil.Process(store.server.pid)
    of_redis: list[int] = []
    while length.lasts(count):
        words = [f"s{number}" for number in range(count + 1, count + 1001)]
        broker.publish([plain(word) for word in words])
        count += 1000
        until(lambda: broker.depth([QUEUE])[QUEUE].ready < 10_000, "the workers keep up", 60)
        if time.monotonic() - looked > 1.0:
            looked = time.monotonic()
            depth = broker.depth([QUEUE])[QUEUE]
            left = depth.ready + depth.claimed
            stage.samples.append(
                Sample(
                    looked - began,
                    count,
                    count - left,
                    depth.ready,
                    0,
                    depth.claimed,
                    0,
                    0,
                    *resources(stage.workers),
                )
            )
            of_redis.append(redis.memory_info().rss // 1024)
            pids = [pid for worker in stage.workers for pid in (worker.pid, *stage.children(worker))]
            most = max(most, *(connections(pid, store.server.port) for pid in pids))
    until(lambda: broker.depth([QUEUE])[QUEUE] == Depth(), "all is done", 60)
    wrong = tally.not_once(count)
    assert not wrong, f"{len(wrong)} did not run once: {wrong[:5]}"
    assert most <= 4, f"{most} connections in one process"
    if len(stage.samples) > 20:
        assert_flat(stage.samples)
        early, late = of_redis[len(of_redis) // 5], of_redis[-1]
        assert late < early * 1.1 + 4096, f"Redis grows: {early} to {late} KiB"
    return (
        f"{count:,} tasks, each once; memory {growth(stage.samples, 'memory')}, descriptors "
        f"{growth(stage.samples, 'descriptors')}, at most {most} connections a process"
    )


def plain(word: str) -> Message:
    """The work of this word, with no result."""
    envelope = pack(name="chaos_app.work", id=word, args=(word,), kwargs={}, queue=QUEUE, ignore_result=True)
    return Message(word, QUEUE, envelope)


def connections(pid: int, port: int) -> int:
    """To that port of this machine."""
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return 0
    return sum(1 for one in found if one.raddr and one.raddr.port == port)


def revokes_race(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 11: a revoke races with the beginning of its task; it ends as REVOKED or as SUCCESS, never both."""
    for pool in POOLS:
        stage.start_worker("-P", pool, "-c", "2", ready=False)
    for worker in stage.workers:
        worker.wait_for_line(r" ready\.")
    app, count = stage.app(), 0
    ended: dict[str, int] = {states.REVOKED: 0, states.SUCCESS: 0}
    while length.lasts(count):
        results = []
        for _ in range(20):
            count += 1
            word = f"r{count}"
            results.append(app.send_task("chaos_app.work", (word, dice.uniform(0, 0.04)), task_id=word))
        for result in dice.sample(results, 16):
            app.control.revoke(result.id)
        for result in results:
            result.get(timeout=20, propagate=False)
        stage.ledger.read()
        for result in results:
            ended[result.state] += 1
            ran = stage.ledger.begins[result.id]
            assert ran == (1 if result.state == states.SUCCESS else 0), (
                f"{result.id}: {result.state}, ran {ran}"
            )
    return f"{count} tasks: {ended[states.REVOKED]} revoked and never run, {ended[states.SUCCESS]} ran once"


def terminations_race(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 11: the wish to terminate races with the end of its task, mostly where processes are killed."""
    became = {pool: Counter[str]() for pool in POOLS}
    count = 0
    while length.lasts(count):
        count += 100
        for pool in POOLS:
            share, size = (100, "1") if pool == "prefork" else (25, "2")
            became[pool] += race(stage, dice, share, pool, "-c", size)
    told = (f"{pool} {ends[states.REVOKED]} and {ends[states.SUCCESS]}" for pool, ends in became.items())
    return f"REVOKED and SUCCESS, no task both and no neighbour hit: {', '.join(told)}"


def health(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 3: a black hole turns the health check red within 15 s, and its end green again."""
    store = redis_of(stage)
    port = free_port()
    stage.start_worker("-c", "1", "--health-port", str(port))
    until(lambda: answer(port) == 200, "green")
    store.proxy.swallow()
    began = time.monotonic()
    until(lambda: answer(port) == 503, "red", 30, pause=0.1)
    red = time.monotonic() - began
    store.proxy.pass_on(forget=True)
    healed = time.monotonic()
    until(lambda: answer(port) == 200, "green again", 30, pause=0.1)
    green = time.monotonic() - healed
    assert red <= 15.0, f"red after {red:.1f} s"
    return f"red {red:.1f} s after the beginning of a black hole, green {green:.1f} s after its end"


def answer(port: int) -> int:
    """The status that /readyz answers with; 0 is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as page:
            return int(page.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def decoders(stage: Stage, dice: random.Random, length: Length) -> str:
    """Whatever bytes lie in a queue or a result, the decoders answer or refuse."""
    eaten = fuzz.run_for(length.seconds, dice.randrange(1 << 30))
    return f"{eaten:,} messages and results, each answered or refused"


def giants(stage: Stage, dice: random.Random, length: Length) -> str:
    """Row 14: what is far too large or too deep is refused where it is sent, before it is copied around, and
    is a dead letter where it comes all the same."""
    store = redis_of(stage)
    stage.start_worker("-c", "1", url=store.url)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    huge = "x" * (1 << 30)
    grown, seen = _peak(), []
    for argument, words in ((deep, "nested too deeply"), (huge, "more than task_max_bytes")):
        seen.append(_refusal(stage.app(), argument, words))
    grown = _peak() - grown
    assert grown < 2.2 * len(huge), f"copied around: {grown >> 20} MiB"
    careless = Celery("careless", broker=store.url, backend=store.url, set_as_current=False)
    careless.conf.task_max_bytes = 4 << 30
    seen.append(_refusal(careless, huge, "Redis takes 512 MiB in one piece"))
    seen.append(_refusal(careless, huge, "compressed content may unfold to", compression="zlib"))
    large = careless.send_task("chaos_app.work", ("large", "x" * (200 << 20)), task_id="large")
    # Redis may be busy with it for longer than anybody waits for a reply.
    until(lambda: _patiently(lambda: large.ready()), "it is refused", 60)
    assert "the message was not looked at" in str(large.result), large.result
    stage.send("after")
    until(lambda: stage.ledger.has_ended("after"), "the worker goes on")
    until(lambda: store.census(harvest=False).depth == Depth(dead=1), "it is a dead letter")
    careless.close()
    return (
        f"1 GiB and 100,000 levels refused after {max(seen):.1f} s at most, with {grown >> 20} MiB of memory;"
        " 267 MiB that came all the same are a dead letter, and the worker goes on"
    )


def _refusal(app: Celery, argument: object, words: str, **options: str) -> float:
    """Seconds until it was refused with these words."""
    began = time.monotonic()
    with pytest.raises(CeleriacError, match=words):
        app.send_task("chaos_app.work", (argument,), **options)
    return time.monotonic() - began


def _patiently(ask: Callable[[], bool]) -> bool:
    with contextlib.suppress(OperationalError):
        return ask()
    return False


def _peak() -> int:
    """Bytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def the_master_dies(stage: Stage, dice: random.Random, length: Length) -> str:
    """Its replica takes over and lacks what it had not heard; what waited for the replica is never lost."""
    store = replicated(stage)
    for pool in POOLS:
        stage.start_worker("-P", pool, "-c", "2", ready=False)
    for worker in stage.workers:
        worker.wait_for_line(r" ready\.")
    careful = Celery("careful", broker=store.workers_url, set_as_current=False)
    careful.conf.broker_transport_options = {"wait_replicas": 1}
    over, surely = threading.Event(), 0
    #: When the store confirmed each plain message, and between which moments replicas heard nothing.
    sent: dict[str, float] = {}
    deaf: list[tuple[float, float]] = []

    def send_surely() -> None:
        nonlocal surely
        while not over.is_set():
            word = f"surely{surely + 1}"
            with contextlib.suppress(OperationalError):
                careful.send_task("chaos_app.work", (word,), task_id=word, priority=ORDINARY)
                surely += 1
            time.sleep(0.01)

    def send_plainly() -> None:
        for number in itertools.count():
            if over.wait(0.01):
                return
            with contextlib.suppress(OperationalError):
                stage.send(f"plainly{number}", dice.choice((0.0, 0.0, 0.1)), url=store.workers_url)
                sent[f"plainly{number}"] = time.time()

    producers = [threading.Thread(target=work) for work in (send_surely, send_plainly)]
    for producer in producers:
        producer.start()
    slowest = 0.0
    try:
        while not deaf or length.lasts(len(deaf)):
            time.sleep(dice.uniform(0.2, 2.0))
            began = time.time()
            store.link.swallow()
            time.sleep(dice.uniform(0.0, 0.7))
            store.lose_the_master()
            deaf.append((began, time.time()))
            slowest = max(slowest, stage.everyone_consumes(time.time(), BACK))
    finally:
        over.set()
        for producer in producers:
            producer.join()
        careful.close()
    try:
        until(lambda: store.census(harvest=False).depth == Depth(), "nothing is held for ever", 60)
    except AssertionError as error:
        raise AssertionError(f"{error}: {store.census(harvest=False).depth}, {store.holders()}") from None
    stage.ledger.read()
    ends = stage.ledger.ends
    missing = [number for number in range(1, surely + 1) if not ends[f"surely{number}"]]
    assert not missing, f"{len(missing)} that replicas had confirmed never ran: {missing[:5]}"
    lost = {word: at for word, at in sent.items() if not ends[word]}
    # What is on its way to the replica at that moment counts as unheard too.
    strange = [word for word, at in lost.items() if not any(x - 0.2 <= at <= y for x, y in deaf)]
    assert not strange, f"lost, and the replica had heard of them: {strange[:5]}"
    twice = sum(count > 1 for word, count in stage.ledger.begins.items() if not word.startswith("canary"))
    return (
        f"{len(deaf)} masters died, their replicas up to 0.7 s behind: of {surely} messages with "
        f"wait_replicas=1 0 lost, of {len(sent)} others {len(lost)}; {twice} ran twice; consuming again "
        f"after {slowest:.1f} s at most, nothing held for ever"
    )


def redis_of(stage: Stage) -> RedisStore:
    assert isinstance(stage.store, RedisStore), "this trial is for Redis"
    return stage.store


TRIALS = (
    Trial("Long tasks under cuts", 2, Full(200, "cuts"), 2.0, cut_all_the_time),
    Trial("Everybody waits", 7, Full(20_000, "results"), 30.0, everybody_waits),
    Trial("A million delayed", 9, Full(1_000_000, "messages"), 30.0, a_million_delayed),
    Trial("Restarts", 9, Full(1_000, "restarts"), 2.0, restarts),
    Trial("Soak", 9, Full(10_000_000), 30.0, soak, redis=("--appendonly", "no")),
    Trial("Revokes race", 11, Full(2_000), 30.0, revokes_race),
    Trial("Terminations race", 11, Full(2_000), 30.0, terminations_race),
    Trial("Health", 3, Full(1, "black holes"), 30.0, health),
    Trial("Decoders", 14, Full(600, "seconds"), 30.0, decoders),
    Trial("Giants", 14, Full(1, "rounds"), 30.0, giants, redis=("--appendonly", "no")),
    Trial("The master dies", 13, Full(50, "failovers"), 30.0, the_master_dies, driver="replicas"),
    Trial("Writers of one file", 12, Full(50_000), 2.0, writers_of_one_file, driver="sqlite"),
    Trial("A full disk", 12, Full(20, "full disks"), 30.0, a_full_disk, driver="sqlite"),
)
