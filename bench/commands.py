"""How long does a command take to do nothing? In CPU, which a busy machine stretches least."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from common.contest import alternate, python_of
from common.report import Figure, column, report
from common.sizes import ROUNDS

#: What is measured: each once a round, after one that is not counted.
LINES = (
    "--version",
    "--help",
    "call --help",
    "inspect --help",
    "events --help",
    "worker --help",
    "multi --help",
)
SYSTEMS = {"celeriac": "celeriac", "celery": "celery"}


def main() -> None:
    for name in SYSTEMS:  # compiles what is not compiled yet, as the first run after an installation does
        seconds(name, LINES[0].split())
    rounds = alternate(
        list(SYSTEMS), ROUNDS, lambda name: tuple(seconds(name, line.split()) for line in LINES)
    )
    report(
        "commands",
        "Starting a command",
        [Figure(line, "ms", column(rounds, place), more=False) for place, line in enumerate(LINES)],
        notes="Milliseconds of CPU until the command has ended.",
    )


def seconds(name: str, words: Sequence[str]) -> float:
    """Milliseconds of CPU of one run."""
    # Some machines forbid it for all programs, and then each start compiles everything.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    before = os.times()
    subprocess.run(
        [python_of(name), "-m", SYSTEMS[name], *words],
        check=True,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = os.times()
    return 1000 * (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


if __name__ == "__main__":
    main()
