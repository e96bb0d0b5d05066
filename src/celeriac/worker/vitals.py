"""How a node is: a page of shared memory that its supervisor writes and the health process reads.

8 bytes a field: 0 monotonic seconds of the supervisor's last step, 1 of the last renewal of the lease;
2 children that are ready, 3 that are wanted, 4 births, 5 deaths that were not in order, 6 children in a row
that died before they were ready; 7 not 0: stopping; 8 the places that children ever had.
"""

from __future__ import annotations

import mmap
import time

import msgspec

_FIELDS = 9
_STEP, _RENEWED, _READY, _WANTED, _BIRTHS, _DEATHS, _STILLBORN, _STOPPING, _PLACES = range(_FIELDS)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The page at one moment. Seconds are those of the monotonic clock, which all processes share."""

    step: float
    #: 0 before the first renewal.
    renewed: float
    ready: int
    wanted: int
    births: int
    deaths: int
    stillborn: int
    stopping: bool
    places: int


class Vitals:
    """Made before the health process is; both have it by inheritance."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, _FIELDS * 8))
        self._integers = memory.cast("q")
        self._floats = memory.cast("d")
        self.step()

    def step(self) -> None:
        """The supervisor goes on."""
        self._floats[_STEP] = time.monotonic()

    def note(
        self,
        *,
        renewed: float,
        ready: int,
        wanted: int,
        births: int,
        deaths: int,
        stillborn: int,
        stopping: bool,
        places: int,
    ) -> None:
        """All that the supervisor knows."""
        integers = self._integers
        self._floats[_RENEWED] = renewed
        integers[_READY], integers[_WANTED] = ready, wanted
        integers[_PLACES] = places
        integers[_BIRTHS], integers[_DEATHS] = births, deaths
        integers[_STILLBORN], integers[_STOPPING] = stillborn, int(stopping)
        self.step()

    def read(self) -> Reading:
        integers, floats = self._integers, self._floats
        return Reading(
            step=floats[_STEP],
            renewed=floats[_RENEWED],
            ready=integers[_READY],
            wanted=integers[_WANTED],
            births=integers[_BIRTHS],
            deaths=integers[_DEATHS],
            stillborn=integers[_STILLBORN],
            stopping=bool(integers[_STOPPING]),
            places=integers[_PLACES],
        )
