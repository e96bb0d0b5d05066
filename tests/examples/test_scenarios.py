"""Every example as its readers run it: a true web server, true workers and HTTP requests.

Each runs on Redis, with `from celeriac import` and with `from celery import`, and on the embedded default.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from services import PATIENCE, Program, clean_environment, start_uvicorn, start_worker

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


class Scenario:
    """A copy of one example in a folder of its own, with its programs."""

    def __init__(self, folder: Path, package: str, env: dict[str, str]) -> None:
        self.folder = folder
        self.package = package
        self.env = env
        self.programs: list[Program] = []
        self.http = httpx.Client(trust_env=False, timeout=PATIENCE)

    def copy(self, example: str) -> None:
        shutil.copytree(EXAMPLES / example, self.folder, dirs_exist_ok=True)
        for path in self.folder.glob("*.py"):
            source = path.read_text(encoding="utf-8")
            path.write_text(source.replace("from celeriac import", f"from {self.package} import"))

    def start_web(self) -> Program:
        server, address = start_uvicorn("main:app", self.folder, env=self.env)
        self.programs.append(server)
        self.http.base_url = httpx.URL(address)
        return server

    def start_worker(self, *arguments: str) -> Program:
        worker = start_worker(
            "main.celery", self.folder, "-l", "info", *arguments, env=self.env, program=self.package
        )
        self.programs.append(worker)
        return worker

    def command(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", self.package, "-A", "main.celery", *arguments],
            cwd=self.folder,
            env=clean_environment(self.env),
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        ).stdout

    def get(self, path: str, **query: Any) -> Any:
        return self.http.get(path, params=query).raise_for_status().json()

    def post(self, path: str, content: bytes = b"", **query: Any) -> Any:
        return self.http.post(path, params=query, content=content).raise_for_status().json()

    def events(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> list[dict[str, str]]:
        """Server-sent events, until the server ends them."""
        answer = self.http.get(path, params=query, headers=headers).raise_for_status().text
        return [
            dict(line.split(": ", 1) for line in event.splitlines()) for event in answer.strip().split("\n\n")
        ]

    def finished(self, task_id: str) -> Any:
        """The result endpoint's answer once the task is done, asked as a browser would."""
        return self.until(
            lambda: self.get(f"/result/{task_id}"), lambda seen: seen["state"] not in UNFINISHED
        )

    def until(self, ask: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not enough(seen := ask()):
            assert time.monotonic() < deadline, seen
            time.sleep(0.02)
        return seen

    def stop(self) -> None:
        self.http.close()
        for program in self.programs:
            program.stop()
            print(f"--- {' '.join(program.command[1:])}\n{program.output}")


UNFINISHED = {"PENDING", "RECEIVED", "STARTED", "RETRY"}


@pytest.fixture(params=["redis-celeriac", "redis-celery", "embedded-celeriac"])
def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scenario]:
    store, package = request.param.split("-")
    env = {}
    if store == "redis":
        url = request.getfixturevalue("redis_db")
        env = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
    scenario = Scenario(tmp_path, package, env)
    yield scenario
    scenario.stop()


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_one_file_hands_work_to_a_worker(scenario: Scenario, pool: str) -> None:
    scenario.copy("one_file")
    if not scenario.env:  # its source names a Redis server
        scenario.env = dict.fromkeys(("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"), "sqlite:///celeriac.db")
    # The default pool is what nobody names.
    worker = scenario.start_worker(*(["-P", "gevent"] if pool == "gevent" else []))
    web = scenario.start_web()

    assert scenario.get("/", message="hello") == {"message": "handed over"}
    task = r"Task main\.call_background_task\[[0-9a-f-]{36}\]"
    stamp = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: "
    worker.wait_for_line(rf"{stamp}INFO/MainProcess\] {task} received$")
    worker.wait_for_line(rf"{stamp}WARNING/\S+\] Background task called!$")
    worker.wait_for_line(rf"{stamp}WARNING/\S+\] hello$")
    took = worker.wait_for_line(rf"{stamp}INFO/\S+\] {task} succeeded in ([\d.]+)s: None$")
    assert 1 <= float(took.group(1)) < 5

    scenario.get("/in-this-process", message="hello from here")
    web.wait_for_line("^hello from here$")
    assert "hello from here" not in worker.output


def test_two_files_need_no_circular_import(scenario: Scenario) -> None:
    scenario.copy("two_files")
    scenario.start_web()
    sent = scenario.get("/count", text="one two three")
    worker = scenario.start_worker()
    assert scenario.finished(sent["id"]) == {"state": "SUCCESS", "result": 3}
    worker.wait_for_line(r"Task task\.count_words\[.*\] succeeded")


