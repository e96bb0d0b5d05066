"""Medians and ratios as a Markdown table, kept with date, versions and machine, and drawn."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from common.contest import BENCH, python_of
from common.picture import draw

RESULTS = BENCH / "results"
PACKAGES = {"taskiq": ("taskiq", "taskiq-redis")}


@dataclass
class Figure:
    """One column: for each system the figures of all rounds."""

    name: str
    unit: str
    rounds: Mapping[str, Sequence[float]]
    #: Whether more is better.
    more: bool = True
    #: What is shown for all rounds together; mean where single events are counted.
    middle: Callable[[Iterable[float]], float] = median

    @property
    def medians(self) -> dict[str, float]:
        return {name: self.middle(figures) for name, figures in self.rounds.items() if figures}


def report(question: str, title: str, figures: Sequence[Figure], *, redis: str = "", notes: str = "") -> None:
    """Print the table, keep the figures, draw the picture anew."""
    print(f"\n### {title}\n\n{table(figures)}\n")
    if notes:
        print(f"{notes}\n")
    names = list(dict.fromkeys(name for figure in figures for name in figure.rounds))
    kept = {
        "question": question,
        "title": title,
        "notes": notes,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {**{name: version(name) for name in names}, **({"redis-server": redis} if redis else {})},
        "load_before": os.getloadavg()[0],
        "figures": [
            {
                "name": figure.name,
                "unit": figure.unit,
                "more_is_better": figure.more,
                "medians": {name: rounded(value) for name, value in figure.medians.items()},
                "rounds": {name: [rounded(v) for v in values] for name, values in figure.rounds.items()},
            }
            for figure in figures
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{question}.json").write_text(json.dumps(kept, indent=1) + "\n")
    draw(RESULTS)


def column(rounds: Mapping[str, Sequence[Sequence[float]]], which: int) -> dict[str, list[float]]:
    """Of rounds that found several figures, one of them."""
    return {name: [found[which] for found in all_] for name, all_ in rounds.items()}


def table(figures: Sequence[Figure]) -> str:
    """Each figure with its ratio to the first system: how many times better that one is."""
    names = list(dict.fromkeys(name for figure in figures for name in figure.rounds))
    head = ["", *(f"{figure.name} ({figure.unit})" for figure in figures)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in names:
        cells = [name, *(_cell(figure, name, names[0]) for figure in figures)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(figure: Figure, name: str, first: str) -> str:
    medians = figure.medians
    if name not in medians:
        return "-"
    shown = f"{rounded(medians[name]):,}"
    if name == first or first not in medians or not medians[name] or not medians[first]:
        return shown
    ratio = medians[first] / medians[name] if figure.more else medians[name] / medians[first]
    return f"{shown} ({ratio:.1f}x)" if ratio < 10 else f"{shown} ({ratio:.0f}x)"


def rounded(value: float) -> float | int:
    """Three figures are all that such a measurement is worth."""
    if value >= 100:
        return round(round(value, 3 - len(str(int(value)))))
    return float(f"{value:.3g}")


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown"
    )
    return {"cores": len(os.sched_getaffinity(0)), "cpu": model}


def version(name: str) -> str:
    """What is installed of a system; a variant such as "celeriac, sqlite" is the system before the comma."""
    name = name.partition(",")[0].partition(" ")[0]
    packages = PACKAGES.get(name, (name,))
    asked = "from importlib.metadata import version as v; print(' '.join(map(v, __import__('sys').argv[1:])))"
    command = [python_of(name), "-c", asked, *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
