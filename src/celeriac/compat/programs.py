"""`app.Worker(...)` and `app.Beat(...)`: programs that a program starts in its own process."""

from __future__ import annotations

from typing import Any

from celeriac.app import Celery
from celeriac.exceptions import ImproperlyConfigured


class Program:
    """A command and its options by name: `app.Worker(concurrency=2, queues="mail").start()`.

    `start()` returns when it was stopped, with its exit code, which `exitcode` keeps.
    """

    command = ""

    def __init__(self, app: Celery, **options: Any) -> None:
        self.app = app
        self.options = options
        self.exitcode: int | None = None

    def arguments(self) -> list[str]:
        """The command line."""
        words = [self.command]
        for name, value in self.options.items():
            option = f"--{name.replace('_', '-')}"
            if value is True:
                words.append(option)
            elif value is not None and value is not False:
                many = isinstance(value, list | tuple | set)
                words += [option, ",".join(map(str, value)) if many else str(value)]
        return words

    def start(self) -> int:
        """Run it until it is stopped."""
        self.exitcode = self.app.start(self.arguments())
        if self.exitcode == 2:  # the command line's own mark for words that it does not know
            raise ImproperlyConfigured(f"the {self.command} did not start: see above")
        return self.exitcode

    run = start


class Worker(Program):
    command = "worker"


WorkController = Worker


class Beat(Program):
    command = "beat"
