"""The independent witness: a file to which tasks add a line when they begin and when they end."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from chaos.life import Life, myself

#: Epoch seconds between which the work of a process may run a second time elsewhere.
Span = tuple[float, float]


class Entry(NamedTuple):
    """A line of the ledger."""

    word: str
    #: "begin" or "end".
    event: str
    life: Life
    #: How many owners had died over the message before, as the task was told.
    deliveries: int
    #: Epoch seconds.
    time: float


def note(path: str | Path, word: str, event: str, deliveries: int = 0) -> None:
    """One line, written in one piece: O_APPEND keeps the lines of many processes apart."""
    life = myself()
    line = f"{word} {event} {life.pid}/{life.started} {deliveries} {time.time():.6f}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


class Ledger:
    """Reads the file as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begins: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        #: Every entry so far, where somebody asked to keep them.
        self.entries: list[Entry] = []
        #: When a process last began a task.
        self.last_begin: dict[int, float] = {}
        self._offset = 0
        self._rest = b""

    def read(self) -> list[Entry]:
        """What was written since the last call."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        entries = [_entry(line.decode()) for line in lines]
        for entry in entries:
            if entry.event == "begin":
                self.begins[entry.word] += 1
                self.last_begin[entry.life.pid] = entry.time
            else:
                self.ends[entry.word] += 1
        self.entries += entries
        return entries

    def has_begun(self, *words: str) -> bool:
        """All of them, as far as is written by now."""
        self.read()
        return all(self.begins[word] for word in words)

    def has_ended(self, *words: str) -> bool:
        """All of them, as far as is written by now."""
        self.read()
        return all(self.ends[word] for word in words)

    def unexplained(self, hit: Mapping[Life, Sequence[Span]]) -> Iterator[tuple[Entry, Entry]]:
        """Runs with the one before, where no fault that hit either process lies between the two.

        The later one may be the one that was hit: a zombie that wakes up with a claim in hand, which others
        have run.
        """

        def explained(before: Entry, after: Entry) -> bool:
            spans = [*hit.get(before.life, ()), *hit.get(after.life, ())]
            return any(after.time >= began and before.time <= over for began, over in spans)

        runs: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.event == "begin":
                before = runs.get(entry.word)
                if before and not explained(before, entry):
                    yield before, entry
                runs[entry.word] = entry


class Tally:
    """Counts the same file for millions of words, each a letter and a number: two bytes a word."""

    def __init__(self, path: Path, letter: str) -> None:
        self.path = path
        self._letter = letter.encode()

    def not_once(self, most: int) -> list[int]:
        """Which of the numbers 1 to `most` did not begin once and end once."""
        begun, ended = bytearray(most + 1), bytearray(most + 1)
        with open(self.path, "rb") as file:
            for line in file:
                word, event, _ = line.split(b" ", 2)
                if word.startswith(self._letter):
                    counts, number = ended if event == b"end" else begun, int(word[1:])
                    counts[number] = min(255, counts[number] + 1)
        return [number for number in range(1, most + 1) if begun[number] != 1 or ended[number] != 1]


def _entry(line: str) -> Entry:
    word, event, life, deliveries, at = line.split(" ")
    pid, _, started = life.partition("/")
    return Entry(word, event, Life(int(pid), int(started)), int(deliveries), float(at))
