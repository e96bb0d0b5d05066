"""When something happens again: crontab, interval, the sun, one moment, or a rule of your own.

    from celeriac.schedules import crontab, once, schedule, solar

    crontab(hour=4, minute=30)                      # at 04:30 of the app's time zone
    crontab.from_string("*/10 9-17 * * mon-fri")
    schedule(30)                                    # every 30 seconds; so does a plain 30
    solar("sunset", 52.52, 13.40)
    once(datetime(2027, 1, 1, tzinfo=UTC))

`next_after(moment)` of each is pure: epoch seconds in, epoch seconds out. docs/schedules.md says what they
mean on the two odd days of the year.
"""

from __future__ import annotations

from celeriac.schedules.base import BaseSchedule, schedstate
from celeriac.schedules.crontab import crontab
from celeriac.schedules.fields import ParseException, crontab_parser
from celeriac.schedules.interval import maybe_schedule, schedule
from celeriac.schedules.moment import once
from celeriac.schedules.sun import solar

__all__ = [
    "BaseSchedule",
    "ParseException",
    "crontab",
    "crontab_parser",
    "maybe_schedule",
    "once",
    "schedstate",
    "schedule",
    "solar",
]
