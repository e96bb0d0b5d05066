"""The tasks of both workers and the calls of both producers: the same lines for celeriac and for Celery."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from datetime import time as clock_time
from decimal import Decimal
from functools import partial
from importlib import import_module
from typing import Any
from uuid import UUID

import redis

#: Served by a celeriac worker, by a stock worker, by both together, by nobody.
OURS, THEIRS, BOTH, NOBODYS = "ours", "theirs", "both", "nobodys"

FAR = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)

#: One value of each type that Celery's JSON carries.
RICH = [
    FAR,
    datetime(2030, 1, 2, 3, 4, 5),
    date(2030, 1, 2),
    clock_time(3, 4, 5),
    UUID(int=5),
    Decimal("1.10"),
    b"text",
    b"\xff\xfe",
    {"a": [1, 2.5, None, True], "ž": "\N{GRINNING FACE}"},
]


class Curious(Exception):
    """An exception of the user's own, with more than a message."""

    def __init__(self, code: int, where: str) -> None:
        super().__init__(code, where)


def open_shop(library: Callable[..., Any], url: str, **settings: Any) -> Any:
    """An app of either library with all the tasks."""
    app = library("shop", broker=url, backend=url, **settings)
    canvas = import_module(library.__module__.partition(".")[0])
    store = redis.Redis.from_url(url, decode_responses=True, socket_timeout=30)
    task = partial(app.task, shared=False)

    @task(name="shop.add")
    def add(x: int = 0, y: int = 0) -> int:
        return x + y

    @task(name="shop.echo")
    def echo(*args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    @task(name="shop.describe")
    def describe(*args: Any, **kwargs: Any) -> str:
        return repr((args, kwargs))

    @task(name="shop.rich")
    def rich() -> list[Any]:
        return RICH

    @task(name="shop.boom")
    def boom(*_: Any) -> None:
        raise ValueError("no", 7)

    @task(name="shop.curious")
    def curious() -> None:
        raise Curious(4, "there")

    @task(name="shop.missing")
    def missing() -> None:
        {}["key"]

    @task(name="shop.unencodable")
    def unencodable() -> object:
        return object()

    @task(name="shop.tracked", bind=True, track_started=True)
    def tracked(self: Any) -> None:
        store.blpop([f"go:{self.request.id}"], timeout=20)

    @task(name="shop.stubborn", bind=True, max_retries=2)
    def stubborn(self: Any, until: int) -> int:
        if self.request.retries < until:
            raise self.retry(countdown=0, exc=OSError(2, "gone"))
        retries: int = self.request.retries
        return retries

    @task(name="shop.tomorrow", bind=True)
    def tomorrow(self: Any) -> None:
        raise self.retry(countdown=86_400, exc=OSError(2, "gone"))

    @task(name="shop.progress", bind=True)
    def progress(self: Any) -> str:
        self.update_state(state="PROGRESS", meta={"done": 3, "of": 4})
        store.blpop([f"go:{self.request.id}"], timeout=20)
        return "done"

    @task(name="shop.parent", bind=True)
    def parent(self: Any, queue: str | None = None) -> str:
        queue = queue or self.request.delivery_info["routing_key"]
        return str(add.apply_async((1, 1), queue=queue).id)

    @task(name="shop.swap", bind=True)
    def swap(self: Any, x: int, how: str) -> None:
        queue = self.request.delivery_info["routing_key"]
        one, two = (app.signature("shop.add", (x, y), queue=queue) for y in (0, 1))
        if how == "chain":
            raise self.replace(
                one | app.signature("shop.add", (10,), queue=queue) | add.s(1100).set(queue=queue)
            )
        if how == "group":
            raise self.replace(canvas.group(two, app.signature("shop.add", (x, 2), queue=queue)))
        raise self.replace(canvas.chord([one, two], app.signature("shop.echo", queue=queue)))

    @task(name="shop.look", bind=True)
    def look(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        told = self.request
        names = (
            "id root_id parent_id retries eta expires group group_index timelimit shadow ignore_result "
            "correlation_id reply_to origin argsrepr kwargsrepr stamps stamped_headers called_directly"
        )
        seen = {name: getattr(told, name) for name in names.split()}
        own = dict(told.headers or {})
        place = {name: told.delivery_info.get(name) for name in ("exchange", "routing_key", "priority")}
        return {**seen, "args": args, "kwargs": kwargs, "tenant": own.get("tenant"), **place}

    @task(name="shop.note")
    def note(ledger: str, word: Any = None) -> None:
        store.rpush(ledger, str(word))

    @task(name="shop.note_quietly", ignore_result=True)
    def note_quietly(ledger: str, word: Any = None) -> None:
        store.rpush(ledger, str(word))

    @task(name="shop.note_failure")
    def note_failure(request: Any, exc: Any, traceback: Any) -> None:
        store.rpush(f"failed:{request.id}", f"{type(exc).__name__}{exc.args}")

    @task(name="shop.note_failed_id")
    def note_failed_id(task_id: str) -> None:
        store.rpush(f"failed:{task_id}", task_id)

    @task(name="shop.serve", bind=True)
    def serve(self: Any, number: int) -> None:
        store.rpush("served", f"{number} {os.environ.get('LIBRARY')}")
        time.sleep(0.002)

    @task(name="shop.began")
    def began() -> float:
        return time.time()

    app.store = store
    return app


def s(app: Any, name: str, *args: Any, **options: Any) -> Any:
    """A signature of a task."""
    return app.tasks["shop." + name].s(*args).set(**options)


#: Calls whose messages must be the same from both producers; each sends one to the queue of nobody.
CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "plain": lambda app, send: send(),
    "args": lambda app, send: send((2, 3)),
    "kwargs": lambda app, send: send((2,), {"y": 'žluť "q" \\ \N{GRINNING FACE}'}),
    "nested": lambda app, send: send(([1, [2, {"a": (3, None, True, 1.5)}]],)),
    "rich": lambda app, send: app.tasks["shop.describe"].apply_async(RICH, queue=NOBODYS, task_id="sample"),
    "countdown": lambda app, send: send((1,), countdown=3600),
    "eta": lambda app, send: send((1,), eta=FAR),
    "naive eta": lambda app, send: send((1,), eta=FAR.replace(tzinfo=None)),
    "expires": lambda app, send: send((1,), expires=FAR),
    "expires soon": lambda app, send: send((1,), expires=60),
    "priority 0": lambda app, send: send((1,), priority=0),
    "priority 3": lambda app, send: send((1,), priority=3),
    "priority 9": lambda app, send: send((1,), priority=9),
    "headers": lambda app, send: send((1,), headers={"tenant": "t1", "deep": {"a": [1]}}),
    "limits": lambda app, send: send((1,), time_limit=10, soft_time_limit=5.5, shadow="dark"),
    "ignored": lambda app, send: send((1,), ignore_result=True),
    "reply": lambda app, send: send((1,), reply_to="me", correlation_id="mine"),
    "family": lambda app, send: send((1,), group_id="g1", group_index=2, root_id="r", parent_id="p"),
    "retried": lambda app, send: send((1,), retries=3),
    "link": lambda app, send: send((1,), link=s(app, "add", 2), link_error=s(app, "note_failed_id")),
    "links": lambda app, send: send((1,), link=[s(app, "add", 2), s(app, "add", 3, queue=OURS)]),
    "stamped": lambda app, send: send((1,), stamped_headers=["who"], who="me"),
    "gzip": lambda app, send: send((1,), compression="gzip"),
    "pickle": lambda app, send: send((1, {2}), serializer="pickle"),
    "yaml": lambda app, send: send((1, "a"), serializer="yaml"),
    "msgpack": lambda app, send: send((1, b"raw"), serializer="msgpack"),
    "chain": lambda app, send: (
        s(app, "add", 1, task_id="sample", queue=NOBODYS)
        | s(app, "add", 2, task_id="second")
        | s(app, "add", 3, task_id="third", queue=THEIRS, priority=6)
    ).apply_async(),
    "by name": lambda app, send: app.send_task(
        "shop.nowhere", (1,), {"y": 2}, queue=NOBODYS, task_id="sample"
    ),
    "by a known name": lambda app, send: app.send_task("shop.add", (1,), queue=NOBODYS, task_id="sample"),
    "by the name of a quiet task": lambda app, send: app.send_task(
        "shop.note_quietly", ("l",), queue=NOBODYS, task_id="sample"
    ),
    "quiet": lambda app, send: app.tasks["shop.note_quietly"].apply_async(
        ("l",), queue=NOBODYS, task_id="sample"
    ),
    "properties": lambda app, send: send((1,), app_id="till", message_id="m1"),
}


def make_call(app: Any, name: str) -> Any:
    """Send one of CALLS."""
    add = app.tasks["shop.add"]

    def send(args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return add.apply_async(args, kwargs, queue=NOBODYS, task_id="sample", **options)

    return CALLS[name](app, send)
