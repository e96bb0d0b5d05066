"""Flower, with a stock Celery in an environment of its own, watches and steers our worker: `make flower`.

A true Chromium opens its pages and presses its buttons; a picture of each page stays in `build/flower/`. Its
name keeps it out of `make test`: what it needs is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from celeriac import Celery
from interop import shop
from interop.conftest import TESTS, environment, our_worker
from services import PATIENCE, Program, RedisServer, free_port

NODE = "ours@flower"
#: Another one, whose size follows what there is to do.
SCALING = "scaling@flower"
PICTURES = TESTS.parent / "build" / "flower"

#: As they are called on Debian, elsewhere, and by Google.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: No call home, no window, no sandbox (which root cannot have).
BROWSER_OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def worker(server: RedisServer) -> Iterator[Program]:
    queues, restarts = f"{shop.OURS},celery", "worker.pool_restarts=true"
    worker = our_worker(server.url, queues, "-E", "-n", NODE, "-c", "2", "--", restarts)
    scaling = our_worker(server.url, "scaling", "-E", "-n", SCALING, "--autoscale", "2,1")
    for one in (worker, scaling):
        one.wait_for_line(r" ready\.")
    yield worker
    for one in (worker, scaling):
        one.stop()
        print(one.output)


@pytest.fixture(scope="module")
def app(server: RedisServer, worker: Program) -> Iterator[Any]:
    with shop.open_shop(Celery, server.url, set_as_current=False) as app:
        yield app


@pytest.fixture(scope="module")
def address(server: RedisServer, worker: Program) -> Iterator[str]:
    """Where Flower answers, once it knows the worker."""
    folder = os.environ.get("CELERIAC_FLOWER") or TESTS.parent / ".venv-flower"
    python = Path(folder) / "bin" / "python"
    assert python.exists(), "scripts/setup flower makes it"
    address = f"http://127.0.0.1:{free_port()}"
    command = [str(python), "-m", "celery", "-A", "interop.theirs", "flower", "--address=127.0.0.1"]
    own = {"FLOWER_UNAUTHENTICATED_API": "true", "C_FORCE_ROOT": "1", "SHOP_ACCEPT": "json"}
    port = f"--port={address.rpartition(':')[2]}"
    program = Program([*command, port], cwd=TESTS, env=environment(server.url) | own)
    program.start()
    try:
        program.wait_for_line("Visit me at|Connected to redis")
        known = f"{address}/api/workers"
        both = {NODE, SCALING}
        until(lambda: both <= set(httpx.get(known, params={"refresh": 1}, timeout=PATIENCE).json()))
        yield address
    finally:
        program.stop()
        print(program.output, file=sys.stderr)


@pytest.fixture(scope="module")
def flower(address: str) -> Iterator[httpx.Client]:
    """Its programs' side."""
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    """Its side for people."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert browser_path, "scripts/ensure-chromium installs it"
    PICTURES.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=BROWSER_OPTIONS)
        page = browser.new_page(base_url=address, viewport={"width": 1280, "height": 900})
        yield page
        browser.close()


def test_its_pages_show_workers_tasks_and_queues(page: Page, app: Any) -> None:
    well = app.send_task("shop.add", (1, 2), queue=shop.OURS)
    bad = app.send_task("shop.boom", queue=shop.OURS)
    for result in (well, bad):
        result.get(timeout=PATIENCE, propagate=False)
    later = app.send_task("shop.echo", ("much later",), queue=shop.OURS, countdown=3600)
    running = app.send_task("shop.tracked", queue=shop.OURS)
    until(lambda: running.state == "STARTED")

    page.goto("/workers")
    row = page.locator("#workers-table tbody tr", has_text=NODE[-12:])
    expect(row).to_contain_text("Online")
    expect(page.locator("#workers-succeeded")).to_have_text("1")
    expect(page.locator("#workers-failed")).to_have_text("1")
    expect(page.locator("#workers-active")).to_have_text("1")
    picture(page, "workers")

    page.goto("/tasks")
    for id, state in ((well.id, "SUCCESS"), (bad.id, "FAILURE"), (running.id, "STARTED")):
        expect(page.locator(f"#tasks-table tbody tr:has(a[href*='{id}'])")).to_contain_text(state)
    picture(page, "tasks")

    visit_task(page, well.id, "SUCCESS")
    for word in ("shop.add", "(1, 2)", NODE):
        expect(page.locator("#task-page")).to_contain_text(word)
    picture(page, "task")
    visit_task(page, bad.id, "FAILURE")
    for word in ("ValueError('no', 7)", 'raise ValueError("no", 7)'):
        expect(page.locator("#task-page")).to_contain_text(word)
    picture(page, "task-failed")

    app.control.pause("celery")
    for _ in range(3):
        app.send_task("shop.add", (1, 2), queue="celery")
    page.goto("/broker")
    expect(page.locator("#queue-table tr#celery td").nth(1)).to_have_text("3")
    expect(page.locator(f"#queue-table tr#{shop.OURS} td").nth(1)).to_have_text("0")
    picture(page, "broker")
    app.control.resume("celery")

    visit(page, NODE)
    for tab, words in {
        "pool": ["celeriac.worker:prefork", "Max concurrency", "Worker PID"],
        "broker": ["127.0.0.1", "redis"],
        "queues": [shop.OURS, "celery", "Cancel"],
        "tasks": ["shop.add", running.id, later.id],
        "limits": ["shop.add", "shop.tracked"],
        "config": ["accept_content", "broker_url", "result_backend"],
        "system": ["utime", "maxrss"],
        "other": ["uptime"],
    }.items():
        open_tab(page, tab)
        for word in words:
            expect(page.locator(f"#tab-{tab}")).to_contain_text(re.compile(re.escape(word), re.IGNORECASE))
        picture(page, f"worker-{tab}")
    app.control.revoke(later.id)


def test_its_pages_of_tasks_end_them(page: Page, app: Any) -> None:
    waiting = app.send_task("shop.tomorrow", queue=shop.OURS)
    until(lambda: waiting.state == "RETRY")
    visit_task(page, waiting.id, "RETRY")
    page.locator("#task-revoke").click()
    said(page, "Revoked")
    picture(page, "button-revoke")
    until(lambda: waiting.state == "REVOKED")

    running = app.send_task("shop.tracked", queue=shop.OURS)
    until(lambda: running.state == "STARTED")
    visit_task(page, running.id, "STARTED")
    page.locator("#task-terminate").click()
    said(page, "Revoked")
    picture(page, "button-terminate")
    running.get(timeout=PATIENCE, propagate=False)
    assert running.state == "REVOKED"
    visit_task(page, running.id, "REVOKED")
    picture(page, "task-revoked")


def test_its_buttons_steer_the_worker(page: Page, flower: httpx.Client, app: Any) -> None:
    def worker() -> Any:
        return flower.get("/api/workers", params={"refresh": 1, "workername": NODE}).json()[NODE]

    def size() -> int:
        return int(worker()["stats"]["pool"]["max-concurrency"])

    def queues() -> list[str]:
        return [queue["name"] for queue in worker()["active_queues"]]

    visit(page, NODE)
    page.locator("#pool-size").fill("2")
    page.locator("#worker-pool-grow").click()
    said(page, "pool")
    picture(page, "button-grow")
    until(lambda: size() == 4)
    page.locator("#worker-pool-shrink").click()
    until(lambda: size() == 2)
    open_tab(page, "queues")
    page.locator("#add-consumer-name").fill("extra")
    page.locator("#worker-add-consumer").click()
    said(page, "add consumer extra")
    picture(page, "button-add-consumer")
    until(lambda: "extra" in queues())
    page.reload()
    open_tab(page, "queues")
    page.locator("#worker-cancel-consumer-extra").click()
    until(lambda: "extra" not in queues())

    open_tab(page, "limits")
    row = page.locator("#limits-table tr", has_text=re.compile(r"^\s*shop\.add"))
    row.locator("input").first.fill("100")
    row.locator("[id^=task-rate-limit]").click()
    said(page, "rate limit")
    row.locator("input").last.fill("20")
    row.locator("[id^=task-timeout-hard]").click()
    said(page, "time limits set")
    picture(page, "button-limits")
    until(lambda: "shop.add [rate_limit=100]" in worker()["registered"])
    visit(page, NODE)
    open_tab(page, "limits")
    expect(page.locator("#limits-table")).to_contain_text("shop.add [rate_limit=100]")

    visit(page, NODE)
    page.locator("#worker-group").click()
    page.locator("#worker-pool-restart").click()
    said(page, "Restarting")
    picture(page, "button-restart")

    visit(page, SCALING)
    page.locator("#min-autoscale").fill("2")
    page.locator("#max-autoscale").fill("3")
    page.locator("#worker-pool-autoscale").click()
    said(page, "Autoscaling")
    visit(page, SCALING)
    for told in ("Max 3", "Min 2"):
        expect(page.locator(".worker-autoscaler-panel")).to_contain_text(
            re.compile(told.replace(" ", r"\s*"))
        )
    picture(page, "worker-autoscale")


def test_its_numbers_are_those_of_our_events(flower: httpx.Client, app: Any) -> None:
    well = app.send_task("shop.add", (1, 2), queue=shop.OURS)
    bad = app.send_task("shop.boom", queue=shop.OURS)
    for result in (well, bad):
        result.get(timeout=PATIENCE, propagate=False)

    def told(result: Any) -> Any:
        return flower.get(f"/api/task/info/{result.id}").json()

    until(lambda: [told(well)["state"], told(bad)["state"]] == ["SUCCESS", "FAILURE"])
    info = told(well)
    assert (info["name"], info["args"], info["result"], info["worker"]) == ("shop.add", "(1, 2)", "3", NODE)
    assert "ValueError" in told(bad)["traceback"]
    assert flower.get(f"/api/task/result/{well.id}").json()["result"] == 3
    queues = flower.get("/api/queues/length").json()["active_queues"]
    assert {"name": shop.OURS, "messages": 0} in queues
    metrics = flower.get("/metrics").text
    for name in ("task-received", "task-started", "task-succeeded", "task-failed"):
        line = rf'flower_events_total{{task="shop\.\w+",type="{name}",worker="{NODE}"}} [1-9]'
        assert re.search(line, metrics), name


def test_its_shutdown_button_ends_the_worker(page: Page, worker: Program) -> None:
    visit(page, NODE)
    page.locator("#worker-group").click()
    page.locator("#worker-shutdown").click()
    said(page, "shut")
    picture(page, "button-shutdown")
    assert worker.wait() == 0
    assert "Got shutdown from remote" in worker.output
    page.goto("/workers")
    expect(page.locator("#workers-table tbody tr", has_text=NODE[-12:])).to_contain_text("Offline")
    picture(page, "workers-offline")


def visit(page: Page, node: str) -> None:
    """The page of a worker. Flower shows what it asked before, so it is told to ask again."""
    page.request.get("/api/workers", params={"refresh": "1", "workername": node})
    page.goto(f"/worker/{node}")


def visit_task(page: Page, id: str, state: str) -> None:
    """The page of a task, once Flower has heard that it is in this state."""
    until(lambda: page.request.get(f"/api/task/info/{id}").json()["state"] == state)
    page.goto(f"/task/{id}")
    expect(page.locator("#task-page .badge")).to_have_text(state)


def open_tab(page: Page, name: str) -> None:
    page.locator(f"#worker-tab-{name}").click()
    expect(page.locator(f"#tab-{name}")).to_have_css("opacity", "1")


def said(page: Page, words: str) -> None:
    """Flower shows a green note with these words, and no red one."""
    note = page.locator(".toast.text-bg-success").last
    expect(note).to_contain_text(re.compile(words, re.IGNORECASE))
    expect(note).to_have_css("opacity", "1")
    expect(page.locator(".toast.text-bg-danger")).to_have_count(0)


def picture(page: Page, name: str) -> None:
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True, animations="disabled")


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except (KeyError, ValueError, httpx.TransportError):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)
