"""Schedules are pure: a moment in, the next one out. With the two odd days, and ten years of croniter."""

from __future__ import annotations

import json
import pickle
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from celeriac import Celery
from celeriac.schedules import (
    BaseSchedule,
    ParseException,
    crontab,
    crontab_parser,
    maybe_schedule,
    once,
    schedstate,
    schedule,
    solar,
)

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
LORD_HOWE, KOLKATA = ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kolkata")


def after(rule: BaseSchedule, start: str, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    """The wall clock, with its offset, at the next occurrences after a wall-clock time."""
    moment: float | None = datetime.fromisoformat(start).replace(tzinfo=zone).timestamp()
    shown = []
    for _ in range(count):
        moment = rule.next_after(moment, zone) if moment is not None else None
        shown.append("-" if moment is None else datetime.fromtimestamp(moment, zone).isoformat())
    return shown


# --- crontab ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("*", set(range(60))),
        ("*/20", {0, 20, 40}),
        ("7", {7}),
        ("10-13", {10, 11, 12, 13}),
        ("10-30/10", {10, 20, 30}),
        ("55-5/5", {55, 0, 5}),
        ("1,5, 9-10", {1, 5, 9, 10}),
    ],
)
def test_BEA_2_a_field_means_these_minutes(text: str, found: set[int]) -> None:
    assert crontab(minute=text).minute == found
    assert crontab_parser(60).parse(text) == found


def test_BEA_2_names_ints_and_iterables_are_fields_too() -> None:
    rule = crontab(minute=5, hour=[3, 4], day_of_week="friday-mon", month_of_year="jan,november")
    assert rule.minute == {5}
    assert rule.hour == {3, 4}
    assert rule.day_of_week == {5, 6, 0, 1}
    assert rule.month_of_year == {1, 11}
    assert crontab(day_of_month="*/10").day_of_month == {1, 11, 21, 31}


def test_BEA_2_a_field_that_can_be_read_once_only_is_shown_and_stored_like_others() -> None:
    assert crontab(minute=(minute for minute in (5, 20))).text == "5,20 * * * *"


def test_BEA_2_from_string_and_repr() -> None:
    rule = crontab.from_string("*/5 */2 1,15 jan-mar mon")
    assert repr(rule) == "<crontab: */5 */2 1,15 jan-mar mon (m/h/dM/MY/d)>"
    assert rule == crontab("*/5", "*/2", "mon", "1,15", "jan-mar")
    assert crontab.from_string(rule.text) == rule
    with_second = crontab.from_string("*/10 0 4 * * *")
    assert with_second.second == {0, 10, 20, 30, 40, 50}
    assert crontab.from_string(with_second.text) == with_second


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("* * * *", ParseException, "has 4 fields"),
        ("61 * * * *", ValueError, "61 is no minute"),
        ("x * * * *", ValueError, "'x' in the minute"),
        ("5/10 * * * *", ValueError, "write 5-59/10"),
        ("*/0 * * * *", ValueError, "no number from 1 up"),
        ("* * 31 2 *", ValueError, "never is"),
        ("* * * * 7", ValueError, "Sunday is 0"),
        ("1,, * * * *", ParseException, "empty part"),
    ],
)
def test_BEA_2_what_cannot_be_is_refused(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        crontab.from_string(text)


def test_BEA_2_a_field_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="not float"):
        crontab(minute=3.0)  # type: ignore[arg-type]
    with pytest.raises(ParseException, match="is empty"):
        crontab(minute=[])


def test_BEA_2_day_of_month_and_day_of_week_must_both_match() -> None:
    assert after(crontab.from_string("0 0 13 * fri"), "2026-01-01", 3) == [
        "2026-02-13T00:00:00+01:00",
        "2026-03-13T00:00:00+01:00",
        "2026-11-13T00:00:00+01:00",
    ]


def test_a_leap_day_on_a_monday_is_found_over_forty_years() -> None:
    rule = crontab.from_string("0 0 29 2 mon")
    assert after(rule, "2072-03-01", 1, ZoneInfo("UTC")) == ["2112-02-29T00:00:00+00:00"]


