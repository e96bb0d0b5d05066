"""What the main job shows: live bars on a terminal, plain lines anywhere else, and a table at the end."""

from __future__ import annotations

import time

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table


class Display:
    """Kinds of work are added with their number of tasks, then told how many are done."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.table = Table("work", "tasks", "seconds", "what came out", box=box.SIMPLE_HEAD)
        self._bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.live,
        )
        self._kinds: dict[str, Kind] = {}

    @property
    def live(self) -> bool:
        return self.console.is_terminal

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def add(self, name: str, tasks: int) -> None:
        self._kinds[name] = Kind(self._bars.add_task(name, total=tasks), tasks)
        if not self.live:
            self.say(f"sent      {name}: {tasks}")

    def done(self, name: str, count: int) -> None:
        kind = self._kinds[name]
        self._bars.update(kind.bar, completed=count)
        if count == kind.tasks and kind.seconds is None:
            kind.seconds = time.monotonic() - kind.began
            if not self.live:
                self.say(f"finished  {name}: {count} of {kind.tasks}")

    def all_done(self) -> bool:
        return all(kind.seconds is not None for kind in self._kinds.values())

    def row(self, name: str, came_out: str) -> None:
        kind = self._kinds[name]
        self.table.add_row(name, str(kind.tasks), f"{kind.seconds or 0:.1f}", came_out)

    def show_table(self) -> None:
        self.console.print(self.table)

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()


class Kind:
    """One kind of work on its way."""

    __slots__ = ("bar", "began", "seconds", "tasks")

    def __init__(self, bar: TaskID, tasks: int) -> None:
        self.bar = bar
        self.tasks = tasks
        self.began = time.monotonic()
        self.seconds: float | None = None
