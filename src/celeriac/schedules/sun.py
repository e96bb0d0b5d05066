"""The sun: at dawn, sunrise, noon, sunset or dusk of a place on earth."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from importlib import import_module
from typing import Any, NamedTuple

from celeriac.exceptions import ImproperlyConfigured
from celeriac.schedules.base import BaseSchedule

#: Days in which the sun comes up and goes down anywhere: beyond the polar circle it takes half a year.
LONGEST_DAY = 370


class _Event(NamedTuple):
    method: str
    #: Degrees of the sun over the horizon.
    horizon: str = "0"
    #: The middle of the sun counts, not its upper edge.
    center: bool = False


#: By name; the refraction of the air is in the 34 minutes of arc.
_EVENTS = {
    "dawn_astronomical": _Event("next_rising", "-18", center=True),
    "dawn_nautical": _Event("next_rising", "-12", center=True),
    "dawn_civil": _Event("next_rising", "-6", center=True),
    "sunrise": _Event("next_rising", "-0:34"),
    "solar_noon": _Event("next_transit"),
    "sunset": _Event("next_setting", "-0:34"),
    "dusk_civil": _Event("next_setting", "-6", center=True),
    "dusk_nautical": _Event("next_setting", "-12", center=True),
    "dusk_astronomical": _Event("next_setting", "-18", center=True),
}


class solar(BaseSchedule):
    """`solar("sunset", 52.52, 13.40)`: latitude and longitude in degrees, north and east are positive.

    A day without the event, beyond the polar circle, is passed over. Needs `pip install 'celeriac[solar]'`.
    """

    def __init__(
        self,
        event: str,
        lat: float,
        lon: float,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        if event not in _EVENTS:
            raise ValueError(f"{event!r} is no event of the sun; these are: {', '.join(sorted(_EVENTS))}")
        if not -90 <= lat <= 90:
            raise ValueError(f"{lat} is no latitude: it goes from -90 to 90")
        if not -180 <= lon <= 180:
            raise ValueError(f"{lon} is no longitude: it goes from -180 to 180")
        self.event, self.lat, self.lon = event, lat, lon
        try:
            self._ephem: Any = import_module("ephem")
        except ModuleNotFoundError as missing:
            raise ImproperlyConfigured(
                "schedules by the sun need the module ephem: pip install 'celeriac[solar]'"
            ) from missing

    def next_after(self, moment: float, zone: tzinfo | None = None) -> float | None:
        ephem = self._ephem
        event = _EVENTS[self.event]
        place = ephem.Observer()
        place.lat, place.lon = str(self.lat), str(self.lon)
        place.elevation = 0
        place.pressure = 0
        place.horizon = event.horizon
        # Each look finds an event to the second, so begin a little later: the next one must be another day's.
        start = datetime.fromtimestamp(moment + 3, UTC)
        options = {"use_center": True} if event.center else {}
        for day in range(LONGEST_DAY):
            try:
                found = getattr(place, event.method)(
                    ephem.Sun(),
                    start=ephem.Date((start + timedelta(days=day)).replace(tzinfo=None)),
                    **options,
                )
            except ephem.CircumpolarError:
                continue
            due: float = found.datetime().replace(tzinfo=UTC, microsecond=0).timestamp()
            return due
        return None

    def identity(self) -> tuple[Any, ...]:
        return self.event, self.lat, self.lon

    def __reduce__(self) -> Any:
        return type(self), (self.event, self.lat, self.lon)

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def __json__(self) -> dict[str, Any]:
        return {"solar": [self.event, self.lat, self.lon]}