def test_a_crontab_with_seconds_happens_within_the_minute() -> None:
    assert after(crontab(second="*/20"), "2026-01-01T00:00:00", 4, KOLKATA) == [
        "2026-01-01T00:00:20+05:30",
        "2026-01-01T00:00:40+05:30",
        "2026-01-01T00:01:00+05:30",
        "2026-01-01T00:01:20+05:30",
    ]


# --- the two odd days -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "text", "start", "expected"),
    [
        # 02:00 jumps to 03:00.
        (
            BERLIN,
            "30 2 * * *",
            "2027-03-27",
            ["2027-03-27T02:30:00+01:00", "2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"],
        ),
        (NEW_YORK, "30 2 * * *", "2027-03-14", ["2027-03-14T03:00:00-04:00", "2027-03-15T02:30:00-04:00"]),
        # Four times that do not exist, and one at the jump itself, are one moment.
        (BERLIN, "*/15 2,3 * * *", "2027-03-28", ["2027-03-28T03:00:00+02:00", "2027-03-28T03:15:00+02:00"]),
        # 03:00 falls back to 02:00.
        (BERLIN, "30 2 * * *", "2027-10-31", ["2027-10-31T02:30:00+02:00", "2027-11-01T02:30:00+01:00"]),
        (NEW_YORK, "30 1 * * *", "2027-11-07", ["2027-11-07T01:30:00-04:00", "2027-11-08T01:30:00-05:00"]),
        (
            BERLIN,
            "30 * * * *",
            "2027-10-31T01:00",
            ["2027-10-31T01:30:00+02:00", "2027-10-31T02:30:00+02:00", "2027-10-31T03:30:00+01:00"],
        ),
        # Half an hour only: 02:00 jumps to 02:30, and 02:00 falls back to 01:30.
        (LORD_HOWE, "15 2 * * *", "2027-10-03", ["2027-10-03T02:30:00+11:00", "2027-10-04T02:15:00+11:00"]),
        (LORD_HOWE, "45 1 * * *", "2027-04-04", ["2027-04-04T01:45:00+11:00", "2027-04-05T01:45:00+10:30"]),
        # No odd days at all.
        (KOLKATA, "30 2 * * *", "2027-03-28", ["2027-03-28T02:30:00+05:30", "2027-03-29T02:30:00+05:30"]),
    ],
)
def test_a_time_that_does_not_exist_is_at_the_jump_and_one_that_is_twice_at_the_first(
    zone: ZoneInfo, text: str, start: str, expected: list[str]
) -> None:
    assert after(crontab.from_string(text), start, len(expected), zone) == expected


def test_a_day_that_does_not_exist_is_at_the_jump_too() -> None:
    # Samoa went from the 29th of December 2011 to the 31st.
    apia = ZoneInfo("Pacific/Apia")
    assert after(crontab.from_string("0 12 * * *"), "2011-12-29T13:00", 2, apia) == [
        "2011-12-31T00:00:00+14:00",
        "2011-12-31T12:00:00+14:00",
    ]


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, LORD_HOWE, KOLKATA], ids=str)
@pytest.mark.parametrize("text", ["30 * * * *", "15,45 1,2,3 * * *"])
def test_every_wall_clock_time_of_a_year_happens_once(zone: ZoneInfo, text: str) -> None:
    rule = crontab.from_string(text)
    moment: float | None = datetime(2027, 1, 1, tzinfo=zone).timestamp()
    end = datetime(2028, 1, 1, tzinfo=zone).timestamp()
    seen: list[float] = []
    while (moment := rule.next_after(moment or 0, zone)) is not None and moment < end:
        assert not seen or moment > seen[-1]
        seen.append(moment)
    shown = [datetime.fromtimestamp(one, zone).replace(tzinfo=None) for one in seen]
    assert len(set(shown)) == len(shown), "some wall-clock time happened twice"
    times = [(hour, minute) for hour in rule.hour for minute in rule.minute]
    day, missing = datetime(2027, 1, 1), set()
    while day.year == 2027:
        missing |= {day.replace(hour=hour, minute=minute) for hour, minute in times} - set(shown)
        day += timedelta(days=1)
    for wall in missing - {datetime(2027, 1, 1)}:
        # It is not there because it does not exist.
        assert (
            datetime.fromtimestamp(wall.replace(tzinfo=zone).timestamp(), zone).replace(tzinfo=None) != wall
        )


