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
from celeriac.exceptions import CeleriacError

#: Seconds between two pictures.
TICK = 0.25
#: Lines that are neither tasks nor what stands below them: the head, the names of the columns, the keys.
FRAME = 3
#: Columns of a time and of a state, of a whole id, and of what lies between five columns.
NARROW, ID, GAPS = 8, 36, 10
#: As many tasks can be chosen from.
MOST = 1000

COLOURS = {
    "SUCCESS": "green",
    "FAILURE": "red",
    "REVOKED": "magenta",
    "RETRY": "yellow",
    "STARTED": "cyan",
    "REJECTED": "red",
}
_ARROWS = {b"\x1b[A": "k", b"\x1b[B": "j", b"\x1bOA": "k", b"\x1bOB": "j"}
KEYS = "j/k choose  i info  t traceback  r result  c revoke  l rate limit  e events on  q quit"
HINT = "Waiting for events: workers tell of tasks with -E, or when e is pressed"


class Monitor:
    """Hears events in a thread, draws and obeys keys in this one."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._state = State()
        self._receiver = EventReceiver(handlers={"*": self._state.event}, app=app)
        self._chosen: str | None = None
        #: Title and text of what stands below the table; None is nothing.
        self._detail: tuple[str, str] | None = None
        self._over = False
        #: What is typed as a rate limit, None while nothing is.
        self._typed: str | None = None

    def run(self) -> None:
        """Until q is pressed."""
        console = Console()
        with (
            self._receiver,  # a store that is away is told at once
            _single_keys(),
            Live(self._picture(console), console=console, screen=True, auto_refresh=False) as live,
        ):
            threading.Thread(target=self._hear, name="celeriac-monitor", daemon=True).start()
            while not self._over:
                for key in _pressed(TICK):
                    self._obey(key)
                live.update(self._picture(console), refresh=True)
            self._receiver.should_stop = True

    def _hear(self) -> None:
        self._receiver.capture()

    # -- keys

    def _obey(self, key: str) -> None:
        try:
            self._do(key)
        except CeleriacError as error:
            self._typed = None
            self._show("That did not work", str(error))

    def _do(self, key: str) -> None:
        if self._typed is not None:
            self._type(key)
            return
        tasks = self._tasks()
        if key == "q":
            self._over = True
        elif key == "e":
            self._app.control.enable_events()
            self._show("Events", "All workers were asked to tell of their tasks from now on")
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
            self._show(
                "Traceback", str(getattr(task, "traceback", None) or f"none: {task.name} is {task.state}")
            )
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
            self._detail = None
        else:
            self._typed = self._typed[:-1] if key == "\x7f" else self._typed + key
            self._ask_for_rate(task)

    def _ask_for_rate(self, task: Task | None) -> None:
        name = task.name if task is not None else ""
        self._show("Rate limit", f"{name}, as in 10/m (Enter sets it, Esc leaves): {self._typed}")

    def _show(self, title: str, text: str) -> None:
        self._detail = title, text

    def _task(self) -> Task | None:
        return self._state.tasks.get(self._chosen or "")

    # -- the picture

    def _tasks(self) -> list[Task]:
        with self._state.freeze_while():
            return [task for _, task in self._state.tasks_by_time(limit=MOST)]

    def _picture(self, console: Console) -> RenderableType:
        tasks = self._tasks()
        if self._chosen is None and tasks:
            self._chosen = tasks[0].uuid
        room = max(2, console.height - FRAME)
        detail = self._below(console.width, room, bool(tasks))
        rows = room - (detail.height or 0 if isinstance(detail, Panel) else 1)
        keys = Text(KEYS, style="dim", no_wrap=True, overflow="ellipsis")
        return Group(
            self._headline(), self._table(_around(tasks, self._chosen, rows), console.width), detail, keys
        )

    def _table(self, tasks: list[Task], width: int) -> Table:
        table = Table(expand=True, box=None, header_style="bold")
        left = width - GAPS - 2 * NARROW
        widths = {"id": min(ID, left // 2), "time": NARROW, "state": NARROW}
        for name in ("id", "task", "worker", "time", "state"):
            ratio = None if name in widths else 1
            table.add_column(name, no_wrap=True, overflow="ellipsis", width=widths.get(name), ratio=ratio)
        for task in tasks:
            style = "reverse" if task.uuid == self._chosen else ""
            table.add_row(*_cells(task), style=style)
        return table

    def _below(self, width: int, room: int, tasks: bool) -> RenderableType:
        """What was asked for, in at most two thirds of the screen; its end is cut off."""
        if self._detail is None:
            return Text("" if tasks else HINT, style="dim", no_wrap=True, overflow="ellipsis")
        title, text = self._detail
        lines = sum(1 + len(line) // max(1, width - 3) for line in text.splitlines())
        return Panel(
            Text(text), title=title, title_align="left", height=min(lines + 2, max(3, room * 2 // 3))
        )

    def _headline(self) -> Text:
        if self._receiver.trouble is not None:
            return Text(f"The broker is away: {self._receiver.trouble}", style="bold red", no_wrap=True)
        alive = self._state.alive_workers()
        workers = ", ".join(f"{worker.hostname} ({worker.active or 0} active)" for worker in alive)
        count = f"{self._state.event_count} events, {len(self._state.tasks)} tasks"
        said = f"celeriac events: {count}. {len(alive)} online: {workers or 'nobody yet'}"
        return Text(said, style="bold", no_wrap=True, overflow="ellipsis")


def _around(tasks: list[Task], chosen: str | None, rows: int) -> list[Task]:
    """As many as there are rows, so that the chosen one is among them."""
    at = next((place for place, task in enumerate(tasks) if task.uuid == chosen), 0)
    first = max(0, min(at - rows // 2, len(tasks) - rows))
    return tasks[first : first + max(rows, 1)]


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
