"""The small tools that only Celery's users know behave as they do there."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from celeriac import Celery, Task, signals
from celeriac.compat import (
    containers,
    defaults,
    functional,
    imports,
    kombu_serialization,
    platforms,
    serialization,
    texts,
    times,
)
from celeriac.compat import unpicklable as exceptions
from celeriac.compat.local import PromiseProxy, Proxy, maybe_evaluate, try_import
from celeriac.compat.manager import Manager, Sentinel
from celeriac.compat.migrate import StopFiltering, move, move_by_taskmap, move_direct_by_id, move_task_by_id
from celeriac.compat.nodenames import (
    anon_nodename,
    default_nodename,
    gethostname,
    host_format,
    node_format,
    nodename,
    nodesplit,
    worker_direct,
)
from celeriac.compat.results import ResultBase
from celeriac.compat.saferepr import saferepr
from celeriac.compat.state import connect_on_app_finalize, get_current_worker_task
from celeriac.compat.utils import LOG_LEVELS, chunks, noop, uuid
from celeriac.current import shared
from celeriac.entities import Queue
from celeriac.exceptions import ContentDisallowed
from celeriac.testing.worker import start_worker
from celeriac.wire.task import unpack


def test_node_names_are_split_and_joined() -> None:
    assert nodename("a", "b") == "a@b"
    assert nodesplit("a@b@c") == ("a", "b@c")
    assert nodesplit("b") == (None, "b")
    assert anon_nodename("h", "p").startswith("p")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("w1", "celery@w1"),
        ("w1@", "w1@HOST"),
        ("@x", "celery@x"),
        ("", "celery@HOST"),
        (None, "celery@HOST"),
    ],
)
def test_what_a_node_name_lacks_is_filled_in(given: str | None, name: str) -> None:
    assert default_nodename(given) == name.replace("HOST", gethostname())


def test_patterns_are_filled_in() -> None:
    assert host_format("%n|%h|%d|%i|%I|%%", "a.b.c") == "a|a.b.c|b.c|0||%"
    assert host_format("%n", "a.b.c", "N") == "N"
    assert node_format("%n|%h|%p", "w@a.b") == "w|a.b|w@a.b"
    with pytest.raises(ValueError, match="%q in '%q' stands for nothing"):
        host_format("%q")


def test_small_functions_do_as_they_say() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert noop(1, two=2) is None
    assert len(uuid()) == 36
    assert uuid() != uuid()
    assert (LOG_LEVELS["INFO"], LOG_LEVELS[20], LOG_LEVELS[50]) == (20, "INFO", "CRITICAL")


def test_a_proxy_behaves_as_what_it_stands_for() -> None:
    box: list[int] = [1, 2]
    proxy = Proxy(lambda: box)
    assert isinstance(proxy, list)
    assert proxy == [1, 2]
    assert len(proxy) == 2
    proxy.append(3)
    assert box == [1, 2, 3]
    assert proxy[-1] == 3
    assert list(proxy) == box
    assert repr(proxy) == "[1, 2, 3]"
    assert proxy * 1 == [1, 2, 3]
    assert [*proxy, 4] == [1, 2, 3, 4]
    assert not Proxy(lambda: None)


def test_a_proxy_asks_anew_and_a_promise_asks_once() -> None:
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return len(asked)

    proxy, promise = Proxy(ask), PromiseProxy(ask)
    assert (int(proxy), int(proxy)) == (1, 2)
    assert not promise.__evaluated__()
    assert (int(promise), int(promise), maybe_evaluate(promise)) == (3, 3, 3)
    assert promise.__evaluated__()
    assert maybe_evaluate(7) == 7


def test_a_module_that_is_not_there_is_the_default() -> None:
    assert try_import("json").loads("1") == 1
    assert try_import("no_module_of_this_name", 5) == 5


class Unreadable(Exception):
    pass


SMALL: dict[str, tuple[Callable[[], Any], Any]] = {
    "maybe_list": (
        lambda: [functional.maybe_list(x) for x in (None, 1, "a", (1,))],
        [None, [1], ["a"], (1,)],
    ),
    "is_list": (lambda: [functional.is_list(x) for x in (None, "a", {}, [], ())], [False] * 3 + [True] * 2),
    "first": (lambda: [functional.first(None, [None, 3]), functional.first(str, [])], [3, None]),
    "uniq": (lambda: list(functional.uniq([1, 2, 1])), [1, 2]),
    "padlist": (lambda: functional.padlist("ab", 3, "z"), ["a", "b", "z"]),
    "dictfilter": (lambda: functional.dictfilter({"a": None, "b": 1}, c=2), {"b": 1, "c": 2}),
    "lookahead": (lambda: list(functional.lookahead([1, 2])), [(1, 2), (2, None)]),
    "seq": (
        lambda: [functional.seq_concat_item((1,), 2), functional.seq_concat_seq([1], (2,))],
        [(1, 2), [1, 2]],
    ),
    "mlazy": (lambda: list(functional.evaluate_promises([functional.mlazy(int, "3"), 4])), [3, 4]),
    "firstmethod": (lambda: functional.firstmethod("upper")([object(), "a"]), "A"),
    "arity": (lambda: [functional.arity_greater(lambda a, b: 1, n) for n in (1, 2)], [True, False]),
    "fun_accepts": (
        lambda: [functional.fun_accepts_kwargs(f) for f in (dict.fromkeys, lambda **k: 1)],
        [False, True],
    ),
    "numeric": (
        lambda: [functional.is_numeric_value(x) for x in (1, 1.5, True, "1")],
        [True, True, False, False],
    ),
    "abbr": (lambda: [texts.abbr("abcdefgh", 4), texts.truncate("abcdefgh", 5)], ["a...", "abcde..."]),
    "texts": (
        lambda: [texts.pluralize(2, "task"), texts.join(["a", None, "b"]), texts.indent("a", 2)],
        ["tasks", "a\nb", "  a"],
    ),
    "simple_format": (lambda: texts.simple_format("%n@%h%%", {"n": "a", "h": lambda: "b"}), "a@b%"),
    "str_to_list": (lambda: [texts.str_to_list(x) for x in ("a,b", ["a"])], [["a", "b"], ["a"]]),
    "qualname": (
        lambda: [imports.qualname(x) for x in (timedelta, 1)],
        ["datetime.timedelta", "builtins.int"],
    ),
    "instantiate": (lambda: imports.instantiate("datetime:timedelta", seconds=3), timedelta(seconds=3)),
    "symbol": (lambda: imports.symbol_by_name("nope:x", default=4), 4),
    "strtobool": (lambda: [serialization.strtobool(x) for x in ("Yes", 1, "0")], [True, 1, False]),
    "b64": (lambda: [serialization.b64encode(b"ab"), serialization.b64decode("YWI=")], ["YWI=", b"ab"]),
    "jsonify": (
        lambda: serialization.jsonify({"a": datetime(2020, 1, 1, tzinfo=UTC), "b": (timedelta(0), None)}),
        {"a": "2020-01-01T00:00:00Z", "b": ["0:00:00", None]},
    ),
    "ensure": (lambda: serialization.ensure_serializable((1, int), pickle.loads), ("1", "<class 'int'>")),
    "exception": (lambda: serialization.create_exception_cls("X", "m", ValueError).__mro__[1], ValueError),
    "rate": (lambda: [times.rate(x) for x in ("30/m", 5, "2/s", None)], [0.5, 5, 2, 0]),
    "backoff": (lambda: times.get_exponential_backoff_interval(2, 9, 100), 100),
    "iso": (lambda: times.maybe_iso8601("2020-01-01T03:04:05Z"), datetime(2020, 1, 1, 3, 4, 5, tzinfo=UTC)),
    "remaining": (
        lambda: times.remaining(datetime(2020, 1, 1), timedelta(hours=1), datetime(2020, 1, 1)),
        timedelta(hours=1),
    ),
    "days": (lambda: [times.weekday("Monday"), times.yearmonth("january")], [1, 1]),
    "to_utc": (lambda: times.to_utc(datetime(2020, 1, 1)), datetime(2020, 1, 1, tzinfo=UTC)),
    "saferepr": (lambda: saferepr(["x" * 99], 20), "['xxxxxxxxxxxxxxx..."),
    "platforms": (
        lambda: [platforms.EX_USAGE, platforms.signal_name(15), platforms.get_errno_name("ENOENT")],
        [64, "TERM", 2],
    ),
    "find": (
        lambda: [defaults.find("CELERY_ACKS_LATE")[:2], defaults.find("broker_url").key],
        [("task", "acks_late"), "url"],
    ),
    "lpmerge": (lambda: containers.lpmerge({"a": 1}, {"a": None, "b": 2}), {"a": 1, "b": 2}),
    "force_mapping": (lambda: containers.force_mapping(containers.Bunch(x=1))["x"], 1),
    "worker_direct": (lambda: worker_direct("a@b").name, "a@b.dq2"),
}


@pytest.mark.parametrize("name", SMALL)
def test_MOD_6_to_8_small_tools_give_what_celerys_give(name: str) -> None:
    do, expected = SMALL[name]
    assert do() == expected


def test_MOD_7_a_cache_forgets_what_was_not_looked_at_for_longest() -> None:
    cache: functional.LRUCache[str, int] = functional.LRUCache(limit=2)
    cache["a"], cache["b"] = 1, 2
    assert cache["a"] == 1
    cache["c"] = 3
    assert list(cache.items()) == [("a", 1), ("c", 3)]
    assert containers.AttributeDict(a=1).a == 1
    with pytest.raises(AttributeError, match="'b'"):
        _ = containers.AttributeDict(a=1).b


def test_APP_21_functions_hear_of_apps_and_the_task_that_runs_is_known(app: Celery) -> None:
    heard: list[str | None] = []
    connect_on_app_finalize(lambda app: heard.append(app.main))
    try:
        assert get_current_worker_task() is None

        @app.task(name="outer")
        def outer() -> str:
            return inner()

        @app.task(name="inner")
        def inner() -> str:
            return str(get_current_worker_task().name)

        with app.testing():
            assert outer.delay().get() == "outer"
        assert heard == ["proj"]
    finally:
        shared.pop()


# --- celery.contrib ---------------------------------------------------------------------------------------


@pytest.fixture
def app() -> Any:
    url = f"memory://{uuid4().hex}"
    with Celery("proj", broker=url, backend=url) as app:
        yield app


@pytest.fixture
def add(app: Celery) -> Task[..., int]:
    return app.task(name="add")(lambda *numbers: sum(numbers))


def names(app: Celery, queue: str) -> list[str]:
    return [unpack(payload).id for payload in app.broker.peek(queue, 100)]


def test_CTB_1_messages_are_moved_by_id_name_or_content(app: Celery, add: Task[..., int]) -> None:
    ids = [add.delay(n).id for n in range(4)]
    app.send_task("pay", task_id="pay")
    assert move_task_by_id(ids[1], "other", app=app).filtered == 1
    assert move_by_taskmap({"pay": Queue("money")}, app=app).filtered == 1
    assert move_direct_by_id(ids[3], "w@host", app=app).count == 3
    assert (names(app, "money"), names(app, "other"), names(app, "w@host.dq2")) == (
        ["pay"],
        [ids[1]],
        [ids[3]],
    )
    assert sorted(names(app, "celery")) == sorted([ids[0], ids[2]])
    moved = unpack(app.broker.peek("other", 1)[0])
    assert (moved.routing_key, moved.arguments({"json"})[0]) == ("other", [1])


def test_CTB_1_a_predicate_says_where_to_and_when_it_has_seen_enough(
    app: Celery, add: Task[..., int]
) -> None:
    for n in range(4):
        add.apply_async((n,), task_id=f"id{n}")
    seen: list[str] = []

    def first_two(body: Any, message: Any) -> Any:
        if len(seen) == 2:
            raise StopFiltering
        seen.append(message.headers["id"])
        return ("", f"queue{body[0][0]}")

    told: list[int] = []
    state = move(first_two, app=app, callback=lambda state, body, message: told.append(state.filtered))
    assert (state.filtered, told) == (2, [1, 2])
    assert [names(app, f"queue{id[2:]}") for id in seen] == [[id] for id in seen]
    assert len(names(app, "celery")) == 2
    assert move(lambda body, message: True, app=app, limit=1, exchange="", routing_key="rest").filtered == 1
    assert len(names(app, "rest")) == 1


def test_TST_3_a_manager_waits_for_tasks_of_a_worker(app: Celery, add: Task[..., int]) -> None:
    manager = Manager(app)
    with start_worker(app):
        results = [add.delay(n) for n in range(3)]
        assert [manager.join(result) for result in results] == [[0], [1], [2]]
        manager.assert_result_tasks_in_progress_or_completed(results)
    with pytest.raises(Sentinel):
        manager.wait_for(
            lambda: manager.true_or_raise(list), Sentinel, max_retries=1, interval_start=0, interval_step=0
        )
    with pytest.raises(AssertionError, match="should not have happened"):
        manager.ensure_not_for_a_while(list, Sentinel, max_retries=1)


def test_zones_and_offsets() -> None:
    zone = times.timezone
    assert zone.utc is zone.get_timezone(UTC) is UTC
    noon = datetime(2026, 1, 1, 12)
    assert zone.to_local(noon, zone.get_timezone("Europe/Berlin")).hour == 13
    assert zone.tz_or_local("UTC").utcoffset(noon) == timedelta(0)
    assert zone.to_system(noon.replace(tzinfo=UTC)).utcoffset() == zone.local.utcoffset(noon)
    assert times.adjust_timestamp(10_000.0, 2, lambda: 0) == 2800
    assert -15 < times.utcoffset() < 15


def test_handlers_of_signals_are_set_by_name() -> None:
    before = platforms.signals["USR2"]
    try:
        platforms.signals.ignore("USR2")
        assert platforms.signals["SIGUSR2"] == platforms.signals.ignored
        platforms.signals.update(USR2=print)
        assert platforms.signals[platforms.signals.signum("USR2")] is print
        assert platforms.signals.supported("INT")
        assert not platforms.signals.supported("NOPE")
    finally:
        platforms.signals["USR2"] = before


def test_an_exception_that_cannot_be_pickled_is_stood_for() -> None:
    class Local(Exception):
        pass

    assert str(exceptions.get_pickleable_exception(ValueError("x"))) == "x"
    stands = exceptions.get_pickleable_exception(Local("gone", object))
    assert isinstance(stands, exceptions.UnpickleableExceptionWrapper)
    assert (stands.exc_cls_name, stands.exc_args[0]) == ("Local", "'gone'")
    assert str(pickle.loads(pickle.dumps(stands))) == str(stands)


def test_a_context_falls_back_on_one_of_its_own() -> None:
    class Opened:
        def __init__(self, name: str) -> None:
            self.name, self.closed = name, False

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *_: object) -> None:
            self.closed = True

    given = Opened("given")
    with containers.FallbackContext(given, Opened, "made") as used:
        assert used is given
    assert not given.closed
    with containers.FallbackContext(None, Opened, "made") as used:
        assert used.name == "made"
    assert used.closed


def test_APP_23_the_loader_imports_what_a_worker_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loaded_tasks.py").write_text("seen = True")
    monkeypatch.syspath_prepend(tmp_path)
    app = Celery("proj", include=["loaded_tasks"], set_as_current=False)
    assert [module.seen for module in app.loader.import_default_modules()] == [True]
    assert app.loader.conf is app.conf


def test_results_of_all_kinds_are_results() -> None:
    app = Celery("proj", set_as_current=False)
    assert isinstance(app.AsyncResult("a"), ResultBase)
    assert isinstance(app.GroupResult("g", []), ResultBase)


def test_values_are_written_and_read_as_kombu_does() -> None:
    assert kombu_serialization.dumps({"a": 1}) == ("application/json", "utf-8", '{"a": 1}')
    for value in ({"a": [1]}, b"raw", "text", None):
        kind, encoding, payload = kombu_serialization.dumps(value)
        assert kombu_serialization.loads(payload, kind, encoding) == value
    kind, encoding, payload = kombu_serialization.dumps({1}, "pickle")
    assert kombu_serialization.loads(payload, kind, encoding, accept=["pickle"]) == {1}
    with pytest.raises(ContentDisallowed):
        kombu_serialization.loads(payload, kind, encoding)
    assert kombu_serialization.prepare_accept_content(["json", "a/b"]) == {"application/json", "a/b"}


def test_APP_23_a_program_that_is_no_worker_has_its_log_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("proj", set_as_current=False)
    set_up: list[dict[str, Any]] = []
    monkeypatch.setattr("logging.basicConfig", lambda **said: set_up.append(said))
    monkeypatch.setattr("celeriac.compat.logs.Logging.already_setup", False)
    assert app.log.get_default_logger().name == "celery"
    assert app.log.setup(loglevel="INFO", logfile="some.log")
    assert not app.log.setup_logging_subsystem()
    assert [(said["level"], said["filename"]) for said in set_up] == [(20, "some.log")]
    assert "%(name)s" in set_up[0]["format"]
    before = app.log.setup_task_loggers().level
    assert app.log.setup_task_loggers("ERROR").level == 40
    app.log.setup_task_loggers(before)
    app.log.redirect_stdouts_to_logger(None)


def test_APP_23_who_hears_setup_logging_sees_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.compat.logs.Logging.already_setup", False)
    heard: list[int] = []

    def hear(loglevel: int, **_: Any) -> None:
        heard.append(loglevel)

    signals.setup_logging.connect(hear)
    try:
        assert not Celery("proj", set_as_current=False).log.setup("DEBUG")
    finally:
        signals.setup_logging.disconnect(hear)
    assert heard == [10]