def test_an_interval_counts_elapsed_time_over_the_jump() -> None:
    assert after(schedule(3600), "2027-03-28T01:30", 2) == [
        "2027-03-28T03:30:00+02:00",
        "2027-03-28T04:30:00+02:00",
    ]
    assert after(schedule(3600), "2027-10-31T01:30", 3) == [
        "2027-10-31T02:30:00+02:00",
        "2027-10-31T02:30:00+01:00",
        "2027-10-31T03:30:00+01:00",
    ]


# --- croniter ---------------------------------------------------------------------------------------------


def random_field(rng: random.Random, first: int, last: int) -> str:
    def one() -> str:
        low = rng.randint(first, last)
        high = rng.randint(low, last)
        kinds = ["*", f"*/{rng.randint(1, last)}", str(low), str(low)]
        if high > low:
            kinds += [f"{low}-{high}", f"{low}-{high}/{rng.randint(1, high - low)}"]
        return rng.choice(kinds)

    return ",".join(one() for _ in range(rng.choice([1, 1, 1, 2])))


@pytest.mark.parametrize("seed", range(25))
def test_ten_years_are_as_croniter_has_them(seed: int) -> None:
    rng = random.Random(seed)
    spans = [(0, 59), (0, 23), (1, 28), (1, 12), (0, 6)]
    text = " ".join("*" if rng.random() < 0.3 else random_field(rng, *span) for span in spans)
    rule, utc = crontab.from_string(text), ZoneInfo("UTC")
    start = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    end = datetime(2036, 1, 1, tzinfo=UTC).timestamp()
    # Somewhere in each year, and from there on some in a row.
    for year in range(10):
        moment = start + (year + rng.random()) * (end - start) / 10
        # Both days must match, as in Celery.
        theirs = croniter(text, moment, day_or=False)
        for _ in range(6):
            expected = theirs.get_next(float)
            found = rule.next_after(moment, utc)
            assert found == expected, (text, moment)
            moment = found


# --- the others -------------------------------------------------------------------------------------------


def test_BEA_3_an_interval_shows_itself_as_people_say_it() -> None:
    assert [repr(schedule(n)) for n in (30, 90, 3600, 5400, 172800)] == [
        "<freq: 30.00 seconds>",
        "<freq: 1.50 minutes>",
        "<freq: 1.00 hour>",
        "<freq: 1.50 hours>",
        "<freq: 2.00 days>",
    ]


def test_BEA_3_a_relative_interval_is_on_the_full_hour_or_day() -> None:
    assert after(schedule(3600, relative=True), "2027-01-01T10:40", 2) == [
        "2027-01-01T11:00:00+01:00",
        "2027-01-01T12:00:00+01:00",
    ]
    assert after(schedule(timedelta(days=1), relative=True), "2027-03-27T10:40", 2) == [
        "2027-03-28T00:00:00+01:00",
        "2027-03-29T00:00:00+02:00",
    ]


def test_one_moment_happens_once() -> None:
    assert after(once(datetime(2027, 3, 1, 8)), "2027-01-01", 2) == ["2027-03-01T08:00:00+01:00", "-"]
    assert after(once("2027-03-01T08:00:00+00:00"), "2027-01-01", 1) == ["2027-03-01T09:00:00+01:00"]
    with pytest.raises(ValueError, match="is no moment"):
        once("tomorrow")


def test_the_sun_sets_a_little_earlier_every_autumn_day() -> None:
    assert [day[:16] for day in after(solar("sunset", 52.52, 13.40), "2027-10-02", 3)] == [
        "2027-10-02T18:42",
        "2027-10-03T18:39",
        "2027-10-04T18:37",
    ]


def test_the_sun_that_is_about_to_set_is_not_missed() -> None:
    (sunset,) = after(solar("sunset", 52.52, 13.40), "2027-10-02", 1)
    moment = datetime.fromisoformat(sunset).timestamp()
    again = solar("sunset", 52.52, 13.40).next_after(moment - 10, UTC)
    assert again is not None
    assert abs(again - moment) < 2
    following = solar("sunset", 52.52, 13.40).next_after(moment, UTC)
    assert following is not None
    assert following > moment + 80_000


