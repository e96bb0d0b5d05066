"""The app: settings, names and registration of tasks, sending by name, connections."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from celeriac import Celery, Task, current_app, current_task, shared_task, signals
from celeriac.current import get_current_app
from celeriac.exceptions import (
    AlwaysEagerIgnored,
    DuplicateTaskNameWarning,
    ImproperlyConfigured,
    NotRegistered,
)
from celeriac.wire.task import TaskMessage, unpack


def sent(app: Celery, queue: str = "celery") -> list[TaskMessage]:
    return [unpack(payload) for payload in app.broker.peek(queue, 100)]


def add(x: int, y: int = 0) -> int:
    return x + y


# --- settings ---------------------------------------------------------------------------------------------


def test_any_setting_may_be_given_to_the_constructor() -> None:
    app = Celery("proj", broker="memory://a", backend="memory://b", task_default_queue="mail", include=["x"])
    assert (app.broker_url, app.result_url) == ("memory://a", "memory://b")
    assert (app.conf.task_default_queue, app.conf["include"]) == ("mail", ["x"])


def test_a_misspelt_setting_says_which_was_meant() -> None:
    with pytest.raises(ImproperlyConfigured, match="task_default_queue"):
        Celery("proj", task_default_queu="mail")


def test_without_a_broker_all_lies_in_one_file_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    app = Celery("proj")
    assert app.broker_url == app.result_url == f"sqlite:///{tmp_path}/celeriac.db"


def test_with_a_broker_alone_results_are_off() -> None:
    assert Celery("proj", broker="memory://").result_url is None
    assert Celery("proj", broker="memory://").results is None
    assert Celery("proj", broker="memory://", backend="disabled://").result_url is None


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://there")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "memory://results")
    app = Celery("proj", broker="memory://here", backend="memory://here")
    assert (app.broker_url, app.result_url) == ("memory://there", "memory://results")


def test_what_is_set_on_the_app_wins_over_a_configuration_object() -> None:
    class Config:
        CELERY_TASK_DEFAULT_QUEUE = "from_object"
        CELERY_TASK_TIME_LIMIT = 7
        OTHER = 1

    app = Celery("proj", task_default_queue="direct")
    app.config_from_object(Config, namespace="CELERY")
    assert (app.conf.task_default_queue, app.conf.task_time_limit) == ("direct", 7)


def test_settings_come_from_a_module_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shopconfig.py").write_text(
        "task_default_queue = 'shop'\nclass Live:\n    task_default_queue = 'live'\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    app = Celery("proj")
    app.config_from_object("shopconfig")
    assert app.conf.task_default_queue == "shop"
    app.config_from_object("shopconfig:Live")
    assert app.conf.task_default_queue == "live"
    app.config_from_object("no_such_module", silent=True)
    with pytest.raises(ImportError):
        app.config_from_object("no_such_module")


# --- declaring --------------------------------------------------------------------------------------------


def test_a_task_is_named_after_module_and_function(app: Celery) -> None:
    assert app.task(add).name == f"{__name__}.add"
    assert app.task(name="other")(add).name == "other"


def test_a_program_run_as_main_has_the_name_of_its_app(app: Celery) -> None:
    def job() -> None: ...

    job.__module__ = "__main__"
    assert app.task(job).name == "proj.job"


def test_a_task_keeps_the_name_and_text_of_its_function(app: Celery) -> None:
    @app.task
    def described() -> None:
        """What it does."""

    assert described.__name__ == "described"  # type: ignore[attr-defined]
    assert described.__doc__ == "What it does."
    assert described.__wrapped__.__name__ == "described"  # type: ignore[attr-defined]


def test_app_task_takes_one_function(app: Celery) -> None:
    with pytest.raises(TypeError):
        app.task("add")  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        app.task(app.task(add))


def test_a_second_function_of_the_same_name_is_warned_of_and_the_first_stays(app: Celery) -> None:
    first = app.task(name="double")(add)
    with pytest.warns(DuplicateTaskNameWarning, match="double"):
        second = app.task(name="double")(sent)
    assert app.tasks["double"] is first is second  # type: ignore[comparison-overlap]


def test_a_module_imported_again_declares_no_second_task(app: Celery) -> None:
    assert app.task(add) is app.task(add)


def test_an_unknown_task_is_not_registered(app: Celery) -> None:
    with pytest.raises(NotRegistered):
        app.tasks["nowhere"]
    assert app.tasks.get("nowhere") is None


def test_class_based_tasks_are_registered_as_class_or_instance(app: Celery) -> None:
    class Greet(Task[..., str]):
        name = "greet"
        ignore_result = None  # type: ignore[assignment]

        def run(self, who: str) -> str:
            return f"hello {who}"

    class Unnamed(app.Task):  # type: ignore[name-defined, misc]
        def run(self) -> None: ...

    greet = app.register_task(Greet)
    assert greet("you") == "hello you"
    assert greet.ignore_result is False
    assert app.tasks["greet"] is greet
    assert app.register_task(Unnamed()).name == f"{__name__}.Unnamed"


def test_the_task_class_of_the_app_is_the_base_of_its_tasks() -> None:
    class Traced(Task[..., object]):
        max_retries = 9

    assert Celery("proj", task_cls=Traced).task(add).max_retries == 9


def test_task_annotations_change_attributes_by_name() -> None:
    app = Celery("proj", task_annotations={"a": {"rate_limit": "5/s"}, "*": {"max_retries": 8}})
    task = app.task(name="a")(add)
    app.finalize()
    assert (task.rate_limit, task.max_retries) == ("5/s", 8)


def test_without_autofinalize_a_task_cannot_be_used_before_finalize() -> None:
    app = Celery("proj", broker="memory://", autofinalize=False)
    with pytest.raises(RuntimeError, match="finalize"):
        app.tasks["a"]
    app.finalize()
    assert app.tasks.get("a") is None


def test_the_signals_of_the_app_are_sent_once() -> None:
    app, heard = Celery("proj"), []
    app.on_after_configure.connect(lambda source, **_: heard.append(source), weak=False)
    app.on_after_finalize.connect(lambda **_: heard.append("finalized"), weak=False)
    app.finalize()
    app.finalize()
    assert heard == [app.conf, "finalized"]


def test_modules_with_tasks_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("shop_a", "shop_b", "shop_broken"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "shop_a" / "tasks.py").touch()
    (tmp_path / "shop_broken" / "tasks.py").write_text("import no_such_module_here\n", encoding="utf-8")
    (tmp_path / "shop_more.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    app = Celery("proj", include="shop_more")
    app.autodiscover_tasks(lambda: ["shop_a", "shop_b"])
    assert "shop_a.tasks" not in sys.modules
    app.import_modules()
    assert {"shop_a.tasks", "shop_more"} <= set(sys.modules)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
        app.autodiscover_tasks(["shop_broken"], force=True)


# --- shared tasks -----------------------------------------------------------------------------------------


def test_a_shared_task_is_in_every_app_there_is_or_will_be(app: Celery) -> None:
    app.finalize()
    task = shared_task(name=f"shared.{uuid4().hex}")(add)
    later = Celery("later", broker="memory://later", set_as_current=False)
    for each in (app, later):
        assert each.tasks[task.name].app is each
    assert task(2, 3) == 5


def test_a_shared_task_goes_through_the_current_app(app: Celery) -> None:
    task = shared_task(name=f"shared.{uuid4().hex}")(add)
    task.delay(1, 2)
    other_url = f"memory://{uuid4().hex}"
    with Celery("other", broker=other_url) as other:
        task.delay(3, 4)
        assert [message.argsrepr for message in sent(other)] == ["(3, 4)"]
    app.set_current()
    assert [message.argsrepr for message in sent(app)] == ["(1, 2)"]


def test_a_shared_task_is_sent_from_threads_that_never_saw_an_app(app: Celery) -> None:
    task = shared_task(name=f"shared.{uuid4().hex}")(add)
    thread = threading.Thread(target=task.delay, args=(1, 2))
    thread.start()
    thread.join()
    assert [message.name for message in sent(app)] == [task.name]


def test_shared_task_of_a_program_run_as_main_is_named_after_the_app(app: Celery) -> None:
    def job() -> None: ...

    job.__module__ = "__main__"
    task = shared_task(job)
    task.delay()
    assert task.name == "proj.job"
    assert app.tasks["proj.job"].app is app


def test_shared_task_twice_is_an_error() -> None:
    with pytest.raises(TypeError):
        shared_task(shared_task(name=f"shared.{uuid4().hex}")(add))


# --- the current app --------------------------------------------------------------------------------------


def test_the_app_that_was_made_last_is_the_current_one(app: Celery) -> None:
    assert get_current_app() is app
    assert current_app.main == "proj"
    assert current_app == app
    quiet = Celery("quiet", set_as_current=False)
    assert get_current_app() is app
    quiet.set_current()
    assert get_current_app() is quiet
    quiet.close()


def test_the_current_task_is_the_one_that_runs(app: Celery) -> None:
    @app.task
    def which() -> str:
        assert app.current_task is which
        return str(current_task.name)

    assert which() == which.name
    assert not current_task


# --- sending ----------------------------------------------------------------------------------------------


def test_a_task_is_sent_by_name_alone(app: Celery) -> None:
    result = app.send_task("far.away", (1,), {"b": 2}, queue="far", headers={"tenant": "x"})
    (message,) = sent(app, "far")
    assert (message.name, message.id, message.root_id) == ("far.away", result.id, result.id)
    assert message.arguments({"json"})[:2] == ([1], {"b": 2})
    assert message.headers["tenant"] == "x"
    assert result.state == "PENDING"


def test_send_task_says_that_it_is_never_eager(app: Celery) -> None:
    app.conf.task_always_eager = True
    with pytest.warns(AlwaysEagerIgnored):
        app.send_task("far.away")
    assert len(sent(app)) == 1


def test_send_task_takes_time_limits_from_the_task_if_it_is_known(app: Celery) -> None:
    app.task(name="limited", time_limit=9, soft_time_limit=5)(add)
    app.send_task("limited", (1,))
    assert tuple(sent(app)[0].timelimit) == (9, 5)


def test_receivers_of_before_task_publish_may_change_the_message(app: Celery) -> None:
    seen = []

    @signals.before_task_publish.connect
    def change(sender: str, headers: dict[str, object], body: tuple[list[int]], **_: object) -> None:
        headers["trace"] = "abc"
        body[0][0] = 99

    @signals.after_task_publish.connect
    def note(sender: str, headers: dict[str, object], **_: object) -> None:
        seen.append((sender, headers["trace"]))

    try:
        app.send_task("traced", (1, datetime(2020, 1, 1, tzinfo=UTC)))
    finally:
        signals.before_task_publish.disconnect(change)
        signals.after_task_publish.disconnect(note)
    (message,) = sent(app)
    assert message.headers["trace"] == "abc"
    assert message.arguments({"json"})[0] == [99, datetime(2020, 1, 1, tzinfo=UTC)]
    assert seen == [("traced", "abc")]


@pytest.mark.parametrize(("zone", "hour"), [("Asia/Tokyo", 0), (None, 9)])
def test_a_naive_eta_is_of_the_time_zone_of_the_app(app: Celery, zone: str | None, hour: int) -> None:
    app.conf.timezone = zone
    message = app.message_for(app.signature("later", options={"eta": datetime(2090, 1, 1, 9)}))
    assert message.eta == datetime(2090, 1, 1, hour, tzinfo=UTC).timestamp()


def test_a_countdown_is_an_eta_from_now(app: Celery) -> None:
    message = app.message_for(app.signature("later", options={"countdown": 60, "expires": 120}))
    eta, expires = unpack(message.payload).eta, unpack(message.payload).expires
    now = datetime.now(UTC)
    assert abs(datetime.fromisoformat(str(eta)) - now - timedelta(seconds=60)) < timedelta(seconds=5)
    assert abs(datetime.fromisoformat(str(expires)) - now - timedelta(seconds=120)) < timedelta(seconds=5)
    assert message.eta == pytest.approx(datetime.fromisoformat(str(eta)).timestamp())


def test_a_soft_limit_over_the_hard_one_is_an_error(app: Celery) -> None:
    with pytest.raises(ValueError, match="less than or equal"):
        app.send_task("limited", time_limit=1, soft_time_limit=2)
    with pytest.raises(ValueError, match="less than or equal"):
        app.task(time_limit=1, soft_time_limit=2)(add)


# --- connections ------------------------------------------------------------------------------------------


def test_connections_are_opened_once_and_closed_with_the_app() -> None:
    app = Celery("proj", broker="memory://once", backend="memory://once")
    broker, results = app.broker, app.results
    assert app.broker is broker
    assert app.results is results
    app.close()
    app.close()
    assert app.broker is not broker
    app.close()


def test_a_forked_child_opens_connections_of_its_own(app: Celery) -> None:
    broker = app.broker
    heard: list[int] = []
    app.on_after_fork.connect(lambda **_: heard.append(1), weak=False)
    pid = os.fork()
    if not pid:
        fresh = app.broker is not broker and heard == [1] and app.results is not None
        os._exit(0 if fresh else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert app.broker is broker


def test_a_worker_gets_a_broker_of_its_own(app: Celery) -> None:
    first, second = app.open_worker_broker(), app.open_worker_broker()
    assert first is not second
    first.close()
    second.close()


def test_neither_celeriac_nor_its_worker_on_redis_loads_anything_heavy() -> None:
    heavy = ["asyncio", "rich", "redis", "sqlite3", "gevent", "ssl", "pydantic", "yaml"]
    for_users = [*heavy, "click", "hiredis"]
    # Each of them, or what it brings along, is a fifth of a MiB to two MiB of every worker.
    for_workers = [*heavy, "_hashlib", "zipfile", "tempfile", "zoneinfo", "logging.handlers", "subprocess"]
    program = f"""import sys, celeriac
print([name for name in {for_users} if name in sys.modules])
import celeriac.worker.start, celeriac.cli.worker, celeriac.drivers.redis
print([name for name in {for_workers} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"
