"""SIG: every signal is sent, by the process and with the words that receivers written for Celery expect."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery, Task, signals
from celeriac.signals import Signal
from services import Program, start_worker

APPS = Path(__file__).parent / "apps"


class Heard:
    """What a worker's signals said, from its first line to its last."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger

    @property
    def lines(self) -> list[dict[str, Any]]:
        if not self._ledger.exists():
            return []
        return [json.loads(line) for line in self._ledger.read_text(encoding="utf-8").splitlines()]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["name"] == name]

    def one(self, name: str) -> dict[str, Any]:
        found = self.named(name)
        assert found, f"{name} was not heard"
        return found[0]

    def order(self, *names: str) -> list[str]:
        """The first of each, in the order of hearing."""
        return list(dict.fromkeys(line["name"] for line in self.lines if line["name"] in names))


def work(pool: str, folder: Path) -> Heard:
    """One whole life of a worker, with tasks that end in all ways."""
    ledger = folder / "ledger"
    env = {"LEDGER": str(ledger), "STORE": f"sqlite:///{folder}/store.db"}
    worker: Program = start_worker(
        "listening", APPS, "-P", pool, "-c", "1", "-n", "w1@here", "-l", "INFO", env=env
    )
    heard = Heard(ledger)
    try:
        worker.wait_for_line("w1@here ready")
        with Celery("sender", broker=env["STORE"], backend=env["STORE"]) as sender:
            names = ("add", "fail", "reject", "once_more")
            args = {"add": (1, 2)}
            results = [
                sender.send_task(f"listening.{name}", args.get(name, ()), queue="chosen") for name in names
            ]
            for result in results:
                result.get(timeout=20, propagate=False)
            late = sender.send_task("listening.add", (1, 1), queue="chosen", expires=-1)
            late.get(timeout=20, propagate=False)
            assert sender.AsyncResult("greeting").get(timeout=20) == 42
            assert sender.AsyncResult("greeting by amqp").get(timeout=20) == 43
            sender.send_task("listening.unknown", queue="chosen")
        deadline = time.monotonic() + 20
        while not heard.named("task_unknown") and time.monotonic() < deadline:
            time.sleep(0.02)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    finally:
        worker.stop()
        print(worker.output)
    return heard


@pytest.fixture(scope="module", params=["prefork", "solo"])
def heard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Heard:
    return work(request.param, tmp_path_factory.mktemp(request.param))


def test_SIG_2_task_signals_are_sent_around_each_run(heard: Heard) -> None:
    received = heard.one("task_received")
    assert received["said"]["request"].startswith("Request:")
    assert heard.order("task_received", "task_prerun", "task_success", "task_postrun") == [
        "task_received",
        "task_prerun",
        "task_success",
        "task_postrun",
    ]
    before, after, success = heard.one("task_prerun"), heard.one("task_postrun"), heard.one("task_success")
    assert set(before["said"]) == {"task_id", "task", "args", "kwargs"}
    assert set(after["said"]) == {"task_id", "task", "args", "kwargs", "retval", "state"}
    assert set(success["said"]) == {"result", "runtime"}
    assert before["sender"] == after["sender"] == success["sender"] == "add"


def test_SIG_2_each_other_ending_has_its_signal(heard: Heard) -> None:
    failure = heard.one("task_failure")
    assert failure["sender"] == "fail"
    assert failure["said"]["exception"] == "ValueError:no"
    assert set(failure["said"]) == {"task_id", "exception", "args", "kwargs", "traceback", "einfo"}
    retry = heard.one("task_retry")
    assert (retry["sender"], set(retry["said"])) == ("once_more", {"request", "reason", "einfo"})
    assert heard.one("task_rejected")["said"]["exc"].startswith("Reject:")
    revoked = heard.one("task_revoked")["said"]
    assert (revoked["terminated"], revoked["signum"], revoked["expired"]) == (
        "bool:False",
        "NoneType:None",
        "bool:True",
    )
    unknown = heard.one("task_unknown")["said"]
    assert unknown["name"] == "str:listening.unknown"
    assert unknown["exc"].startswith("NotRegistered:")
    assert set(unknown) == {"message", "exc", "name", "id"}


def test_SIG_1_what_a_worker_sends_by_itself_is_told_too(heard: Heard) -> None:
    """A retry travels in the step that settles its task."""
    told = [line["said"]["headers"] for line in heard.named("after_task_publish")]
    assert any("once_more" in headers and "'retries': 1" in headers for headers in told)
    assert heard.named("before_task_publish")


def test_SIG_3_a_worker_tells_of_its_life_in_celerys_order(heard: Heard) -> None:
    story = (
        "import_modules",
        "celeryd_init",
        "worker_init",
        "celeryd_after_setup",
        "worker_process_init",
        "worker_ready",
        "worker_shutting_down",
        "worker_shutdown",
    )
    assert heard.order(*story) == list(story)
    assert heard.one("import_modules")["sender"] == "Celery"
    begun = heard.one("celeryd_init")
    assert begun["sender"] == "str"
    assert begun["said"]["instance"] == "Worker:w1@here"
    assert begun["said"]["conf"].startswith("Settings:")
    assert "'hostname': 'w1@here'" in begun["said"]["options"]
    assert {heard.one(name)["sender"] for name in ("worker_init", "worker_ready", "worker_shutdown")} == {
        "Worker"
    }
    assert heard.one("worker_process_init")["sender"] == "str"
    assert heard.one("worker_shutting_down")["said"] == {
        "sig": "str:SIGTERM",
        "how": "str:Warm",
        "exitcode": "int:0",
    }


