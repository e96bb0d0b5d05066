"""/livez, /readyz and /metrics of a worker tell what is true, whatever its processes are doing."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from celeriac import signals
from celeriac.exceptions import TaskRevokedError, TimeLimitExceeded
from celeriac.request import Request, pop, push
from celeriac.worker.diagnosis import AWAY, STUCK, not_alive, not_ready
from celeriac.worker.meters import OTHER, Meters
from celeriac.worker.vitals import Reading
from services import PATIENCE, Program, RedisServer
from stand import Stand, alive, lines, until

WELL = Reading(
    step=100.0, renewed=95.0, ready=2, wanted=2, births=2, deaths=0, stillborn=0, stopping=False, places=2
)


@pytest.mark.parametrize(
    ("changes", "answered", "reasons"),
    [
        ({}, 99.0, []),
        ({"ready": 1}, 99.0, []),
        ({"ready": 0, "births": 9, "deaths": 7}, 99.0, []),
        ({}, 100.0 - AWAY + 0.1, []),
        ({}, 100.0 - AWAY, ["the broker has not answered for 12 s"]),
        ({"step": 100.0 - STUCK - 1}, 99.0, ["the supervisor has been stuck for 31 s"]),
        ({"renewed": 50.0}, 99.0, ["the lease of this node was not renewed for 50 s"]),
        ({"ready": 0, "stillborn": 3}, 99.0, ["no child can start: 3 in a row died before they were ready"]),
        ({"ready": 1, "stillborn": 3}, 99.0, []),
        ({"ready": 0, "renewed": 0.0, "births": 0}, 99.0, ["it is starting"]),
        ({"ready": 0}, 99.0, ["it is starting: no child is ready yet"]),
        ({"stopping": True, "ready": 0}, 99.0, ["it is stopping and takes nothing new"]),
    ],
)
def test_a_node_is_ready_if_and_only_if_it_can_make_progress(
    changes: dict[str, Any], answered: float, reasons: list[str]
) -> None:
    assert not_ready(replace(WELL, **changes), answered, lease=30.0, now=100.0) == reasons


def test_only_a_stuck_supervisor_is_a_reason_to_start_anew() -> None:
    assert not_alive(replace(WELL, stillborn=9, ready=0, stopping=True, renewed=0.0), 100.0) == []
    assert not_alive(WELL, 100.0 + STUCK + 1)


def test_meters_of_many_children_are_added_up_and_never_go_down() -> None:
    meters = Meters(["main.add"])
    others = list(signals.task_prerun.receivers)

    class Sender:
        name = "main.add"

    class Newcomer:
        name = "main.later"

    try:
        for child, sender, state in ((0, Sender, "SUCCESS"), (1, Sender, "FAILURE"), (0, Newcomer, "RETRY")):
            meters.listen(child)
            push(Request(id="1"))
            signals.task_prerun.send(sender)
            signals.task_postrun.send(sender, state=state)
            pop()
    finally:
        meters.stop()
    assert signals.task_prerun.receivers == others
    add, other = meters.tallies(2)
    assert (add.task, add.ends["SUCCESS"], add.ends["FAILURE"], sum(add.ran.counts)) == ("main.add", 1, 1, 2)
    assert 0 < add.ran.total < 5
    assert (other.task, other.ends["RETRY"]) == (OTHER, 1)
    main = Meters(["main.add"], meters.descriptor)
    main.count("main.add", "FAILURE")
    assert next(meters.tallies(2)).ends["FAILURE"] == 2


def test_the_numbers_are_exact_and_the_health_process_is_kept_and_never_left_behind(stand: Stand) -> None:
    worker = stand.start("-c", "2", "--health-port", "127.0.0.1:0")
    url = address(worker)
    assert get(f"{url}/livez") == (200, "ok\n")
    until(lambda: get(f"{url}/readyz") == (200, "ok\n"))
    assert get(f"{url}/nothing")[0] == 404

    for number in range(3):
        assert stand.send("f", number).get(timeout=20) == number
    failed = stand.send("fail", "no")
    with pytest.raises(Exception, match="no"):
        failed.get(timeout=20)
    gate, begun = stand.path("gate"), stand.path("begun")
    overrun = stand.send("wait_for", str(gate), str(begun), time_limit=0.1)
    with pytest.raises(TimeLimitExceeded):
        overrun.get(timeout=20)
    terminated = stand.send("wait_for", str(gate), str(begun))
    until(lambda: lines(begun) == ["begun"] * 2)
    terminated.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        terminated.get(timeout=20)
    running = [stand.send("wait_for", str(gate), str(begun)) for _ in range(2)]
    until(lambda: lines(begun) == ["begun"] * 4)
    stand.send("f", 1)
    stand.send("f", 1, countdown=3600)
    stand.send("f", 1, queue="other")

    found = metrics(url)
    places = {
        state: found["celeriac_queue_messages", "celery", state] for state in ("ready", "claimed", "delayed")
    }
    assert places == {"ready": 1, "claimed": 2, "delayed": 1}
    assert found["celeriac_queue_messages", "other", "ready"] == 1
    assert found["celeriac_queue_oldest_seconds", "0", "celery"] > 0
    assert found["celeriac_tasks_total", "SUCCESS", "main.f"] == 3
    assert found["celeriac_tasks_total", "FAILURE", "main.fail"] == 1
    assert found["celeriac_tasks_total", "FAILURE", "main.wait_for"] == 1
    assert found["celeriac_tasks_total", "REVOKED", "main.wait_for"] == 1
    assert found["celeriac_task_runtime_seconds_count", "main.f"] == 3
    assert found["celeriac_task_waiting_seconds_count", "main.f"] == 3
    assert found["celeriac_children", "ready"] == 2
    assert found["celeriac_broker_up",] == 1
    assert get(f"{url}/readyz")[0] == 200, "busy is not broken"

    control = stand.client.control
    control.pool_shrink(1, reply=True, timeout=PATIENCE)
    control.pool_grow(1, reply=True, timeout=PATIENCE)
    until(
        lambda: metrics(url)["celeriac_tasks_total", "SUCCESS", "main.f"] == 4,
        what="what ran in a third place, while a busy child that shall go keeps its own, is counted",
    )

    first = health_process(worker)
    os.kill(first, signal.SIGKILL)
    worker.wait_for_line("The health process .* has died and is started anew")
    until(lambda: get(f"{url}/livez")[0] == 200)
    second = health_process(worker)
    gate.touch()
    assert [result.get(timeout=20) for result in running] == ["seen", "seen"]
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: not alive(second), what="the end of the health process")


def test_a_worker_whose_supervisor_is_stopped_is_not_alive_and_its_tasks_go_on(stand: Stand) -> None:
    worker = stand.start("-c", "1", "--health-port", "127.0.0.1:0", app="impatient")
    url = address(worker)
    until(lambda: get(f"{url}/livez")[0] == 200)
    worker.signal(signal.SIGSTOP)
    until(lambda: get(f"{url}/livez") == (503, "the supervisor has been stuck for 1 s\n"))
    assert stand.send("f", 1).get(timeout=20) == 1
    assert get(f"{url}/metrics")[0] == 200
    worker.signal(signal.SIGCONT)
    until(lambda: get(f"{url}/livez")[0] == 200)


@pytest.mark.timeout(90)
def test_a_solo_worker_keeps_its_health_process_and_is_red_within_15_s_of_a_black_hole_and_green_again(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    stand = Stand(own_redis.url, tmp_path)
    worker = stand.start("-P", "solo", "--health-port", "127.0.0.1:0")
    try:
        url = address(worker)
        until(lambda: get(f"{url}/readyz")[0] == 200)
        os.kill(health_process(worker), signal.SIGKILL)
        worker.wait_for_line("The health process .* has died and is started anew")
        until(lambda: get(f"{url}/readyz")[0] == 200)
        began = time.monotonic()
        own_redis.pause()
        until(lambda: get(f"{url}/readyz")[0] == 503, timeout=30)
        assert 10 < time.monotonic() - began < 25
        assert re.search("the broker has not answered for 1\\d s", get(f"{url}/readyz")[1])
        assert get(f"{url}/livez")[0] == 200, "to start anew would not bring the broker back"
        assert ("celeriac_queue_messages", "celery", "ready") not in metrics(url)
        own_redis.resume()
        until(lambda: get(f"{url}/readyz")[0] == 200, timeout=30)
    finally:
        own_redis.resume()
        stand.close()
        print(worker.output)


def address(worker: Program) -> str:
    return worker.wait_for_line(r"Health and metrics on (http://127\.0\.0\.1:\d+)").group(1)


def health_process(worker: Program) -> int:
    """The one that listens."""
    (pid,) = (
        process.pid
        for process in psutil.Process(worker.pid).children()
        if any(found.status == psutil.CONN_LISTEN for found in process.net_connections("tcp"))
    )
    return pid


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=15) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def metrics(url: str) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels, in the order of the labels' names; without buckets."""
    status, text = get(f"{url}/metrics")
    assert status == 200, text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }
