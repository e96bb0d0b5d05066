"""APP: where settings come from and who wins, the life of an app, what it tells about itself."""

from __future__ import annotations

import copy
import json
import pickle
import signal
import sys
import threading
import types
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from celeriac import Celery, Task, chain, chord, current, current_app, group, shared_task, signals
from celeriac.compat.kombu_serialization import register
from celeriac.current import get_current_app
from celeriac.exceptions import ImproperlyConfigured, OperationalError, TaskError
from celeriac.wire import codecs
from celeriac.wire.task import unpack
from services import Program, clean_environment


def test_APP_4_the_app_made_last_is_current_and_the_default_serves_other_threads() -> None:
    first, second = Celery("first"), Celery("second")
    assert get_current_app() is second
    first.set_current()
    assert current_app.main == "first"
    second.set_default()
    seen: list[str | None] = []
    thread = threading.Thread(target=lambda: seen.append(current_app.main))
    thread.start()
    thread.join()
    assert seen == ["second"]
    with Celery("third", set_as_current=False):
        assert current_app.main == "first"
    second.close()
    first.close()


def test_APP_5_settings_come_from_objects_modules_and_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "appconf.py").write_text("task_default_queue = 'module'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SETTINGS", "appconf")
    app = Celery("proj", set_as_current=False)
    app.add_defaults({"task_default_queue": "default", "task_time_limit": 3})
    assert (app.conf.task_default_queue, app.conf.task_time_limit) == ("default", 3)
    app.config_from_envvar("SETTINGS")
    assert app.conf.task_default_queue == "module"
    app.config_from_object({"task_default_queue": "mapping"})
    assert app.conf.task_default_queue == "mapping"
    app.config_from_object(types.SimpleNamespace(SHOP_TASK_DEFAULT_QUEUE="spaced"), namespace="SHOP")
    assert app.conf.task_default_queue == "spaced"
    app.config_from_envvar("NOT_SET", silent=True)
    with pytest.raises(ImportError, match="NOT_SET"):
        app.config_from_envvar("NOT_SET")


def test_APP_6_what_is_set_directly_wins_over_a_source_read_later() -> None:
    app = Celery("proj", set_as_current=False)
    app.conf.task_default_queue = "direct"
    app.config_from_object({"task_default_queue": "source", "task_time_limit": 4})
    assert (app.conf.task_default_queue, app.conf.task_time_limit) == ("direct", 4)


def test_APP_7_old_names_alone_are_taken() -> None:
    app = Celery("proj", set_as_current=False)
    app.config_from_object({"CELERYD_CONCURRENCY": 3, "BROKER_URL": "memory://", "CELERY_ACKS_LATE": False})
    assert (app.conf.worker_concurrency, app.conf.task_acks_late) == (3, False)


def test_APP_7_old_and_new_names_in_one_source_are_refused_with_a_list() -> None:
    app = Celery("proj", set_as_current=False)
    with pytest.raises(ImproperlyConfigured) as refused:
        app.config_from_object(
            {"CELERY_ACKS_LATE": False, "CELERYD_CONCURRENCY": 3, "task_default_queue": "q", "my_own": 1}
        )
    assert str(refused.value).splitlines()[1:] == [
        "  CELERYD_CONCURRENCY -> worker_concurrency",
        "  CELERY_ACKS_LATE    -> task_acks_late",
    ]
    assert app.conf.task_default_queue == "celery"


def test_APP_7_who_gives_one_setting_by_both_names_means_the_new_one() -> None:
    app = Celery("proj", set_as_current=False)
    app.config_from_object({"result_expires": 7, "CELERY_TASK_RESULT_EXPIRES": 5})
    assert app.conf.result_expires == 7


def test_APP_7_two_sources_may_differ() -> None:
    app = Celery("proj", set_as_current=False, task_default_queue="new")
    app.config_from_object({"CELERYD_CONCURRENCY": 3})
    assert (app.conf.worker_concurrency, app.conf.task_default_queue) == (3, "new")


def test_APP_8_what_is_shown_is_censored() -> None:
    app = Celery("proj", set_as_current=False, broker="redis://:geheim@h/0", s3_secret_access_key="geheim")
    assert "geheim" not in app.conf.humanize(with_defaults=True)
    assert app.conf.table()["s3_secret_access_key"] == "********"


def test_APP_8_every_setting_knows_where_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "memory://")
    app = Celery("proj", set_as_current=False, task_time_limit=4)
    app.conf.task_acks_late = True
    assert app.conf.origin("task_time_limit").startswith(f"{__file__}:")  # type: ignore[union-attr]
    assert app.conf.origin("task_acks_late").startswith(f"{__file__}:")  # type: ignore[union-attr]
    assert app.conf.origin("broker_url") == "CELERY_BROKER_URL in the environment"
    assert app.conf.origin("timezone") is None


def test_APP_18_the_time_is_of_the_apps_zone() -> None:
    app = Celery("proj", set_as_current=False)
    assert app.now().tzinfo is UTC
    app.conf.timezone = "Asia/Tokyo"
    assert app.timezone == ZoneInfo("Asia/Tokyo")
    assert abs((app.now() - datetime.now(UTC)).total_seconds()) < 5


def test_APP_19_an_app_runs_commands_of_its_own(
    app: Celery, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.task(name="shop.pay")(lambda: None)
    assert app.start(["check"]) == 0
    assert "shop.pay" in capsys.readouterr().out
    assert app.start(["no-such-command"]) == 2
    monkeypatch.setattr("sys.argv", ["program", "report"])
    assert app.start() == 0
    with pytest.raises(ValueError, match=r'app\.worker_main\(\["worker", "-c", "2"\]\)'):
        app.worker_main(["-c", "2"])


def test_APP_19_a_program_is_its_own_worker(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from celeriac import Celery\n"
        "app = Celery('shop', broker='sqlite:///a.db', backend='sqlite:///a.db')\n"
        "@app.task\n"
        "def add(x, y):\n    return x + y\n"
        "if __name__ == '__main__':\n"
        "    add.delay(2, 3)\n"
        "    raise SystemExit(app.worker_main(['worker', '-c', '1', '-l', 'info']))\n"
    )
    worker = Program([sys.executable, "shop.py"], cwd=tmp_path, env=clean_environment())
    worker.start()
    try:
        worker.wait_for_line(r"Task shop\.add\[.*\] succeeded in .*: 5")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    finally:
        worker.stop()


# --- copies, and other apps -------------------------------------------------------------------------------


class Doubling(Task[Any, Any]):
    name = "doubling"

    def run(self, x: int) -> int:
        return 2 * x


_LASTING = Celery("lasting", broker="memory://lasting", set_as_current=False, task_default_queue="mail")
_LASTING.register_task(Doubling)


@_LASTING.task(name="tripled", max_retries=7)
def tripled(x: int) -> int:
    return 3 * x


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda app: pickle.loads(pickle.dumps(app))],
    ids=["copy", "deep", "pickle"],
)
def test_APP_19_a_copied_app_has_the_settings_and_tasks_of_the_first(
    copied: Callable[[Celery], Celery],
) -> None:
    before = get_current_app()
    twin = copied(_LASTING)
    assert get_current_app() is before
    assert (twin.main, twin.conf.task_default_queue, twin.broker_url) == (
        "lasting",
        "mail",
        "memory://lasting",
    )
    assert {"doubling", "tripled"} <= twin.tasks.keys()
    assert twin.tasks["tripled"] is not tripled
    assert (twin.tasks["tripled"](2), twin.tasks["doubling"](2), twin.tasks["tripled"].max_retries) == (
        6,
        4,
        7,
    )
    twin.conf.task_default_queue = "other"
    assert _LASTING.conf.task_default_queue == "mail"
    assert twin.conf.origin("broker_url") == _LASTING.conf.origin("broker_url")


def test_APP_19_a_copied_task_is_the_task(app: Celery) -> None:
    add = app.task(name="add")(sum)
    assert copy.copy(add) is add
    assert copy.deepcopy({"call": [add]}) == {"call": [add]}
    assert pickle.loads(pickle.dumps(add)) is add


def test_APP_10_what_another_app_shares_a_worker_takes_in(app: Celery) -> None:
    other = Celery("other", broker="memory://", set_as_current=False)
    other.task(name="other.shared")(sum)
    other.task(name="other.own", shared=False)(sum)
    assert "other.shared" not in app.tasks
    app.adopt_shared()
    assert "other.shared" in app.tasks
    assert "other.own" not in app.tasks
    assert app.tasks["other.shared"].app is app


# --- what else the app gives ------------------------------------------------------------------------------


def test_APP_5_settings_come_from_a_command_line_too(app: Celery) -> None:
    app.config_from_cmdline(["task_time_limit=30", "worker.concurrency = 2"])
    assert (app.conf.task_time_limit, app.conf.worker_concurrency) == (30, 2)
    assert app.either("task_soft_time_limit", lambda: None, 7) == 7
    assert app.either("task_time_limit", 7) == 30


def test_APP_9_the_default_app_is_set_up_or_refused_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "defaultconf.py").write_text("task_default_queue = 'of the module'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "defaultconf")
    with current.only(None):
        assert get_current_app().conf.task_default_queue == "of the module"
    monkeypatch.setenv("C_WARN_APP", "1")
    with current.only(None), pytest.warns(UserWarning, match="the default one is used"):
        get_current_app()
    monkeypatch.setenv("C_STRICT_APP", "1")
    with current.only(None), pytest.raises(RuntimeError, match=r"create one first, Celery\(\.\.\.\)"):
        get_current_app()


def test_APP_18_results_of_groups_belong_to_the_app_that_made_them(app: Celery) -> None:
    add = app.task(name="add")(lambda x: x)
    with app.testing() as stepper:
        result = group(add.s(1), add.s(2)).delay()
        result.save()
        stepper.run()
        with Celery("another", broker="memory://"):
            again = app.GroupResult.restore(result.id)
            assert again is not None
            assert again.get() == app.ResultSet(result.results).get() == [1, 2]
            assert app.GroupResult("x", []).app is app


def test_APP_18_the_tasks_around_a_call_are_known(app: Celery) -> None:
    @app.task(name="outer")
    def outer() -> list[str]:
        return list(inner())

    @app.task(name="inner")
    def inner() -> list[str]:
        return [str(app.current_worker_task.name), str(app.current_task.name)]  # type: ignore[union-attr]

    with app.testing():
        assert outer.delay().get() == ["outer", "inner"]
    assert app.current_worker_task is None
    assert app.oid == app.oid != Celery("x", set_as_current=False).oid
    assert app.uses_utc_timezone()


def test_APP_18_programs_are_started_by_options_of_their_names(
    app: Celery, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = app.Worker(concurrency=2, queues=["a", "b"], beat=True, task_events=False, pool=None)
    assert worker.arguments() == ["worker", "--concurrency", "2", "--queues", "a,b", "--beat"]
    with pytest.raises(ImproperlyConfigured, match="the beat did not start"):
        app.Beat(max_intervall=1).run()
    assert "No such option" in capsys.readouterr().err


def test_APP_17_a_connection_tells_whether_the_broker_is_there_and_how_long_a_queue_is(app: Celery) -> None:
    app.send_task("add", (1,))
    with app.connection_for_read() as connection:
        assert connection.ensure_connection(max_retries=1).connected
        assert connection.default_channel.queue_declare("celery", passive=True).message_count == 1
        assert connection.channel().queue_purge("celery") == 1
    app.send_task("add", (1,))
    with app.connection(f"memory://{uuid4().hex}") as other:
        assert other.default_channel.queue_declare("celery").message_count == 0
        with pytest.raises(AttributeError, match="no client"):
            _ = other.default_channel.client
    away = Celery("x", broker="redis://:secret@127.0.0.1:1/0", set_as_current=False).connection()
    assert (away.connected, away.as_uri()) == (False, "redis://:********@127.0.0.1:1/0")
    with pytest.raises(OperationalError, match="does a Redis server run there"):
        away.ensure_connection(max_retries=1, interval_start=0)


def test_APP_17_a_queue_of_redis_is_looked_into_by_the_client_of_a_connection(redis_db: str) -> None:
    with (
        Celery("proj", broker=redis_db, set_as_current=False) as app,
        app.pool.acquire(block=True) as connection,
    ):
        app.send_task("add", (1,))
        (payload,) = connection.default_channel.client.lrange("celery", 0, -1)
        assert unpack(payload).name == "add"


def test_APP_24_what_a_stock_beat_sends_every_night_runs_and_does_nothing(app: Celery) -> None:
    app.send_task("celery.backend_cleanup")
    with app.testing() as stepper:
        app.send_task("celery.backend_cleanup")
        assert [(ran.name, ran.value) for ran in stepper.run()] == [("celery.backend_cleanup", None)]


class Greeting(Task[..., Any]):
    """As a web framework's tasks that need its context."""

    greeting = "hello"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return f"{self.greeting}, {self.run(*args, **kwargs)}"


def _guest(name: str = "guest") -> str:
    return name


def test_APP_2_a_base_put_into_the_app_is_that_of_tasks_before_and_after(app: Celery) -> None:
    before = app.task(name="before")(_guest)
    own = app.task(name="own", base=Task)(_guest)
    app.Task = type("Polite", (Greeting, app.Task), {})
    after = app.task(name="after")(_guest)
    assert before() == after() == before.apply().get() == "hello, guest"
    assert before is app.tasks["before"]
    assert before.name == "before"
    assert own() == "guest"


class Polite(Celery):
    task_cls = Greeting


class NamedPolite(Celery):
    task_cls = f"{__name__}:Greeting"


class MadePolite(Celery):
    def create_task_cls(self) -> Any:
        return self.subclass_with_self(f"{__name__}:Greeting", name="Made", attribute="_app", greeting="hi")


@pytest.mark.parametrize(
    ("kind", "said"), [(Polite, "hello"), (NamedPolite, "hello"), (MadePolite, "hi")], ids=lambda x: str(x)
)
def test_APP_2_a_subclass_of_the_app_says_what_its_tasks_are(kind: type[Celery], said: str) -> None:
    with kind("proj", broker="memory://", set_as_current=False) as app:
        assert app.task(name="guest")(_guest)() == f"{said}, guest"
        assert issubclass(app.Task, Greeting)


def test_APP_12_a_shared_task_that_was_there_before_the_app_gets_the_base_of_the_app() -> None:
    @shared_task
    def guest() -> str:
        return "guest"

    with Celery("plain", broker="memory://"):
        assert guest() == "guest"
        with Celery("polite", broker="memory://", task_cls=Greeting):
            assert guest() == guest.apply().get() == "hello, guest"
        with NamedPolite("named", broker="memory://"):
            assert guest.apply().get() == "hello, guest"
    with Celery("plain", broker="memory://"):
        assert guest.apply().get() == "guest"


def test_TSK_1_annotations_of_one_app_are_none_of_the_next_ones_shared_tasks() -> None:
    def counted(run: Callable[[], None]) -> Callable[[], None]:
        def counting() -> None:
            wrapped.append(1)
            run()

        return counting

    def limit_of(task: Any, app: Celery) -> Any:
        task.delay()
        return unpack(app.broker.peek("celery", 1)[0]).timelimit

    @shared_task
    def limited() -> None: ...

    wrapped: list[int] = []
    said = {"*": {"time_limit": 7, "@run": counted}}
    for number in range(2):
        with Celery("annotated", broker=f"memory://{uuid4().hex}", task_annotations=said) as app:
            app.finalize()
            wrapped.clear()
            limited()
            assert (len(wrapped), limit_of(limited, app)) == (1, (7, None))
            assert shared_task(name=f"limited {number}")(lambda: None).time_limit == 7
    with Celery("plain", broker=f"memory://{uuid4().hex}") as app:
        assert limit_of(limited, app) == (None, None)


class OfTenant(Task[..., Any]):
    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        if args == ("double",):
            return None
        options["headers"] = {**(options.get("headers") or {}), "tenant": "acme"}
        return super().apply_async(args, kwargs, *rest, **options)


class TenantApp(Celery):
    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        options["headers"] = {**(options.get("headers") or {}), "tenant": "acme"}
        return super().send_task(name, args=args, kwargs=kwargs, **options)


@pytest.mark.parametrize(("kind", "base"), [(Celery, OfTenant), (TenantApp, None)], ids=["task", "app"])
def test_TSK_4_a_method_that_overrides_sending_is_passed_by_every_call(kind: type[Celery], base: Any) -> None:
    heard: list[str | None] = []

    def hear(headers: dict[str, Any], **_: Any) -> None:
        heard.append(headers.get("tenant"))

    url = f"memory://{uuid4().hex}"
    with kind("proj", broker=url, backend=url, task_cls=base) as app:
        guest = app.task(name="guest")(_guest)
        gather = app.task(name="gather")(list)
        signals.before_task_publish.connect(hear)
        try:
            guest.delay()
            group(guest.s("a"), guest.s("b")).apply_async()
            chain(guest.s("a"), guest.si("b")).delay()
            chord([guest.s("a"), guest.s("b")], gather.s()).delay()
            guest.apply_many([("a",), ("b",)])
        finally:
            signals.before_task_publish.disconnect(hear)
        assert heard == ["acme"] * 8
        assert app.broker.depth(["celery"])["celery"].ready == 8


def test_TSK_4_what_an_overriding_method_does_not_send_is_left_out_of_a_group(app: Celery) -> None:
    guest = app.task(name="guest", base=OfTenant)(_guest)
    group(guest.s("a"), guest.s("double"), guest.s("b")).delay()
    assert app.broker.depth(["celery"])["celery"].ready == 2


def test_TSK_1_annotations_count_where_a_task_is_called_too(app: Celery) -> None:
    def note(self: Any, exc: Exception, *_rest: Any) -> None:
        failed.append(f"{self.name}: {exc}")

    failed: list[str] = []
    app.conf.task_annotations = {"*": {"on_failure": note, "time_limit": 7}}

    @app.task(name="fails")
    def fails() -> None:
        raise ValueError("no")

    fails.delay()
    (payload,) = app.broker.peek("celery", 1)
    assert unpack(payload).timelimit == (7, None)
    fails.apply()
    assert failed == ["fails: no"]


def test_TSK_9_headers_of_a_request_may_be_given_to_another_call(app: Celery) -> None:
    @app.task(name="part", bind=True)
    def part(self: Any) -> Any:
        return self.request.headers

    @app.task(name="whole", bind=True)
    def whole(self: Any) -> None:
        part.apply_async(headers=self.request.headers, link=part.s().set(immutable=True))

    with app.testing() as stepper:
        whole.apply_async(headers={"tenant": "acme"}, expires=60)
        ran = stepper.run()
    assert [(one.name, one.value) for one in ran] == [
        ("whole", None),
        ("part", {"tenant": "acme"}),
        ("part", {}),
    ]


def test_TSK_4_what_an_overriding_method_sends_is_a_child_once(app: Celery) -> None:
    guest = app.task(name="guest", base=OfTenant)(_guest)
    with app.testing() as stepper:
        result = guest.apply_async(("a",), link=[guest.si("b"), guest.si("c")])
        stepper.run()
        assert len(result.children or ()) == 2


def test_RES_2_a_task_that_exits_does_not_end_who_waits_for_it(app: Celery) -> None:
    @app.task(name="leaves")
    def leaves() -> None:
        sys.exit(3)

    with app.testing() as stepper:
        result = leaves.delay()
        stepper.run()
        with pytest.raises(TaskError, match=r"ended with SystemExit\(3\)") as told:
            result.get()
    assert isinstance(told.value.__cause__, SystemExit)
    assert isinstance(result.result, SystemExit)


def _as_text(value: Any) -> str:
    return json.dumps(value, default=lambda it: {"of_a_set": sorted(it)})


def _from_text(text: bytes) -> Any:
    return json.loads(text, object_hook=lambda it: set(it["of_a_set"]) if "of_a_set" in it else it)


@pytest.fixture
def own_serializer(monkeypatch: pytest.MonkeyPatch) -> str:
    for known in ("_BY_NAME", "_BY_CONTENT_TYPE"):
        monkeypatch.setattr(codecs, known, dict(getattr(codecs, known)))
    register("own_json", _as_text, _from_text, "application/x-own-json")
    return "own_json"


@pytest.mark.parametrize("accepted", [["own_json", "json"], ["pickle"], ["application/x-python-serialize"]])
@pytest.mark.usefixtures("own_serializer")
def test_TSK_10_a_chord_comes_to_its_body_whatever_serializer_tasks_have(accepted: list[str]) -> None:
    url, serializer = f"memory://{uuid4().hex}", accepted[0]
    words = {"task_serializer": serializer, "result_serializer": serializer, "accept_content": accepted}
    with Celery("proj", broker=url, backend=url, set_as_current=False, **words) as app:
        same = app.task(name="same")(lambda value: value)
        union = app.task(name="union")(lambda sets: set().union(*sets))
        with app.testing() as stepper:
            result = chord([same.s({1}), same.s({2})], union.s()).delay()
            stepper.run()
            assert result.get() == {1, 2}


def test_TSK_10_where_a_serializer_of_ones_own_alone_is_accepted_json_is_refused(own_serializer: str) -> None:
    with Celery("proj", broker=f"memory://{uuid4().hex}", accept_content=[own_serializer]) as app:
        guest = app.task(name="guest")(_guest)
        with app.testing() as stepper:
            guest.apply_async(serializer=own_serializer)
            guest.apply_async(serializer="json")
            assert [ran.state for ran in stepper.run()] == ["SUCCESS", "FAILURE"]


def test_SIG_1_a_priority_that_a_receiver_gives_is_that_of_the_message(app: Celery) -> None:
    def hurry(properties: dict[str, Any], **_: Any) -> None:
        properties["priority"] = 0

    app.task(name="slow")(_guest).apply_async(priority=9)
    signals.before_task_publish.connect(hurry)
    try:
        app.task(name="quick")(_guest).apply_async(priority=9)
    finally:
        signals.before_task_publish.disconnect(hurry)
    assert [unpack(payload).name for payload in app.broker.peek("celery", 2)] == ["quick", "slow"]


class Prefixed(Celery):
    def gen_task_name(self, name: str, module: str | None) -> str:
        return f"shop.{name}"


def test_APP_11_a_shared_task_is_called_by_the_name_that_its_app_gives() -> None:
    @shared_task
    def early() -> None: ...

    with Prefixed("proj", broker=f"memory://{uuid4().hex}") as app:

        @shared_task
        def late() -> None: ...

        early.delay()
        late.delay()
        assert [unpack(payload).name for payload in app.broker.peek("celery", 2)] == [
            "shop.early",
            "shop.late",
        ]
        assert {early.name, late.name} <= app.tasks.keys()
    with Celery("plain", broker="memory://"):
        assert early.name == f"{__name__}.early"


def test_APP_2_a_base_that_cannot_be_imported_yet_is_that_of_tasks_when_they_are_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Celery("proj", broker=f"memory://{uuid4().hex}", task_cls="models_not_ready:Tenant") as app:
        guest = app.task(name="guest")(_guest)

        @shared_task
        def other() -> None: ...

        with pytest.raises(ImportError, match="models_not_ready"):
            guest.delay()
        monkeypatch.setitem(sys.modules, "models_not_ready", types.SimpleNamespace(Tenant=OfTenant))
        guest.delay()
        other.delay()
        sent = [unpack(payload).headers["tenant"] for payload in app.broker.peek("celery", 2)]
        assert sent == ["acme", "acme"]
        assert isinstance(guest, OfTenant)
