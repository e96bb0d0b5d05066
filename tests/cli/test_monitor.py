"""The picture of the live monitor, in terminals large and small."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from celeriac import Celery
from celeriac.cli.monitor import HINT, Monitor
from celeriac.exceptions import OperationalError


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("seen", broker="memory://monitor", set_as_current=False) as app:
        yield app


@pytest.fixture
def monitor(app: Celery) -> Monitor:
    return Monitor(app)


def picture(monitor: Monitor, width: int = 100, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
    console.print(monitor._picture(console))
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert len(lines) <= height, "nothing scrolls away"
    assert all(len(line) <= width for line in lines)
    return lines


def hear(monitor: Monitor, tasks: int) -> None:
    common = {"hostname": "w@h", "pid": 1, "utcoffset": 0}
    for number in range(tasks):
        event = {
            **common,
            "type": "task-received",
            "uuid": f"id-{number}",
            "name": "main.add",
            "args": "(1,)",
        }
        monitor._state.event({**event, "clock": number, "timestamp": float(number), "local_received": 1.0})


def test_CLI_6_the_chosen_task_and_the_keys_are_on_every_screen(monitor: Monitor) -> None:
    assert picture(monitor)[2] == HINT
    hear(monitor, 50)
    monitor._obey("k")
    assert "id-49" in picture(monitor)[2]
    for _ in range(40):
        monitor._obey("j")
    for width, height in ((100, 24), (60, 12), (40, 6)):
        lines = picture(monitor, width, height)
        assert any("id-9 " in line for line in lines), lines
        assert lines[-1].startswith("j/k choose")
        assert HINT not in lines
    monitor._obey("i")
    lines = picture(monitor, 60, 12)
    assert any("id-9 " in line for line in lines[2:-1])
    assert any("args: (1,)" in line for line in lines)
    assert lines[-1].startswith("j/k choose")


def test_CLI_6_a_broker_that_goes_away_is_told(monitor: Monitor, app: Celery) -> None:
    hear(monitor, 1)
    monitor._receiver.trouble = OperationalError("connection refused")
    assert picture(monitor)[0] == "The broker is away: connection refused"
    monitor._receiver.trouble = None
    assert picture(monitor)[0].startswith("celeriac events: 1 events, 1 tasks. 0 online")
    picture(monitor)
    app.broker.close()
    monitor._obey("c")
    assert any("That did not work" in line for line in picture(monitor))