def test_where_the_sun_does_not_set_the_next_sunset_is_in_late_summer() -> None:
    (found,) = after(solar("sunset", 78.2, 15.6), "2027-05-10", 1)
    assert found.startswith("2027-08-2")


@pytest.mark.parametrize(
    "event", ["dawn_astronomical", "dawn_nautical", "dawn_civil", "sunrise", "solar_noon"]
)
def test_the_sun_comes_up_in_order(event: str) -> None:
    order = ["dawn_astronomical", "dawn_nautical", "dawn_civil", "sunrise", "solar_noon"]
    times = [after(solar(one, 52.52, 13.40), "2027-10-02", 1)[0] for one in order]
    assert sorted(times) == times


def test_a_place_and_an_event_must_be_some() -> None:
    with pytest.raises(ValueError, match="is no event of the sun"):
        solar("lunch", 0, 0)
    with pytest.raises(ValueError, match="no latitude"):
        solar("sunset", 91, 0)
    with pytest.raises(ValueError, match="no longitude"):
        solar("sunset", 0, 181)


@pytest.mark.parametrize(
    "rule",
    [
        crontab(1, 2, "mon"),
        crontab(second="*/5"),
        schedule(30),
        schedule(3600, relative=True),
        once("2027-03-01T08:00:00+00:00"),
        solar("sunset", 1.5, 2.5),
    ],
    ids=repr,
)
def test_BEA_3_schedules_are_compared_hashed_and_pickled(rule: BaseSchedule) -> None:
    twin = pickle.loads(pickle.dumps(rule))
    assert twin == rule
    assert hash(twin) == hash(rule)
    assert rule != crontab(59, 23)
    assert json.dumps(rule.__json__())


def test_BEA_3_what_is_meant_by_a_number() -> None:
    assert maybe_schedule(30) == schedule(30) == 30
    assert maybe_schedule(timedelta(minutes=1)) == schedule(60)
    rule = crontab()
    assert maybe_schedule(rule) is rule
    assert maybe_schedule(None) is None
    with pytest.raises(TypeError, match="is no schedule"):
        maybe_schedule("every day")


# --- as Celery asks ---------------------------------------------------------------------------------------


@pytest.fixture
def noon() -> Any:
    """An app whose clock stands at noon of the first of January 2027 in Berlin."""
    app = Celery("noon", set_as_current=False, timezone="Europe/Berlin")
    app.time = lambda: datetime(2027, 1, 1, 12, tzinfo=BERLIN).timestamp()
    return app


def test_BEA_3_is_due_tells_whether_and_when_next(noon: Celery) -> None:
    last = datetime(2027, 1, 1, 11, 59, 50, tzinfo=BERLIN)
    assert schedule(10, app=noon).is_due(last) == schedstate(True, 10.0)
    assert schedule(30, app=noon).is_due(last) == schedstate(False, 20.0)
    assert crontab(hour=12, minute=0, app=noon).is_due(last) == schedstate(True, 86400.0)
    assert crontab(hour=13, minute=0, app=noon).is_due(last) == schedstate(False, 3600.0)
    assert schedule(30, app=noon).remaining_estimate(last) == timedelta(seconds=20)


def test_BEA_3_a_late_crontab_is_dropped_after_its_deadline(noon: Celery) -> None:
    yesterday = datetime(2026, 12, 31, 12, tzinfo=BERLIN)
    rule = crontab(hour=9, minute=0, app=noon)
    assert rule.is_due(yesterday).is_due
    noon.conf.beat_cron_starting_deadline = 3600
    assert not rule.is_due(yesterday).is_due
    assert schedule(60, app=noon).is_due(yesterday).is_due


def test_the_latest_of_many_missed_is_found_without_counting_them() -> None:
    year = 365 * 86400.0
    assert schedule(10).latest(100.0, 100.0 + year + 3) == 100.0 + year
    start = datetime(2027, 1, 1, tzinfo=BERLIN).timestamp()
    assert crontab().latest(start, start + year + 17.3, BERLIN) == start + year
    assert crontab(hour=3, minute=0).latest(start + 10800, start + 10801, BERLIN) == start + 10800
