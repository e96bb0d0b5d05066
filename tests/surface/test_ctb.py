"""CTB: what Celery contributes beside its core."""

from __future__ import annotations

import io
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from celeriac import Celery
from celeriac.compat import rdb
from celeriac.compat.abortable import ABORTED, AbortableAsyncResult, AbortableTask
from celeriac.compat.mocks import ContextMock, TaskMessage, TaskMessage1, task_message_from_sig
from celeriac.testing.worker import start_worker


def test_CTB_1_a_task_ends_when_it_is_asked_to(app: Celery) -> None:
    @app.task(bind=True, base=AbortableTask)
    def long(self: AbortableTask) -> str:
        begun.abort()
        return "ended" if self.is_aborted() else "went on"

    begun: Any = long.AsyncResult("the-id")
    assert isinstance(begun, AbortableAsyncResult)
    assert not begun.is_aborted()
    with start_worker(app, perform_ping_check=False):
        assert long.apply_async(task_id="the-id").get(timeout=10) == "ended"
    assert not begun.is_aborted()


def test_CTB_1_what_a_call_gives_can_be_aborted(app: Celery) -> None:
    result = app.task(name="long", base=AbortableTask)(lambda: None).delay()
    assert isinstance(result, AbortableAsyncResult)
    result.abort()
    assert result.is_aborted()


def test_CTB_1_the_wish_is_a_state_that_is_no_end(app: Celery) -> None:
    result = AbortableAsyncResult("some", app=app)
    result.abort()
    assert (result.state, result.ready(), result.is_aborted()) == (ABORTED, False, True)


def test_CTB_1_without_results_it_says_so() -> None:
    app = Celery("proj", broker="memory://", set_as_current=False)
    with pytest.raises(RuntimeError, match="set result_backend"):
        AbortableAsyncResult("some", app=app).abort()


# --- the debugger -----------------------------------------------------------------------------------------


class Announced(io.StringIO):
    """Where a session says its address; tells who waits for that."""

    def __init__(self) -> None:
        super().__init__()
        self.said = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if "telnet" in text:
            self.said.set()
        return written

    @property
    def address(self) -> tuple[str, int]:
        assert self.said.wait(20)
        *_, host, port = self.getvalue().splitlines()[0].split()
        return host, int(port)


def begun(work: Callable[[Announced], object]) -> tuple[threading.Thread, Announced]:
    out = Announced()
    thread = threading.Thread(target=work, args=(out,), daemon=True)
    thread.start()
    return thread, out


def talk(address: tuple[str, int], *lines: str) -> str:
    """What a telnet would show that says these lines."""
    with socket.create_connection(address, timeout=20) as client:
        client.sendall("".join(f"{line}\r\n" for line in lines).encode())
        return client.makefile(encoding="utf-8").read()


def test_CTB_1_a_task_that_stops_is_looked_into_by_telnet_and_goes_on() -> None:
    results: list[int] = []

    def work(out: Announced) -> None:
        secret = 41
        rdb.Rdb(port=20_000, out=out).set_trace()
        results.append(secret + 1)

    thread, out = begun(work)
    shown = talk(out.address, "p secret", "secret = 1", "c")
    thread.join(20)
    assert "41" in shown
    assert re.search(r"test_ctb\.py\(\d+\)work\(\)", shown)
    assert results == [2]
    assert "Debugger is used from 127.0.0.1:" in out.getvalue()


def test_CTB_1_who_looks_may_end_the_task_and_one_who_leaves_does_not() -> None:
    ends: list[str] = []

    def work(out: Announced) -> None:
        session = rdb.Rdb(port=20_000, out=out)
        try:
            session.set_trace()
            ends.append("went on")
        except BaseException as error:
            ends.append(type(error).__name__)

    for lines in (["q"], []):
        thread, out = begun(work)
        address = out.address
        if lines:
            talk(address, *lines)
        else:
            socket.create_connection(address, timeout=20).close()
        thread.join(20)
    assert ends == ["BdbQuit", "went on"]


def test_CTB_1_each_session_finds_a_port_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="set CELERY_RDB_PORT"):
            rdb.Rdb(port=port, port_search_limit=1)


# --- messages made by hand --------------------------------------------------------------------------------


def test_TST_1_messages_are_made_by_hand_in_both_protocols(app: Celery) -> None:
    message = TaskMessage("proj.add", id="i", args=(1, 2), kwargs={"a": 1}, shadow="s", retries=3)
    assert message.headers == {"id": "i", "task": "proj.add", "shadow": "s", "retries": 3}
    embed = {"callbacks": None, "errbacks": None, "chain": None}
    assert message.payload == ((1, 2), {"a": 1}, embed)
    assert message.body.startswith("[[1, 2], {")
    assert message.content_type == "application/json"
    older = TaskMessage1("proj.add", id="i", args=(1,))
    assert older.headers == {}
    assert (older.payload["task"], older.payload["args"]) == ("proj.add", (1,))

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    sig = add.s(1, 2).set(countdown=60, link=add.s(3))
    made = task_message_from_sig(app, sig)
    assert made.headers["id"] == sig.id
    assert made.headers["eta"] > app.now().isoformat()
    assert made.payload[2]["callbacks"] == [add.s(3)]
    with ContextMock() as mock:
        mock.anything()