def test_APP_2_a_step_starts_and_stops_with_the_worker(heard: Heard) -> None:
    names = ("worker_init", "step starts", "worker_shutting_down", "step stops")
    assert heard.order(*names) == list(names)
    assert heard.one("step starts")["pid"] == heard.one("worker_init")["pid"]


def test_SIG_3_the_lease_is_the_heartbeat(heard: Heard) -> None:
    assert heard.named("heartbeat_sent")


def test_SIG_3_processes_are_told_of_where_they_live(heard: Heard) -> None:
    main = heard.one("worker_init")["pid"]
    children = {line["pid"] for line in heard.named("worker_process_init")}
    if heard.named("worker_before_create_process"):
        assert main not in children
        assert heard.one("worker_before_create_process")["pid"] == main
        ended = heard.one("worker_process_shutdown")
        assert ended["pid"] in children
        assert ended["said"] == {"pid": f"int:{ended['pid']}", "exitcode": "int:0"}
    else:
        assert children == {main}


def test_SIG_4_loggers_are_handed_to_who_wants_to_change_them(heard: Heard) -> None:
    for name in ("after_setup_logger", "after_setup_task_logger"):
        assert set(heard.one(name)["said"]) == {"logger", "loglevel", "logfile", "format", "colorize"}


# --- in a producer ----------------------------------------------------------------------------------------


@pytest.fixture
def listen() -> Iterator[Callable[[Signal], list[dict[str, Any]]]]:
    connected: list[tuple[Signal, Any]] = []

    def listen(signal: Signal) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []

        def hear(**values: Any) -> None:
            told.append(values)

        signal.connect(hear, weak=False)
        connected.append((signal, hear))
        return told

    yield listen
    for signal_, hear in connected:
        signal_.disconnect(hear)


def test_SIG_1_publish_signals_show_the_call(
    app: Celery, listen: Callable[[Signal], list[dict[str, Any]]]
) -> None:
    before, after, sent = (
        listen(signals.before_task_publish),
        listen(signals.after_task_publish),
        listen(signals.task_sent),
    )
    result = app.send_task("mail", (1,), {"to": "a"}, queue="letters", countdown=5)
    (b,), (a,), (s,) = before, after, sent
    assert b["sender"] == a["sender"] == s["sender"] == "mail"
    assert b["body"][:2] == a["body"][:2] == ([1], {"to": "a"})
    assert (a["routing_key"], a["exchange"], a["headers"]["id"]) == ("letters", "", result.id)
    assert b["properties"]["correlation_id"] == result.id
    assert (s["task_id"], s["args"], s["kwargs"], s["taskset"]) == (result.id, [1], {"to": "a"}, None)
    assert s["eta"] == a["headers"]["eta"] is not None


def test_SIG_1_each_of_many_is_told(app: Celery, listen: Callable[[Signal], list[dict[str, Any]]]) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    told = listen(signals.task_sent)
    add.apply_many([(n, n) for n in range(3)])
    assert [line["args"] for line in told] == [[0, 0], [1, 1], [2, 2]]


def test_SIG_2_eager_runs_send_them_too(
    app: Celery, listen: Callable[[Signal], list[dict[str, Any]]]
) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    success = listen(signals.task_success)
    add.apply((1, 2))
    assert success[0]["result"] == 3
    assert success[0]["runtime"] > 0


def test_SIG_5_a_receiver_may_be_held_by_its_uid_and_sender(app: Celery) -> None:
    calls: list[str] = []

    def hear(sender: str, **_: object) -> None:
        calls.append(sender)

    signals.after_task_publish.connect(hear, sender="mail", dispatch_uid="one")
    signals.after_task_publish.connect(hear, sender="mail", dispatch_uid="one")
    app.send_task("mail")
    app.send_task("other")
    assert calls == ["mail"]
    assert signals.after_task_publish.has_listeners("mail")
    assert signals.after_task_publish.disconnect(sender="mail", dispatch_uid="one")
    assert not signals.after_task_publish.has_listeners("mail")


def test_SIG_5_an_error_of_a_receiver_is_answer_and_log_line(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    def hear(**_: object) -> None:
        raise LookupError("broken receiver")

    signal_ = Signal(name="mine")
    signal_.connect(hear, weak=False)
    ((receiver, answer),) = signal_.send_robust(app)
    assert receiver is hear
    assert isinstance(answer, LookupError)
    assert "broken receiver" in caplog.text


def test_SIG_5_receivers_may_be_coroutines_where_one_sends_and_where_one_runs_eagerly(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    async def hear(signal: Signal, sender: Any, **_: object) -> None:
        await asyncio.sleep(0)
        heard.append(str(signal.name))
        if signal.name == "task_postrun":
            raise LookupError("broken receiver")

    told = ("before_task_publish", "after_task_publish", "task_prerun", "task_success", "task_postrun")
    for name in told:
        getattr(signals, name).connect(hear)
    try:
        app.send_task("mail")

        async def within_a_loop() -> None:
            app.task(name="eager")(lambda: 1).apply()

        asyncio.run(within_a_loop())
    finally:
        for name in told:
            getattr(signals, name).disconnect(hear)
    assert heard == list(told)
    assert "broken receiver" in caplog.text


def test_TSK_23_handlers_of_an_eager_run_may_be_coroutines(app: Celery) -> None:
    told: list[str] = []

    class Base(Task[Any, Any]):
        async def before_start(self, *_: Any) -> None:  # type: ignore[override]
            told.append("before_start")

        async def on_success(self, *_: Any) -> None:  # type: ignore[override]
            told.append("on_success")

        async def after_return(self, *_: Any) -> None:  # type: ignore[override]
            told.append("after_return")

    app.task(base=Base, name="work")(lambda: None).apply()
    assert told == ["before_start", "on_success", "after_return"]
