"""Fixtures of the command line's tests: a project folder, and the true executable run in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services import clean_environment

Completed = subprocess.CompletedProcess[str]
Run = Callable[..., Completed]

#: Bare names that Celery's command line listens to, too.
_SPEAKING = ("APP", "BROKER_URL", "RESULT_BACKEND", "LOADER", "CONFIG_MODULE", "NO_COLOR", "SKIP_CHECKS")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an app in main.py, whose store is an SQLite file of its own."""
    (tmp_path / "main.py").write_text(
        "from celeriac import Celery\n"
        "celery = Celery('main', broker='sqlite:///shop.db', backend='sqlite:///shop.db')\n"
        "@celery.task\n"
        "def add(x, y):\n"
        "    return x + y\n"
        "@celery.task\n"
        "def fail():\n"
        "    raise ValueError('no such thing')\n"
    )
    return tmp_path


@pytest.fixture
def run(project: Path) -> Run:
    """Run `python -m celeriac` with the arguments, in the project's folder, to its end."""

    def run(
        *arguments: str, environ: dict[str, str] | None = None, cwd: Path | None = None, said: str = ""
    ) -> Completed:
        surroundings = {name: value for name, value in clean_environment().items() if name not in _SPEAKING}
        return subprocess.run(
            [sys.executable, "-m", "celeriac", *arguments],
            cwd=cwd or project,
            env=surroundings | (environ or {}),
            input=said,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run
