"""Routing: whose word counts, and which names can be queues."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

import pytest

from celeriac.config import Settings
from celeriac.exceptions import ImproperlyConfigured, QueueNotFound
from celeriac.queues import Queue, check_queue_name
from celeriac.routing import Route, Router


class Task:
    def __init__(self, **attributes: Any) -> None:
        self.queue = attributes.get("queue")
        self.exchange = attributes.get("exchange")
        self.routing_key = attributes.get("routing_key")
        self.priority = attributes.get("priority")


class Named:
    """As kombu's Queue and Exchange look from here."""

    def __init__(self, name: str, **attributes: Any) -> None:
        self.name = name
        vars(self).update(attributes)


def router(**settings: Any) -> Router:
    return Router(Settings(settings, environ={}))


def queue(routes: Any, name: str) -> str:
    return router(task_routes=routes).route(name).queue


def test_without_a_word_the_default_queue_is_taken() -> None:
    assert router().route("a.b") == Route("celery", "", "celery", 0)
    assert router(task_default_queue="other").route("a.b").queue == "other"


def test_the_call_wins_over_the_task_and_that_over_the_route() -> None:
    routed = router(task_routes={"a.b": {"queue": "route", "priority": 5}})
    task = Task(queue="task", priority=7)
    assert routed.route("x.y", task=task) == Route("task", "", "task", 7)
    assert routed.route("a.b", task=task) == Route("task", "", "task", 7)
    assert routed.route("a.b") == Route("route", "", "route", 5)
    assert routed.route("a.b", options={"queue": "call", "priority": 1}, task=task) == Route(
        "call", "", "call", 1
    )


def test_none_is_no_word() -> None:
    task = Task(queue="task")
    assert router().route("a.b", options={"queue": None, "priority": None}, task=task).queue == "task"


def test_names_globs_and_patterns_lead_to_queues() -> None:
    routes = {
        "mail.*": "mail",
        "mail.urgent": "fast",
        re.compile(r"(video|image)\..*"): {"queue": "media"},
        "shop.?ay": "pay",
    }
    assert queue(routes, "mail.send") == "mail"
    assert queue(routes, "mail.urgent") == "fast"
    assert queue(routes, "image.scale") == "media"
    assert queue(routes, "shop.pay") == "pay"
    assert queue(routes, "other") == "celery"


def test_a_list_of_pairs_is_asked_in_its_order() -> None:
    routes = [("mail.*", "first"), ("mail.s*", "second"), ("mail.x", {"queue": "exact"})]
    assert queue(routes, "mail.send") == "first"
    assert queue(routes, "mail.x") == "exact"
    assert queue((routes, {"other": "later"}), "other") == "later"


def test_functions_are_asked_with_everything_about_the_call() -> None:
    seen: dict[str, Any] = {}

    def rule(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **more: Any) -> Any:
        seen.update(name=name, args=args, kwargs=kwargs, options=options, task=task)
        return "big" if args and args[0] > 10 else None

    task = Task()
    routed = router(task_routes=(rule, {"a.b": "table"}))
    assert routed.route("a.b", (11,), {"k": 1}, {"countdown": 3}, task).queue == "big"
    assert seen == {
        "name": "a.b",
        "args": (11,),
        "kwargs": {"k": 1},
        "options": {"countdown": 3},
        "task": task,
    }
    assert routed.route("a.b", (1,)).queue == "table"


def test_an_object_with_route_for_task_is_a_rule() -> None:
    class Older:
        def route_for_task(self, name: str, args: Any = None, kwargs: Any = None) -> Any:
            return {"queue": "older"} if name == "a.b" else None

    assert queue([Older()], "a.b") == "older"
    assert queue([Older()], "other") == "celery"


def test_rules_may_be_named_by_their_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("shop_routes")
    vars(module).update(rule=lambda name, *rest, **more: "named", table={"a.b": "table"})
    monkeypatch.setitem(sys.modules, "shop_routes", module)
    assert queue("shop_routes.rule", "x") == "named"
    assert queue("shop_routes:table", "a.b") == "table"
    assert queue(["shop_routes.table", "shop_routes.rule"], "x") == "named"


@pytest.mark.parametrize(
    "routes",
    [5, {"a": 5}, {5: "a"}, "nowhere.rule", "nothing", ["re.no_such_name"], lambda *args, **more: 5],
)
def test_routes_that_make_no_sense_are_one_clear_error(routes: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="task_routes"):
        router(task_routes=routes).route("a")


def test_other_options_of_a_route_are_handed_on() -> None:
    routed = router(task_routes={"a.b": {"queue": "q", "serializer": "pickle", "expires": 5}})
    assert routed.route("a.b").options == {"serializer": "pickle", "expires": 5}


