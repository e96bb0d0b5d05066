"""Flower, with a stock Celery in an environment of its own, watches and steers our worker: `make flower`.

Its name keeps it out of `make test`: it needs an environment that is downloaded. Its pages are fetched as a
browser would fetch them, and what their buttons do is done through the addresses that they call.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from celeriac import Celery
from interop import shop
from interop.conftest import TESTS, environment, our_worker
from services import PATIENCE, Program, RedisServer, free_port

NODE = "ours@flower"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def worker(server: RedisServer) -> Iterator[Program]:
    worker = our_worker(server.url, f"{shop.OURS},celery", "-E", "-n", NODE, "-c", "2")
    worker.wait_for_line(r" ready\.")
    yield worker
    worker.stop()
    print(worker.output)


@pytest.fixture(scope="module")
def app(server: RedisServer, worker: Program) -> Iterator[Any]:
    with shop.open_shop(Celery, server.url, set_as_current=False) as app:
        yield app


@pytest.fixture(scope="module")
def flower(server: RedisServer, worker: Program) -> Iterator[httpx.Client]:
    folder = os.environ.get("CELERIAC_FLOWER") or TESTS.parent / ".venv-flower"
    python = Path(folder) / "bin" / "python"
    assert python.exists(), "scripts/setup flower makes it"
    port = free_port()
    command = [str(python), "-m", "celery", "-A", "interop.theirs", "flower", f"--port={port}"]
    own = {"FLOWER_UNAUTHENTICATED_API": "true", "C_FORCE_ROOT": "1", "SHOP_ACCEPT": "json"}
    program = Program([*command, "--address=127.0.0.1"], cwd=TESTS, env=environment(server.url) | own)
    program.start()
    try:
        program.wait_for_line("Visit me at|Connected to redis")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            until(lambda: NODE in client.get("/api/workers", params={"refresh": 1}).json())
            yield client
    finally:
        program.stop()
        print(program.output, file=sys.stderr)


def test_its_pages_show_worker_tasks_and_queues(flower: httpx.Client, app: Any) -> None:
    well, bad = (
        app.send_task("shop.add", (1, 2), queue=shop.OURS),
        app.send_task("shop.boom", queue=shop.OURS),
    )
    for result in (well, bad):
        result.get(timeout=PATIENCE, propagate=False)

    def states() -> dict[str, str]:
        return {id: task["state"] for id, task in flower.get("/api/tasks").json().items()}

    until(lambda: states() == {well.id: "SUCCESS", bad.id: "FAILURE"})
    info = flower.get(f"/api/task/info/{well.id}").json()
    assert (info["name"], info["args"], info["result"], info["worker"]) == ("shop.add", "(1, 2)", "3", NODE)
    assert "ValueError" in flower.get(f"/api/task/info/{bad.id}").json()["traceback"]
    assert flower.get(f"/api/task/result/{well.id}").json()["result"] == 3
    for page in ("/workers", f"/worker/{NODE}", "/tasks", f"/task/{well.id}", "/broker"):
        shown = flower.get(page)
        assert shown.status_code == 200, page
    details = flower.get(f"/worker/{NODE}").text
    for word in ("max.concurrency", "celeriac.worker:prefork", shop.OURS, r"shop\.add"):
        assert re.search(word, details, re.IGNORECASE), word
    assert bad.id in flower.get(f"/task/{bad.id}").text
    queues = flower.get("/api/queues/length").json()["active_queues"]
    assert {"name": shop.OURS, "messages": 0} in queues
    metrics = flower.get("/metrics").text
    print([line for line in metrics.splitlines() if line.startswith("flower")])
    for name in ("task-received", "task-started", "task-succeeded", "task-failed"):
        told = rf'flower_events_total{{task="shop\.\w+",type="{name}",worker="{NODE}"}} [1-9]'
        assert re.search(told, metrics), name


def test_its_buttons_work(flower: httpx.Client, app: Any) -> None:
    def press(path: str, **said: Any) -> str:
        answer = flower.post(path, params=said)
        assert answer.status_code == 200, answer.text
        return answer.text

    def worker() -> Any:
        return flower.get("/api/workers", params={"refresh": 1, "workername": NODE}).json()[NODE]

    press(f"/api/worker/pool/grow/{NODE}", n=1)
    until(lambda: worker()["stats"]["pool"]["max-concurrency"] == 3)
    press(f"/api/worker/pool/shrink/{NODE}", n=1)
    until(lambda: worker()["stats"]["pool"]["max-concurrency"] == 2)
    press(f"/api/worker/queue/add-consumer/{NODE}", queue="extra")
    until(lambda: "extra" in [queue["name"] for queue in worker()["active_queues"]])
    press(f"/api/worker/queue/cancel-consumer/{NODE}", queue="extra")
    assert "rate limit" in press("/api/task/rate-limit/shop.add", workername=NODE, ratelimit="100/s")
    assert "time limits set" in press("/api/task/timeout/shop.add", workername=NODE, soft=10, hard=20)

    running = app.send_task("shop.tracked", queue=shop.OURS)
    until(lambda: running.state == "STARTED")
    press(f"/api/task/revoke/{running.id}", terminate="true", signal="SIGKILL")
    running.get(timeout=PATIENCE, propagate=False)
    assert running.state == "REVOKED"


def test_its_shutdown_button_ends_the_worker(flower: httpx.Client, worker: Program) -> None:
    assert flower.post(f"/api/worker/shutdown/{NODE}").status_code == 200
    assert worker.wait() == 0
    assert "Got shutdown from remote" in worker.output


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except (KeyError, ValueError):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)
