"""The live monitor of `celeriac events`: a table of tasks in the terminal, steered by single keys."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from celeriac.app import Celery
from celeriac.events.receiver import EventReceiver
from celeriac.events.state import State, Task

#: Seconds between two pictures.
TICK = 0.25
#: Lines that are no tasks.
FRAME = 8

COLOURS = {
    "SUCCESS": "green",
    "FAILURE": "red",
    "REVOKED": "magenta",
    "RETRY": "yellow",
    "STARTED": "cyan",
    "REJECTED": "red",
}
_ARROWS = {b"\x1b[A": "k", b"\x1b[B": "j", b"\x1bOA": "k", b"\x1bOB": "j"}
KEYS = "j/k choose  i info  t traceback  r result  c revoke  l rate limit  q quit"


class Monitor:
    """Hears events in a thread, draws and obeys keys in this one."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._state = State()
        self._receiver = EventReceiver(handlers={"*": self._state.event}, app=app)
        self._chosen: str | None = None
        #: What stands below the table.
        self._detail: RenderableType = Text("Waiting for events: workers tell of tasks with -E", style="dim")
        self._over = False
        #: What is typed as a rate limit, None while nothing is.
        self._typed: str | None = None

    def run(self) -> None:
        """Until q is pressed."""
        hearing = threading.Thread(target=self._hear, name="celeriac-monitor", daemon=True)
        hearing.start()
        console = Console()
        with (
            _single_keys(),
            Live(self._picture(console), console=console, screen=True, auto_refresh=False) as live,
        ):
            while not self._over:
                for key in _pressed(TICK):
                    self._obey(key)
                live.update(self._picture(console), refresh=True)
        self._receiver.should_stop = True

    def _hear(self) -> None:
        self._receiver.capture()

    # -- keys

    def _obey(self, key: str) -> None:
        if self._typed is not None:
            self._type(key)
            return
        tasks = self._shown(1000)
        if key == "q":
            self._over = True
        elif key in ("j", "k") and tasks:
            ids = [task.uuid for task in tasks]
            at = ids.index(self._chosen) if self._chosen in ids else -1 if key == "j" else 1
            self._chosen = ids[max(0, min(len(ids) - 1, at + (1 if key == "j" else -1)))]
        elif (task := self._task()) is not None:
            self._of_task(key, task)

    def _of_task(self, key: str, task: Task) -> None:
        if key in ("i", "\r", "\n"):
            lines = "\n".join(f"{name}: {value}" for name, value in task.info().items())
            self._show(f"{task.name} {task.uuid}", lines)
        elif key == "t":
            self._show("Traceback", str(getattr(task, "traceback", None) or "none"))
        elif key == "r":
            self._show(
                "Result", str(getattr(task, "result", None) or getattr(task, "exception", None) or "none")
            )
        elif key == "c":
            self._app.control.revoke(task.uuid, terminate=True)
            self._show("Revoked", f"{task.uuid}: it will not begin; if it runs it is ended")
        elif key == "l":
            self._typed = ""
            self._ask_for_rate(task)

    def _type(self, key: str) -> None:
        task = self._task()
        assert self._typed is not None
        if key in ("\r", "\n") and task is not None:
            replies = self._app.control.rate_limit(task.name or "", self._typed, reply=True) or []
            said = "\n".join(f"{node}: {answer}" for reply in replies for node, answer in reply.items())
            self._typed = None
            self._show("Rate limit", said or "no worker answered")
        elif key == "\x1b":
            self._typed = None
            self._detail = Text("")
        else:
            self._typed = self._typed[:-1] if key == "\x7f" else self._typed + key
            self._ask_for_rate(task)

    def _ask_for_rate(self, task: Task | None) -> None:
        name = task.name if task is not None else ""
        self._show("Rate limit", f"{name}, as in 10/m (Enter sets it, Esc leaves): {self._typed}")

    def _show(self, title: str, text: str) -> None:
        self._detail = Panel(Text(text), title=title, title_align="left")

    def _task(self) -> Task | None:
        return self._state.tasks.get(self._chosen or "")

    # -- the picture

    def _shown(self, most: int) -> list[Task]:
        with self._state.freeze_while():
            return [task for _, task in self._state.tasks_by_time(limit=most)]

    def _picture(self, console: Console) -> RenderableType:
        tasks = self._shown(max(3, console.height // 2 - FRAME // 2))
        if self._chosen is None and tasks:
            self._chosen = tasks[0].uuid
        table = Table(expand=True, box=None, header_style="bold")
        for name in ("id", "task", "worker", "time", "state"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        for task in tasks:
            style = "reverse" if task.uuid == self._chosen else ""
            table.add_row(*_cells(task), style=style)
        return Group(self._headline(), table, self._detail, Text(KEYS, style="dim"))

    def _headline(self) -> Text:
        alive = self._state.alive_workers()
        workers = ", ".join(f"{worker.hostname} ({worker.active or 0} active)" for worker in alive)
        count = f"{self._state.event_count} events, {len(self._state.tasks)} tasks"
        return Text(f"celeriac events: {count}. {len(alive)} online: {workers or 'nobody yet'}", style="bold")


def _cells(task: Task) -> list[Text]:
    when = (
        datetime.fromtimestamp(task.timestamp, UTC).astimezone().strftime("%H:%M:%S")
        if task.timestamp
        else ""
    )
    worker = task.worker.hostname if task.worker is not None else ""
    colour = COLOURS.get(task.state, "")
    words: list[Any] = [task.uuid, task.name or "", worker, when]
    return [*(Text(str(word)) for word in words), Text(task.state, style=colour)]


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys come one by one, without being shown."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _pressed(wait: float) -> Iterator[str]:
    descriptor = sys.stdin.fileno()
    if not select.select([descriptor], [], [], wait)[0]:
        return
    data = os.read(descriptor, 64)
    if data in _ARROWS:
        yield _ARROWS[data]
    else:
        yield from data.decode(errors="replace")
