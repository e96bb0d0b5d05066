"""A type checker sees what calls take and give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(180)  # mypy reads the whole library when its cache is cold
def test_calls_are_checked_against_the_function() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(HERE / "calls.py")],
        capture_output=True,
        text=True,
        cwd=HERE.parent.parent,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
