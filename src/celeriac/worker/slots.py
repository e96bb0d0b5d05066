"""Pages of numbers in shared memory: children write how far they are, the supervisor reads it, also after
their death. Two fields speak downward.

Page of one child, 8 bytes a field:

0 pid
1 state (see State)
2 number of the last claim that has begun
3 tasks done
4 hard deadline, seconds of the monotonic clock, which is one for all processes; 0 is none
5 that limit, seconds
6 whether it is to begin nothing more (from above)
7 events that could never be sent
8 number of the last claim that waits in it; 0 is none
9 number of the first claim that it must not begin (from above); 0 is none
then two for each room: number of the claim that runs there (0 is none), and since when, epoch seconds
"""

from __future__ import annotations

import mmap
import os
from enum import IntEnum

_FIELDS = 10
_PID, _STATE, _BEGUN, _DONE, _DEADLINE, _LIMIT, _ENOUGH, _LOST, _WAITING, _BARRED = range(_FIELDS)

#: Pages for children that come later. A page that nobody has written costs no memory.
PLACES = 1024


class State(IntEnum):
    """Where a child is in its life."""

    STARTING = 0
    READY = 1
    #: It ends by its own wish (max_tasks_per_child and its like) and wants to be replaced.
    RETIRING = 2
    STOPPED = 3


class Slots:
    """The pages of all children of one node; the file has no name and goes with the last process that holds
    it."""

    def __init__(self, count: int, rooms: int = 1, descriptor: int | None = None) -> None:
        self.count = count
        self.rooms = rooms
        self._fields = _FIELDS + 2 * rooms
        size = self.most * self._fields * 8
        self.descriptor = os.memfd_create("celeriac-slots") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, size)
        self._memory = mmap.mmap(self.descriptor, size)
        self._integers = memoryview(self._memory).cast("q")
        self._floats = memoryview(self._memory).cast("d")

    @property
    def most(self) -> int:
        """How many children there can be."""
        return max(self.count, PLACES)

    def slot(self, index: int) -> Slot:
        """The page of one child."""
        start = index * self._fields
        end = start + self._fields
        return Slot(self._integers[start:end], self._floats[start:end])


class Slot:
    """One page. Each field is one aligned word, so that a reader never sees half of a write."""

    __slots__ = ("_floats", "_integers", "_rooms")

    def __init__(self, integers: memoryview[int], floats: memoryview[float]) -> None:
        self._integers = integers
        self._floats = floats
        self._rooms = range(_FIELDS, len(integers), 2)

    def clear(self) -> None:
        """Before a new child moves in."""
        for field in range(len(self._integers)):
            self._integers[field] = 0

    @property
    def pid(self) -> int:
        return int(self._integers[_PID])

    @pid.setter
    def pid(self, pid: int) -> None:
        self._integers[_PID] = pid

    @property
    def state(self) -> State:
        return State(self._integers[_STATE])

    @state.setter
    def state(self, state: State) -> None:
        self._integers[_STATE] = int(state)

    @property
    def begun(self) -> int:
        """All claims up to this number have begun; the ones above have not."""
        return int(self._integers[_BEGUN])

    def begin(self, number: int) -> bool:
        """Written before the task runs: a claim above this number was certainly never run. False: it must not
        run, for the parent gives it to others."""
        integers = self._integers
        integers[_BEGUN] = number
        # In this order: the parent writes its word first and reads how far we are afterwards.
        return not 0 < integers[_BARRED] <= number

    @property
    def done(self) -> int:
        return int(self._integers[_DONE])

    def finish(self) -> None:
        """One more task is done."""
        self._integers[_DONE] += 1

    @property
    def enough(self) -> bool:
        """Whether it is to begin nothing more. Read before and after each turn, so it holds from the instant
        at which the parent writes it, however late the child's other threads hear of it."""
        return self._integers[_ENOUGH] != 0

    def say_enough(self) -> None:
        """Begin nothing more."""
        self._integers[_ENOUGH] = 1

    @property
    def waiting(self) -> int:
        """The last claim that waits for those before it; 0: none does, or the child sees to it itself."""
        return int(self._integers[_WAITING])

    @waiting.setter
    def waiting(self, number: int) -> None:
        self._integers[_WAITING] = number

    @property
    def barred(self) -> int:
        """The first claim that the child must not begin; 0 is none."""
        return int(self._integers[_BARRED])

    @barred.setter
    def barred(self, number: int) -> None:
        self._integers[_BARRED] = number

    @property
    def deadline(self) -> float:
        """When the present task must be over at the latest, monotonic seconds; 0 is never."""
        return float(self._floats[_DEADLINE])

    @property
    def time_limit(self) -> float:
        """The hard limit that led to the deadline, seconds."""
        return float(self._floats[_LIMIT])

    def limit(self, deadline: float, time_limit: float) -> None:
        """The present task must be over by then; (0, 0) lifts it."""
        self._floats[_LIMIT] = time_limit
        self._floats[_DEADLINE] = deadline

    @property
    def events_lost(self) -> int:
        return int(self._integers[_LOST])

    @events_lost.setter
    def events_lost(self, number: int) -> None:
        self._integers[_LOST] = number

    # -- for who looks on: nothing is decided by these, so one may tell of a room a moment late

    def occupy(self, room: int, number: int, since: float) -> None:
        """This claim runs in this room."""
        self._floats[_FIELDS + 2 * room + 1] = since
        self._integers[_FIELDS + 2 * room] = number

    def vacate(self, room: int) -> None:
        """Nothing runs there any more."""
        self._integers[_FIELDS + 2 * room] = 0

    @property
    def running(self) -> dict[int, float]:
        """Number of each claim that runs -> since when, epoch seconds."""
        return {
            int(self._integers[field]): float(self._floats[field + 1])
            for field in self._rooms
            if self._integers[field]
        }

    @property
    def busy(self) -> bool:
        """Whether anything runs."""
        return any(self._integers[field] for field in self._rooms)
