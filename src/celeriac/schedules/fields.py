"""The fields of a crontab: from what a person writes to the set of numbers that it means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: What a field may be given as.
Spec = str | int | Iterable[int]

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class ParseException(ValueError):
    """A field of a crontab that cannot be read."""


class crontab_parser:
    """Reads the field of `count` numbers from `first` on: `crontab_parser(60).parse("*/15")`."""

    def __init__(self, max_: int = 60, min_: int = 0, name: str = "field") -> None:
        self.first = min_
        self.last = max_ + min_ - 1
        self.name = name

    def parse(self, text: str) -> set[int]:
        """`*`, `*/15`, `3`, `mon-fri`, `22-4`, `10-50/10`, and lists of these."""
        found: set[int] = set()
        for part in str(text).split(","):
            if not part.strip():
                raise ParseException(f"empty part in the {self.name} {text!r} of a crontab")
            found |= self._part(part.strip(), text)
        return found

    def _part(self, part: str, text: str) -> set[int]:
        span, slash, step_text = part.partition("/")
        step = 1
        if slash:
            if not step_text.isdigit() or not int(step_text):
                raise ParseException(
                    f"the step in {part!r}, the {self.name} of a crontab, is no number from 1 up"
                )
            step = int(step_text)
        if span == "*":
            return set(range(self.first, self.last + 1, step))
        start_text, dash, end_text = span.partition("-")
        start = self._number(start_text, text)
        if not dash:
            if slash:
                raise ParseException(
                    f"{part!r}, the {self.name} of a crontab, has a step without a range: "
                    f"write {start_text}-{self.last}/{step_text}"
                )
            return {start}
        end = self._number(end_text, text)
        if end >= start:
            return set(range(start, end + 1, step))
        # Over the end and around: 22-4, fri-mon.
        around = [*range(start, self.last + 1), *range(self.first, end + 1)]
        return set(around[::step])

    def _number(self, word: str, text: str) -> int:
        number = int(word) if word.isdigit() else self._named(word.lower())
        if number is None:
            raise ParseException(
                f"{word!r} in the {self.name} {text!r} of a crontab is neither a number nor a name"
            )
        return self.checked(number)

    def _named(self, word: str) -> int | None:
        """mon, monday; jan, january: the first three letters count."""
        names = {"day_of_week": WEEKDAYS, "month_of_year": MONTHS}.get(self.name, ())
        if len(word) < 3 or word[:3] not in names:
            return None
        return names.index(word[:3]) + self.first

    def checked(self, number: int) -> int:
        if self.first <= number <= self.last:
            return number
        hint = "; Sunday is 0" if self.name == "day_of_week" and number == 7 else ""
        raise ValueError(
            f"{number} is no {self.name} of a crontab: it goes from {self.first} to {self.last}{hint}"
        )


def numbers(spec: Any, count: int, first: int, name: str) -> set[int]:
    """The numbers that a field means, whatever it is given as."""
    parser = crontab_parser(count, first, name)
    if isinstance(spec, str):
        return parser.parse(spec)
    if isinstance(spec, int):
        return {parser.checked(spec)}
    if isinstance(spec, Iterable):
        found = {parser.checked(int(number)) for number in spec}
        if found:
            return found
        raise ParseException(f"the {name} of a crontab is empty: it would never be")
    raise TypeError(
        f"the {name} of a crontab is a text, a number or several numbers, not {type(spec).__name__}"
    )


def spelt(spec: Any) -> str:
    """A field as text, so that parse() gives the same numbers."""
    if isinstance(spec, str):
        return spec.replace(" ", "")
    if isinstance(spec, int):
        return str(int(spec))
    return ",".join(str(number) for number in sorted(spec))
