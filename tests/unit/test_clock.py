"""Moments as users give them and as the wire carries them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from celeriac import clock

NOON = datetime(2025, 4, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "moment",
    [
        60,
        60.0,
        timedelta(minutes=1),
        datetime(2025, 4, 25, 12, 1),
        datetime(2025, 4, 25, 14, 1, tzinfo=timezone(timedelta(hours=2))),
        "2025-04-25T12:01:00",
        "2025-04-25T12:01:00Z",
        "2025-04-25T14:01:00+02:00",
    ],
)
def test_a_moment_may_be_given_in_many_ways(moment: float | timedelta | datetime | str) -> None:
    assert clock.to_datetime(moment, now=NOON.timestamp()) == NOON + timedelta(minutes=1)


@pytest.mark.parametrize("nonsense", [1e30, float("nan"), float("inf"), timedelta.max, "tomorrow"])
def test_a_moment_that_no_calendar_has_is_a_value_error(nonsense: float | timedelta | str) -> None:
    with pytest.raises(ValueError, match=r"calendar|is no time"):
        clock.to_datetime(nonsense, now=NOON.timestamp())


@pytest.mark.parametrize("nonsense", [None, True, [1]])
def test_what_is_no_time_is_a_type_error(nonsense: object) -> None:
    with pytest.raises(TypeError, match="seconds, timedelta, datetime"):
        clock.to_datetime(nonsense)  # type: ignore[arg-type]


def test_iso_text_goes_there_and_back() -> None:
    assert clock.to_epoch(clock.to_iso(NOON)) == NOON.timestamp()
    assert clock.to_iso(datetime(2025, 4, 25, 12)) == "2025-04-25T12:00:00+00:00"
    assert clock.to_epoch("2025-04-25T12:00:00") == NOON.timestamp()
    with pytest.raises(ValueError, match="isoformat"):
        clock.to_epoch("soon")
