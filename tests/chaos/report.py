"""The report of a long run: a page in Markdown, and a plot of throughput for each storm."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from chaos.stage import Sample
from chaos.storm import Told

#: Of a plot, in pixels; the frame within it is what the margins leave.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 320, 56, 56, 64, 36
#: Points that a line has at most; more would be a carpet.
POINTS = 400
#: Samples at the beginning that tell of warming up and not of a slope.
WARM_UP = 0.2


class Chapter(NamedTuple):
    """What came of one storm."""

    name: str
    seed: int
    samples: Sequence[Sample]
    faults: Sequence[Told]
    sent: int
    reruns: int
    dead: int
    #: What did not hold; empty if all did.
    trouble: str
    #: What a trial saw; a storm has none.
    seen: str = ""
    #: The longest time in which no task began, where that is promised; else 0.
    stall: float = 0.0
    #: Seconds within which 99 of 100 tasks began after they were sent, where that is promised; else 0.
    wait: float = 0.0

    @property
    def holds(self) -> bool:
        return not self.trouble

    @property
    def slowest(self) -> float:
        """The longest time that it took until everybody consumed again."""
        return max((fault.back for fault in self.faults if fault.back is not None), default=0.0)

    @property
    def verdict(self) -> str:
        if self.trouble:
            return f"DOES NOT HOLD: {self.trouble}"
        if self.seen:
            return f"holds: {self.seen}"
        return (
            f"holds: {self.sent} sent, 0 missing, {self.reruns} second runs, "
            f"{len(self.faults)} faults, "
            + (
                f"a task began every {self.stall:.1f} s at least"
                if self.stall
                else f"99 of 100 tasks began within {self.wait:.2f} s"
                if self.wait
                else f"consuming again after {self.slowest:.1f} s at most"
            )
        )


def assert_flat(samples: Sequence[Sample]) -> None:
    """Neither memory nor descriptors are more at the end than when all was warm."""
    memory, descriptors = (_halves(samples, what) for what in ("memory", "descriptors"))
    assert memory[1] < memory[0] * 1.05 + 2048, f"memory grows: {memory[0]} to {memory[1]} KiB"
    assert descriptors[1] <= descriptors[0] + 5, f"descriptors grow: {descriptors[0]} to {descriptors[1]}"


def write(folder: Path, chapters: Sequence[Chapter], arguments: str) -> None:
    """report.md and its plots."""
    lines = [
        "# Chaos",
        "",
        f"`python -m chaos {arguments}`. How to read this: docs/reliability.md.",
        "",
        (
            "| storm | seed | sent | missing | second runs | dead letters | faults |"
            " back after, at most | memory | descriptors | |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for chapter in chapters:
        if chapter.seen or not (chapter.samples or chapter.faults):
            continue
        last = chapter.samples[-1] if chapter.samples else None
        missing = "?" if chapter.trouble or last is None else last.sent - last.done - last.dead
        lines.append(
            f"| {chapter.name} | {chapter.seed} | {chapter.sent} | {missing} | {chapter.reruns} |"
            f" {chapter.dead} | {len(chapter.faults)} | {chapter.slowest:.1f} s |"
            f" {growth(chapter.samples, 'memory')} | {growth(chapter.samples, 'descriptors')} |"
            f" {'holds' if chapter.holds else '**does not hold**'} |"
        )
    for number, chapter in enumerate(chapters, 1):
        if not chapter.samples:
            lines += ["", f"## {chapter.name}", "", chapter.verdict]
            continue
        picture = f"{number}.svg"
        (folder / picture).write_text(plot(chapter))
        lines += ["", f"## {chapter.name}", "", chapter.verdict, "", f"![throughput]({picture})"]
    (folder / "report.md").write_text("\n".join(lines) + "\n")


def growth(samples: Sequence[Sample], what: str) -> str:
    """From the median of the first half (warm) to that of the last quarter."""
    if len(samples) < 10:
        return ""
    first, last = _halves(samples, what)
    unit = " MiB" if what == "memory" else ""
    scale = 1024 if what == "memory" else 1
    return f"{first / scale:.0f} to {last / scale:.0f}{unit}"


def _halves(samples: Sequence[Sample], what: str) -> tuple[float, float]:
    values = [getattr(sample, what) for sample in samples[int(len(samples) * WARM_UP) :]]
    return _median(values[: len(values) // 2]), _median(values[-len(values) // 4 :])


def plot(chapter: Chapter) -> str:
    """Tasks settled a second (line, left axis), messages in the store (area, right axis), faults (bars)."""
    samples = thinned(chapter.samples)
    end = max([1.0, *(sample.at for sample in samples), *(fault.healed for fault in chapter.faults)])
    speeds = [
        ((before.at + after.at) / 2, max(0.0, (after.done - before.done) / max(0.01, after.at - before.at)))
        for before, after in itertools.pairwise(samples)
    ]
    waiting = [(one.at, one.ready + one.delayed + one.claimed) for one in samples]
    most_speed = max([1.0, *(speed for _, speed in speeds)])
    most_waiting = max([1, *(count for _, count in waiting)])
    most_memory = max([1, *(one.memory for one in samples)])

    def x(at: float) -> float:
        return LEFT + at / end * (WIDTH - LEFT - RIGHT)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
            ' font-size="11"><rect width="100%" height="100%" fill="white"/>'
        ),
        f'<text x="{LEFT}" y="20" font-size="14">{escape(chapter.name)}, seed {chapter.seed}</text>',
        (
            f'<text x="{LEFT}" y="38" fill="#0b6">settled a second</text>'
            f'<text x="{LEFT + 110}" y="38" fill="#69c">messages in the store</text>'
            f'<text x="{LEFT + 250}" y="38" fill="#c33">faults, until everybody consumes again</text>'
            f'<text x="{LEFT + 470}" y="38" fill="#a60">memory of the workers, at most'
            f" {most_memory // 1024} MiB</text>"
        ),
    ]
    for fault in chapter.faults:
        left, right = x(max(0.0, fault.began)), x(fault.healed + (fault.back or 0.0))
        parts.append(
            f'<rect x="{left:.1f}" y="{TOP}" width="{max(1.0, right - left):.1f}"'
            f' height="{HEIGHT - TOP - BOTTOM}"'
            f' fill="#c33" opacity="0.22"><title>{escape(fault.name)}, back after'
            f" {fault.back or 0.0:.1f} s</title></rect>"
        )
    if waiting:
        path = " ".join(f"{x(at):.1f},{y(count / most_waiting):.1f}" for at, count in waiting)
        parts.append(
            f'<polygon points="{x(waiting[0][0]):.1f},{y(0):.1f} {path} {x(waiting[-1][0]):.1f},{y(0):.1f}"'
            ' fill="#69c" opacity="0.35"/>'
        )
    path = " ".join(f"{x(one.at):.1f},{y(one.memory / most_memory):.1f}" for one in samples)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#a60" stroke-width="1"/>')
    path = " ".join(f"{x(at):.1f},{y(speed / most_speed):.1f}" for at, speed in speeds)
    parts += [
        f'<polyline points="{path}" fill="none" stroke="#0b6" stroke-width="1.5"/>',
        f'<path d="M{LEFT},{TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}V{TOP}" fill="none" stroke="#888"/>',
        f'<text x="{LEFT - 6}" y="{TOP + 4}" text-anchor="end">{most_speed:.0f}</text>',
        f'<text x="{WIDTH - RIGHT + 6}" y="{TOP + 4}">{most_waiting}</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 14}">0 s</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 14}" text-anchor="end">{end:.0f} s</text></svg>',
    ]
    return "\n".join(parts)


def thinned(samples: Sequence[Sample]) -> Sequence[Sample]:
    """As many as a plot can show; a speed between two of them is an average."""
    step = -(-len(samples) // POINTS)
    return [*samples[::step], samples[-1]] if step > 1 else samples


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