def test_each_queue_has_its_own_worker_and_shows_who_waits(scenario: Scenario) -> None:
    scenario.copy("queues")
    scenario.start_web()
    sent = scenario.post("/orders", customers=120)

    waiting = json.loads(scenario.command("queue", "peek", "low_priority", "-n", "100", "--json"))
    assert [entry["id"] for entry in waiting] == sent["low_priority"][:100]
    assert {entry["name"] for entry in waiting} == {"main.send_newsletter"}

    high = scenario.start_worker("-Q", "high_priority", "-n", "high@%h")
    assert scenario.finished(sent["high_priority"][-1])["result"] == "wrote to the director"
    assert scenario.get(f"/result/{sent['low_priority'][0]}")["state"] == "PENDING"

    low = scenario.start_worker("-Q", "low_priority", "-n", "low@%h")
    assert scenario.finished(sent["low_priority"][-1])["result"] == "wrote to customer 119"
    high.wait_for_line("received$", times=121)
    low.wait_for_line("received$", times=120)
    assert high.output.count("received") == 121
    assert low.output.count("received") == 120


def test_a_failing_task_is_retried_exactly_five_times(scenario: Scenario) -> None:
    scenario.copy("retries")
    scenario.start_web()
    worker = scenario.start_worker()
    good, bad = scenario.post("/parse", text="12"), scenario.post("/parse", text="twelve")

    assert scenario.finished(good["id"]) == {"state": "SUCCESS", "result": 12, "error": None}
    answer = scenario.finished(bad["id"])
    assert answer["state"] == "FAILURE"
    assert answer["error"] == """ValueError("invalid literal for int() with base 10: 'twelve'")"""
    worker.wait_for_line(rf"Task my_first\.tasks\[{bad['id']}\] raised unexpected: ValueError")
    assert worker.output.count(f"Task my_first.tasks[{bad['id']}] retry: Retry in") == 5
    assert worker.output.count("parsing 'twelve'") == 6


def test_the_three_ways_of_calling_agree(scenario: Scenario) -> None:
    scenario.copy("three_ways")
    scenario.start_web()
    worker = scenario.start_worker()
    answer = scenario.get("/area", width=6, height=7)

    assert {way: answer[way]["area"] for way in ("apply_async", "delay", "direct")} == {
        "apply_async": 42,
        "delay": 42,
        "direct": 42,
    }
    assert answer["direct"]["process"] == answer["web_server"]
    assert answer["web_server"] not in {answer["delay"]["process"], answer["apply_async"]["process"]}
    worker.wait_for_line(r"succeeded in", times=2)
    assert worker.output.count("received") == 2


def test_an_endpoint_awaits_results_and_the_loop_stays_free(scenario: Scenario) -> None:
    scenario.copy("awaiting")
    scenario.start_web()
    worker = scenario.start_worker("-P", "asyncio", "-c", "100")
    worker.wait_for_line(r"ready\.")

    began = time.monotonic()
    answered = 0
    with ThreadPoolExecutor(20) as threads:
        quotes = [threads.submit(scenario.get, "/quote", product="tea") for _ in range(20)]
        while not all(quote.done() for quote in quotes):
            assert scenario.get("/alive") == {"alive": True}
            answered += 1
    took = time.monotonic() - began

    assert [quote.result() for quote in quotes] == [{"supplier": "East", "price": 34}] * 20
    # Each quote takes a second at least: with a blocked loop nothing would have been answered meanwhile, and
    # the quotes would have come one after the other.
    assert answered >= 5
    assert took < 10


@pytest.mark.parametrize("scenario", ["embedded-celeriac"], indirect=True)
def test_an_endpoint_streams_what_a_task_yields(scenario: Scenario) -> None:
    scenario.copy("streaming")
    scenario.start_web()
    scenario.start_worker()

    said = scenario.events("/story", words=4, pause=0.01)
    assert [event for event in said if "id" in event] == [
        {"id": str(number), "data": f'"{word}"'}
        for number, word in enumerate(("once", "upon", "a", "time"), start=1)
    ]
    assert said[0]["event"] == "task"
    assert said[-1]["event"] == "end"
    # A browser that was cut off behind the third word.
    again = scenario.events(f"/story/{said[0]['data']}", {"Last-Event-ID": "3"})
    assert again[1:-1] == [{"id": "4", "data": '"time"'}]


def test_thumbnails_are_made_by_several_processes_with_progress(scenario: Scenario) -> None:
    scenario.copy("thumbnails")
    scenario.start_web()
    worker = scenario.start_worker("-c", "2")
    worker.wait_for_line(r"ready\.")
    picture = io.BytesIO()
    Image.linear_gradient("L").resize((2400, 1600)).convert("RGB").save(picture, "JPEG")
    widths = list(range(100, 1300, 100))

    album = scenario.post("/albums", content=picture.getvalue(), widths=widths)["id"]
    seen: list[int] = []

    def progress() -> Any:
        answer = scenario.get(f"/albums/{album}")
        seen.append(answer["done"])
        return answer

    answer = scenario.until(progress, lambda answer: bool(answer["done"] == answer["of"]))
    assert answer == {"done": 12, "of": 12, "processes": 2}
    assert seen == sorted(seen)
    small = scenario.http.get(f"/albums/{album}/300").raise_for_status()
    with Image.open(io.BytesIO(small.content)) as image:
        assert (image.format, image.size) == ("PNG", (300, 200))
