"""From a wall clock to the one moment that it means: the rule for the two odd days of the year.

A wall-clock time that does not exist happens once, at the jump.
One that exists twice happens once, at the first.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo


def wall_clock(moment: float, zone: tzinfo) -> datetime:
    """What a clock on the wall shows, without its offset."""
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=None)


def moment_of(wall: datetime, zone: tzinfo) -> float:
    """Epoch seconds of a wall-clock time by the rule above."""
    first = wall.replace(tzinfo=zone, fold=0)
    moment = first.timestamp()
    if wall_clock(moment, zone) == wall:
        return moment
    # In a gap Python reads the first fold with the offset of before, and the second with that of after: the
    # jump lies between the two.
    return _jump(wall.replace(tzinfo=zone, fold=1).timestamp(), moment, zone)


def _jump(low: float, high: float, zone: tzinfo) -> float:
    """The second at which the offset changes in (low, high]."""
    before = _offset(low, zone)
    early, late = int(low), int(high)
    while late - early > 1:
        middle = (early + late) // 2
        if _offset(middle, zone) == before:
            early = middle
        else:
            late = middle
    return float(late)


def _offset(moment: float, zone: tzinfo) -> object:
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset()
