"""One SVG of the questions that were answered: a panel of bars for each, the first system in its colour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

#: Which figure of which question stands in the picture, in this order: (question, figure, how it reads).
PANELS = (
    ("drain_with_results", 0, "tasks drained per second, results stored"),
    ("drain", 0, "tasks drained per second, no results"),
    ("drain_with_results", 1, "worker CPU, ms per 1,000 tasks"),
    ("enqueue", 0, "calls per second, one after another"),
    ("latency", 0, "call to first line, idle worker, ms (median)"),
    ("latency", 2, "call to result in hand, ms (median)"),
    ("idle", 0, "idle worker: requests to Redis per second"),
    ("memory", 0, "memory of a worker of two processes, MiB"),
    ("startup", 0, "start to first task, seconds"),
)

WIDTH, COLUMNS = 1080, 3
PANEL, LINE, HEAD, LABEL = WIDTH // COLUMNS, 19, 34, 74
FONT = 'font-family="sans-serif" font-size="11"'
OURS, OTHERS = "#2f9e44", "#adb5bd"


def draw(folder: Path) -> None:
    """Write picture.svg from what the results hold."""
    panels = list(_panels(folder))
    rows = -(-len(panels) // COLUMNS)
    height = rows * _height(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (title, more, bars) in enumerate(panels):
        x, y = number % COLUMNS * PANEL, number // COLUMNS * _height(panels)
        parts += _panel(x, y, title, more, bars)
    (folder / "picture.svg").write_text("\n".join([*parts, "</svg>", ""]))


def _panels(folder: Path) -> Iterator[tuple[str, bool, list[tuple[str, float]]]]:
    for question, which, title in PANELS:
        path = folder / f"{question}.json"
        if path.exists():
            figure: dict[str, Any] = json.loads(path.read_text())["figures"][which]
            yield title, figure["more_is_better"], list(figure["medians"].items())


def _height(panels: list[Any]) -> int:
    return HEAD + LINE * max((len(bars) for _, _, bars in panels), default=0) + 14


def _panel(x: int, y: int, title: str, more: bool, bars: list[tuple[str, float]]) -> Iterator[str]:
    longest = max((value for _, value in bars), default=1) or 1
    room = PANEL - LABEL - 70
    yield f'<text x="{x + 8}" y="{y + 16}" font-weight="bold" fill="#212529">{escape(title)}</text>'
    yield (
        f'<text x="{x + 8}" y="{y + 29}" font-size="9" fill="#868e96">'
        f"{'longer' if more else 'shorter'} is better</text>"
    )
    for number, (name, value) in enumerate(bars):
        top = y + HEAD + number * LINE
        wide = max(1.0, room * value / longest)
        colour = OURS if number == 0 else OTHERS
        yield f'<text x="{x + LABEL}" y="{top + 12}" text-anchor="end" fill="#495057">{escape(name)}</text>'
        yield f'<rect x="{x + LABEL + 5}" y="{top + 2}" width="{wide:.1f}" height="13" fill="{colour}"/>'
        yield f'<text x="{x + LABEL + 9 + wide:.1f}" y="{top + 12}" fill="#212529">{value:,}</text>'
