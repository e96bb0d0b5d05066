"""What a celeriac worker and a stock worker store for the same task, field by field."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from interop import shop
from interop.conftest import Workers
from interop.test_messages import compared

#: Each a task with arguments and options, and the state in which its result is looked at.
RUNS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], str]] = {
    "success": ("add", (1, 2), {}, "SUCCESS"),
    "nothing": ("echo", (), {}, "SUCCESS"),
    "rich": ("rich", (), {}, "SUCCESS"),
    "failure": ("boom", (), {}, "FAILURE"),
    "own exception": ("curious", (), {}, "FAILURE"),
    "key error": ("missing", (), {}, "FAILURE"),
    "unencodable": ("unencodable", (), {}, "FAILURE"),
    "retried": ("stubborn", (1,), {}, "SUCCESS"),
    "retried too often": ("stubborn", (9,), {}, "FAILURE"),
    "to be retried": ("tomorrow", (), {}, "RETRY"),
    "custom state": ("progress", (), {}, "PROGRESS"),
    "after a custom state": ("progress", (), {}, "SUCCESS"),
    "started": ("tracked", (), {}, "STARTED"),
    "with a child": ("parent", (), {}, "SUCCESS"),
    "with a callback": ("add", (1,), {"link": "add"}, "SUCCESS"),
    "expired": ("add", (), {"expires": shop.PAST}, "REVOKED"),
    "of a group": (
        "add", (), {"group_id": "g", "group_index": 0, "root_id": "r", "parent_id": "p"}, "SUCCESS"
    ),
}  # fmt: skip

#: Where our result differs from Celery's on purpose.
KNOWN = {
    # A retry is no child of itself, neither by its parent_id nor in the list of children.
    "retried": {".<fields>"},
    "retried too often": {".<fields>"},
    "to be retried": {".children"},
    # The words of the encoders differ.
    "unencodable": {".result.exc_message[0]", ".traceback"},
}


@pytest.mark.parametrize("name", RUNS)
def test_both_workers_store_the_same_result(
    ours: Any, store: redis.Redis, workers: Workers, name: str
) -> None:
    their, our = (stored(ours, store, queue, *RUNS[name]) for queue in (shop.THEIRS, shop.OURS))
    differences = [found for found in compared(their, our) if not varies(*found)]
    assert {place for place, *_ in differences} == KNOWN.get(name, set()), differences


@pytest.mark.parametrize("queue", [shop.OURS, shop.THEIRS])
def test_an_ignored_result_is_not_stored(ours: Any, store: redis.Redis, workers: Workers, queue: str) -> None:
    quiet, ledger = ours.tasks["shop.note_quietly"], f"ledger of {queue}"
    for name, send in {
        "by the task": lambda: quiet.apply_async((ledger, 1), queue=queue),
        "by its name": lambda: ours.send_task("shop.note_quietly", (ledger, 2), queue=queue),
        "by the call": lambda: ours.tasks["shop.note"].apply_async(
            (ledger, 3), queue=queue, ignore_result=True
        ),
    }.items():
        sent = send()
        assert store.blpop([ledger], timeout=10), name
        # The same child has done what came after, so the result of the first would be there.
        assert ours.send_task("shop.add", (1, 1), queue=queue).get(timeout=10) == 2
        assert store.get(f"celery-task-meta-{sent.id}") is None, name


# --- how results are compared -----------------------------------------------------------------------------


def stored(
    app: Any, store: redis.Redis, queue: str, task: str, args: tuple[Any, ...], options: Any, state: str
) -> dict[str, Any]:
    """The meta, as it lies in Redis and as it was published, once the task is in the state."""
    if "link" in options:
        options = {**options, "link": shop.s(app, options["link"], 5, queue=queue)}
    task_id = f"{queue}-{task}-{state}-{datetime.now(UTC).timestamp()}"
    key = f"celery-task-meta-{task_id}"
    with store.pubsub(ignore_subscribe_messages=True) as told:
        told.subscribe(key)
        assert told.get_message(timeout=5) is None
        app.tasks["shop." + task].apply_async(args, queue=queue, task_id=task_id, **options)
        deadline = datetime.now(UTC) + timedelta(seconds=20)
        meta: dict[str, Any] = {"status": None}
        while meta["status"] != state:
            assert datetime.now(UTC) < deadline, f"it is still {meta}"
            if news := told.get_message(timeout=1):
                meta = json.loads(news["data"])
            if meta["status"] in ("PROGRESS", "STARTED") and state != meta["status"]:
                store.rpush(f"go:{task_id}", "go")
        held = store.get(key)
        assert held is not None
        if state in ("PROGRESS", "STARTED"):
            store.rpush(f"go:{task_id}", "go")
        assert json.loads(held) == meta
        assert 86_390 <= store.ttl(key) <= 86_400
    return meta


def varies(place: str, theirs: Any, ours: Any) -> bool:
    """It may differ from one run to the next, or names the library."""
    if place == ".date_done":
        moments = [datetime.fromisoformat(moment) for moment in (theirs, ours)]
        return all(moment.utcoffset() == timedelta(0) for moment in moments)
    if place == ".traceback":
        return user_lines(theirs) == user_lines(ours)
    if place in (".task_id", ".result.pid", ".result.hostname"):
        return type(theirs) is type(ours)
    # A child's id, and where the task told it as its result.
    return bool(re.fullmatch(r"\.children\[0\]\[0\]\[0\]|\.result", place)) and len(theirs) == len(ours) == 36


def user_lines(traceback: str) -> list[str]:
    """The lines of a traceback that are the user's, and its last: without those of the libraries."""
    lines = traceback.replace("celeriac.exceptions", "celery.exceptions").splitlines()
    places = [line for line in lines if line.startswith("  File ") and line.split('"')[1].endswith("shop.py")]
    return [lines[0], *places, lines[-1]]
