"""The drop-in as a program sees it that imports `celery`: a Python with the drop-in on its path."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services import clean_environment

DROPIN = Path(__file__).parents[2] / "dropin" / "src"

Completed = subprocess.CompletedProcess[str]
Run = Callable[..., Completed]


@pytest.fixture
def python(tmp_path: Path) -> Run:
    """Run a Python with the drop-in, in a folder of its own, to its end."""

    def python(*arguments: str, path: Path = DROPIN, also: Path | None = None) -> Completed:
        folders = [str(folder) for folder in (path, also) if folder]
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=clean_environment({"PYTHONPATH": ":".join(folders)}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return python
