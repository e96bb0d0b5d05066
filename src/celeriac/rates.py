"""How often a task may run, as people write it: 10 or "10/s", "100/m", "1000/h"."""

from __future__ import annotations

from celeriac.exceptions import ImproperlyConfigured

#: Runs a second: one a year. The moments of slower ones are soon none that a calendar has.
SLOWEST = 1 / (366 * 86400)

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def interval_of(rate: object) -> float | None:
    """The seconds between two runs that a rate comes to; None is no limit (as are 0 and an empty text)."""
    if rate is None:
        return None
    try:
        if isinstance(rate, str):
            number, slash, unit = rate.partition("/")
            count = float(number or 0) / (_SECONDS[unit.strip().lower()] if slash else 1)
        elif isinstance(rate, int | float):
            count = float(rate)
        else:
            raise TypeError(rate)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise ImproperlyConfigured(
            f"rate_limit {rate!r} is not understood: give a number of runs a second, or a text such as "
            "'10/s', '100/m', '1000/h'"
        ) from None
    if count < 0:
        raise ImproperlyConfigured(f"rate_limit {rate!r} is below zero; None or 0 is no limit")
    if count and not count >= SLOWEST:
        raise ImproperlyConfigured(
            f"rate_limit {rate!r} is too slow, or no number: a run a year at least, or None for no limit"
        )
    return 1 / count if count else None
