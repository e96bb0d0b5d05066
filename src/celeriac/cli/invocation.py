"""What the options before the command said, and the app that they lead to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import click

from celeriac.app import Celery
from celeriac.worker.finding import find_app

#: Each way to write an option that belongs before the command; first those that take no value.
FLAGS = frozenset(["-C", "--no-color", "-q", "--quiet", "--skip-checks"])
GLOBAL_OPTIONS = FLAGS | frozenset(
    ["-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"]
)


@dataclass(slots=True)
class Invocation:
    app_spec: str | None = None
    config: str | None = None
    no_color: bool = False
    quiet: bool = False
    #: The folder before --workdir.
    begun_in: str = field(default_factory=lambda: str(Path.cwd()))
    _app: Celery | None = field(default=None, repr=False)

    @property
    def app(self) -> Celery:
        """The app of -A, imported when a command first needs it; without -A an app that has no tasks."""
        if self._app is None:
            self._app = find_app(self.app_spec) if self.app_spec else Celery("default")
            self._app.set_default()
            if self.config:
                self._app.config_from_object(self.config)
        return self._app

    def close(self) -> None:
        """Close what the app has opened; the command is done."""
        if self._app is not None:
            self._app.close()

    def remark(self, sentence: str) -> None:
        """A line beside the command's output, on stderr."""
        if not self.quiet:
            click.echo(sentence, err=True)


pass_invocation = click.make_pass_decorator(Invocation)
