"""ROU: which queue a call goes to, by routes, queues and exchanges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from celeriac import Celery
from celeriac.config import Settings
from celeriac.entities import Broadcast, Exchange, Queue, binding
from celeriac.exceptions import ImproperlyConfigured, QueueNotFound
from celeriac.message import Binding
from celeriac.routing import Router
from celeriac.stepping import Stepper
from celeriac.testing.worker import start_worker
from celeriac.wire.task import unpack

MEDIA = Exchange("media", type="topic")
QUEUES = [
    Queue("celery"),
    Queue("images", MEDIA, routing_key="media.image.#"),
    Queue("all", MEDIA, routing_key="media.*.*"),
    Queue("one", Exchange("pair"), routing_key="key"),
    Queue("two", Exchange("pair"), routing_key="key"),
    Queue("left", Exchange("news", type="fanout")),
    Queue("right", Exchange("news", type="fanout")),
    Queue("many", bindings=[binding(MEDIA, routing_key="media.text"), binding(Exchange("pair"), "other")]),
]


@pytest.fixture
def app() -> Iterator[Celery]:
    url = f"memory://{uuid4().hex}"
    with Celery("proj", broker=url, backend=url, task_queues=QUEUES) as app:
        yield app


@pytest.fixture
def stepper(app: Celery) -> Iterator[Stepper]:
    with app.testing() as stepper:
        yield stepper


def where(app: Celery, **options: Any) -> list[str]:
    """The queues in which a call with these options lies."""
    app.send_task("work", **options)
    found = [queue for queue in app.broker.queues() for _ in app.broker.peek(queue, 9)]
    for queue in found:
        app.broker.purge(queue)
    return found


# --- ROU-1, ROU-2: routes ---------------------------------------------------------------------------------


def by_function(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **more: Any) -> Any:
    return {"queue": "by-function", "priority": 6} if name.startswith("fun.") else None


def test_ROU_1_routes_are_names_globs_patterns_functions_and_import_paths() -> None:
    settings = Settings(
        {
            "task_routes": [
                {"shop.pay": "money", "mail.*": {"queue": "mail", "serializer": "json"}},
                (re.compile(r"img\..*_big$"), {"queue": "big"}),
                f"{__name__}.by_function",
            ]
        },
        environ={},
    )
    router = Router(settings)
    names = ["shop.pay", "mail.send", "img.cut_big", "fun.x", "else"]
    assert [router.route(name).queue for name in names] == ["money", "mail", "big", "by-function", "celery"]
    assert router.route("fun.x").priority == 6
    assert router.route("mail.send").options == {"serializer": "json"}


def test_ROU_2_the_call_wins_over_the_task_and_that_over_the_route(app: Celery, stepper: Stepper) -> None:
    app.conf.task_routes = {"*": "route"}
    plain = app.task(name="plain")(lambda: None)
    own = app.task(name="own", queue="task")(lambda: None)
    plain.delay(), own.delay(), own.apply_async(queue="call")
    assert {one.queue for one in stepper.waiting()} == {"route", "task", "call"}
    assert {one.name: one.queue for one in stepper.waiting("task")} == {"own": "task"}


def test_ROU_2_an_unknown_queue_comes_to_be_unless_that_is_forbidden(app: Celery) -> None:
    assert where(app, queue="new") == ["new"]
    app.conf.task_create_missing_queues = False
    with pytest.raises(QueueNotFound, match="'new' is not in task_queues"):
        app.send_task("work", queue="new")


# --- ROU-3, ROU-4: queues and exchanges -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "queues"),
    [
        ({}, ["celery"]),
        ({"queue": "images"}, ["images"]),
        ({"exchange": "media", "routing_key": "media.image.png"}, ["all", "images"]),
        ({"exchange": "media", "routing_key": "media.image"}, ["images"]),
        ({"exchange": "media", "routing_key": "media.image.png.big"}, ["images"]),
        ({"exchange": MEDIA, "routing_key": "media.text"}, ["many"]),
        ({"exchange": "media", "routing_key": "nobody"}, ["celery"]),
        ({"exchange": "pair", "routing_key": "key"}, ["one", "two"]),
        ({"exchange": "pair", "routing_key": "other"}, ["many"]),
        ({"exchange": "news"}, ["left", "right"]),
        ({"exchange": "news", "routing_key": "whatever"}, ["left", "right"]),
        ({"routing_key": "key"}, ["one"]),
    ],
)
def test_ROU_4_an_exchange_hands_on_to_all_queues_that_are_bound(
    app: Celery, options: dict[str, Any], queues: list[str]
) -> None:
    assert where(app, **options) == queues


def test_ROU_4_one_call_to_several_queues_has_one_id(app: Celery) -> None:
    result = app.send_task("work", exchange="media", routing_key="media.image.png")
    payloads = [app.broker.peek(queue, 1)[0] for queue in ("all", "images")]
    assert {unpack(payload).id for payload in payloads} == {result.id}
    assert {unpack(payload).exchange for payload in payloads} == {"media"}


def test_ROU_4_routes_and_batches_and_callbacks_reach_several_queues_too(
    app: Celery, stepper: Stepper
) -> None:
    app.conf.task_routes = {"work": {"exchange": "pair", "routing_key": "key"}}
    work = app.task(name="work")(lambda: None)
    start = app.task(name="start")(lambda: None)
    work.delay()
    work.apply_many([(), ()])
    start.apply_async(link=work.si())
    assert [one.queue for one in stepper.waiting()].count("two") == 3
    assert sorted(one.queue for one in stepper.run() if one.name == "work") == ["one"] * 4 + ["two"] * 4


def test_ROU_4_an_exchange_that_is_declared_elsewhere_is_known_from_the_store(app: Celery) -> None:
    app.broker.bind([Binding("far", "there", "a.#", "topic"), Binding("far", "here", "b.*", "topic")])
    assert where(app, exchange="far", routing_key="a.b.c") == ["there"]
    assert where(app, exchange="far", routing_key="c") == ["celery"]


def test_ROU_4_a_type_that_is_not_emulated_is_said() -> None:
    queues = [Queue("x", Exchange("h", type="headers"))]
    with pytest.raises(
        ImproperlyConfigured, match=r"'headers'; there are .*let a function in task_routes choose"
    ):
        Router(Settings({"task_queues": queues}, environ={}))


def test_ROU_4_every_worker_runs_what_is_broadcast(app: Celery) -> None:
    app.conf.update(task_queues=[Queue("celery"), Broadcast("refresh")], task_routes={"refresh": "refresh"})
    seen: list[str] = []
    refresh = app.task(name="refresh", bind=True)(lambda self: seen.append(self.request.hostname))
    marker = app.task(name="marker")(lambda: None)
    assert refresh.delay().id  # nobody is there, so nobody gets it
    assert app.broker.queues() == []
    with (
        start_worker(app, hostname="w1@h", perform_ping_check=False),
        start_worker(app, hostname="w2@h", perform_ping_check=False),
    ):
        refresh.delay()
        for name in ("w1@h", "w2@h"):
            marker.apply_async(queue=f"bcast.refresh.{name}").get(timeout=10)
    assert sorted(seen) == ["w1@h", "w2@h"]


def test_ROU_3_kombus_objects_are_taken_as_they_are() -> None:
    class KombuExchange:
        name, type = "x", "topic"

    class KombuQueue:
        name, exchange, routing_key, alias, bindings = "q", KombuExchange(), "k.#", None, ()

    router = Router(Settings({"task_queues": [KombuQueue()]}, environ={}))
    found = router.route("work", options={"exchange": KombuExchange(), "routing_key": "k.1"})
    assert (found.queue, found.exchange, found.routing_key) == ("q", "x", "k.1")


# --- ROU-5: a worker's own queue --------------------------------------------------------------------------


def test_ROU_5_a_worker_serves_a_queue_of_its_own_name(app: Celery) -> None:
    app.conf.worker_direct = True
    who = app.task(name="who", bind=True)(lambda self: self.request.hostname)
    with start_worker(app, hostname="w1@h", perform_ping_check=False) as worker:
        assert worker.queues[-1] == "w1@h.dq2"
        assert who.apply_async(queue="w1@h.dq2").get(timeout=10) == "w1@h"
        assert who.apply_async(exchange="C.dq2", routing_key="w1@h").get(timeout=10) == "w1@h"


def test_ROU_4_the_example_of_the_document_works(app: Celery, stepper: Stepper) -> None:
    document = Path(__file__).parents[2] / "docs" / "routing.md"
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    names = {"resize": app.task(name="resize")(print), "clear_caches": app.task(name="clear")(print)}
    for code in blocks:
        exec(code, {"app": app, **names})
    assert sorted(one.queue for one in stepper.waiting()) == ["all", "images"]
    assert app.router.route("mail.send").queue == "mail"