def test_the_default_priority_is_the_last_word() -> None:
    routed = router(task_default_priority=6)
    assert routed.route("a.b").priority == 6
    assert routed.route("a.b", task=Task(priority=0)).priority == 0
    with pytest.raises(ValueError, match="priority is a whole number"):
        routed.route("a.b", options={"priority": "high"})


def test_a_changed_setting_counts_from_the_next_call() -> None:
    settings = Settings(environ={})
    routed = Router(settings)
    assert routed.route("a.b").queue == "celery"
    settings.task_routes = {"a.b": "new"}
    assert routed.route("a.b").queue == "new"


def test_a_changed_attribute_of_the_task_counts_from_the_next_call() -> None:
    routed, task = router(), Task(queue="one")
    assert routed.route("a.b", task=task).queue == "one"
    task.queue = "two"
    assert routed.route("a.b", task=task).queue == "two"


def test_the_same_name_is_worked_out_once() -> None:
    routed = router(task_routes={"a.*": "q"})
    assert routed.route("a.b") is routed.route("a.b", options={"countdown": 1})


def test_undeclared_queues_come_to_be_unless_that_is_forbidden() -> None:
    assert router(task_queues=["a"]).route("x", options={"queue": "new"}).queue == "new"
    closed = router(task_queues=["a", "b"], task_create_missing_queues=False)
    assert closed.route("x", options={"queue": "b"}).queue == "b"
    with pytest.raises(QueueNotFound, match="'new' is not in task_queues"):
        closed.route("x", options={"queue": "new"})
    with pytest.raises(QueueNotFound):
        closed.consumed(["new"])


def test_queues_are_declared_in_many_ways() -> None:
    declared = [
        "plain",
        Queue("ours"),
        Named("kombu", exchange=Named("media", type="topic"), routing_key="video.#"),
    ]
    routed = router(task_queues=declared)
    assert list(routed.queues) == ["plain", "ours", "kombu"]
    assert routed.queues["kombu"] == Queue("kombu", "media", "video.#", "topic")
    by_name = router(task_queues={"a": {"exchange": "x", "binding_key": "k"}, "b": None})
    assert by_name.queues == {"a": Queue("a", "x", "k"), "b": Queue("b")}
    assert router().queues == {"celery": Queue("celery")}
    for nonsense in (5, [5], {"a": 5}, ["two\nlines"], "text"):
        with pytest.raises(ImproperlyConfigured, match="task_queues"):
            router(task_queues=nonsense)


def test_a_queue_may_be_given_as_an_object() -> None:
    assert router().route("x", options={"queue": Named("kombu")}).queue == "kombu"
    assert router(task_routes={"x": Queue("ours")}).route("x").queue == "ours"


def test_an_exchange_or_routing_key_means_the_queue_bound_to_it() -> None:
    routed = router(
        task_queues={
            "small": {"exchange": "media", "routing_key": "image"},
            "big": {"exchange": "media", "exchange_type": "topic", "routing_key": "video.#"},
            "news": {"exchange": "all", "exchange_type": "fanout"},
        }
    )

    def way(**options: Any) -> tuple[str, str, str]:
        found = routed.route("x", options=options)
        return found.queue, found.exchange, found.routing_key

    assert way(routing_key="image") == ("small", "media", "image")
    assert way(exchange="media", routing_key="video.long.cut") == ("big", "media", "video.long.cut")
    assert way(exchange="all") == ("news", "all", "news")
    assert way(routing_key="nobody")[0] == "celery"
    assert way(queue="small") == ("small", "", "small")  # by its name, as Celery says it to the task
    assert way(queue="small", routing_key="other") == ("small", "", "small")
    assert way(queue="big") == ("big", "media", "video.#")


def test_a_worker_serves_the_declared_queues_or_the_chosen() -> None:
    routed = router(task_queues=["a", "b", "c"])
    assert routed.consumed() == ["a", "b", "c"]
    assert routed.consumed(excluded=["b"]) == ["a", "c"]
    assert routed.consumed(["c", "new", "c"]) == ["c", "new"]
    assert router().consumed() == ["celery"]
    with pytest.raises(ValueError, match="empty"):
        routed.consumed([""])


@pytest.mark.parametrize("name", ["a", "with space", "größe", "a:b/c{d}*?", "x" * 255, "日本"])
def test_odd_names_are_queues(name: str) -> None:
    assert check_queue_name(name) == name
    assert router().route("x", options={"queue": name}).queue == name


@pytest.mark.parametrize(
    "name", ["", "two\nlines", "a\x00", "a\x06\x163", "tab\t", "x" * 256, "é" * 128, "\ud800", 5, b"a", ["a"]]
)
def test_impossible_names_are_one_clear_error(name: Any) -> None:
    with pytest.raises(ValueError, match=r"queue"):
        check_queue_name(name)
    with pytest.raises(ValueError, match=r"queue"):
        router().route("x", options={"queue": name})
