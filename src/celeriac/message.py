"""The words of delivery: what travels (Message), what is held (Claim), what became of it (Outcome)."""

from __future__ import annotations

from bisect import bisect_right
from enum import IntEnum

import msgspec

#: Celery's four levels on Redis; a priority 0-9 belongs to the step at or below it, and 0 goes first.
PRIORITY_STEPS = (0, 3, 6, 9)


def priority_step(priority: int) -> int:
    """The step that a priority belongs to: 4 -> 3; what lies outside 0-9 is clamped."""
    if priority <= 0:
        return 0
    return PRIORITY_STEPS[bisect_right(PRIORITY_STEPS, min(priority, 9)) - 1]


#: Bytes that no JSON holds. Where one stands in the messages of a `Count`, the store puts in what it knows
#: when the last member was counted, escaped as within a JSON string: the values of all as a JSON array, or
#: in `broken` the item of the first member that failed ...
VALUES_HOLE = b"\x00"
#: ... the id of that member ...
FAILED_HOLE = b"\x01"
#: ... the id of the member that was counted last, and of its root.
PARENT_HOLE = b"\x02"
ROOT_HOLE = b"\x03"
#: Stands in `Result.task_id` before the id of a group that was saved. Drivers may spell its key as they like.
GROUP_MARK = "group:"
#: The same before the id of a task that streams: there lies the number of the last part of its stream.
STREAM_MARK = "stream:"


class Members(msgspec.Struct, frozen=True):
    """How many members a chord has, told with its first message: for stores where others count too, and for
    a header that is never sent as a whole."""

    chord: str
    size: int
    #: Seconds to keep it; None is for ever.
    ttl: float | None = None
    #: As `Count.broken`: sent when nobody who counts can say what else.
    broken: tuple[Message, ...] = ()
    #: So many more, beside those that were told before.
    adds: bool = False


class Binding(msgspec.Struct, frozen=True):
    """A queue gets what is sent to an exchange with this key (direct), one like it (topic), any (fanout)."""

    exchange: str
    queue: str
    key: str = ""
    kind: str = "direct"


class Message(msgspec.Struct, frozen=True):
    """What travels: an envelope of bytes that the store carries and does not open."""

    id: str
    queue: str
    payload: bytes
    priority: int = 0
    #: Epoch seconds before which nobody may claim it; None is now.
    eta: float | None = None
    #: Of the chords whose headers begin with this message ...
    members: tuple[Members, ...] = ()
    #: ... and the ids of those whose headers end with it. A header that begins and does not end, and of which
    #: nothing more comes, is broken: see drivers/counting.py.
    completes: tuple[str, ...] = ()
    #: Not None: each of these queues gets one, in place of `queue`; see spreading.py.
    copies: tuple[str, ...] | None = None
    #: (exchange, key) of a fanout exchange that others may listen to.
    fanout: tuple[str, str] | None = None


#: A message that nothing stops from killing would grow with each death otherwise.
MOST_DEATHS = 8


class Claim(msgspec.Struct, frozen=True):
    """A message that an owner holds. Nobody else sees it until the owner settles or loses it."""

    #: Runs from 1 upward per owner, in the order of claiming.
    number: int
    queue: str
    payload: bytes
    #: How many owners died while they ran it. Giving back does not count.
    deliveries: int = 0
    #: Marked BEGUN by an earlier outcome: it must never run again.
    begun: bool = False
    #: How they died, the last of them last: no more than MOST_DEATHS.
    deaths: tuple[str, ...] = ()


class Fate(IntEnum):
    """What becomes of a claim."""

    #: Done for good: the claim goes away.
    ACKED = 0
    #: Still held, but from now on it must never run again (acks_late=False).
    BEGUN = 1
    #: Not begun: back to the head of its queue, uncounted and without a mark.
    GIVEN_BACK = 2
    #: Its owner died while running it: back to the head of its queue, deliveries + 1.
    LOST = 3
    #: Unchanged, but not before `eta`.
    DEFERRED = 4
    #: Given up: kept as a dead letter with `reason`.
    DEAD = 5


#: Why what an owner had begun, acknowledged early, and left behind when it was dismissed is a dead letter.
LEFT_BEGUN = "acknowledged when it began, and its worker left before it ended"


class Result(msgspec.Struct, frozen=True):
    """What a task left for those who ask: an encoded result meta and how long it is kept."""

    task_id: str
    payload: bytes
    #: Seconds to keep it; None is for ever.
    ttl: float | None = None


class Count(msgspec.Struct, frozen=True):
    """A member of a chord has ended: the store counts it once, and the last one sets off what follows.

    Whatever comes after that of the same member, or of a chord that is through, changes nothing.
    """

    #: The id of the chord's group.
    chord: str
    #: The member's task id, that of its root, and its place in the order of the values.
    member: str
    root: str
    index: int
    #: How many members there are; 0 if the store was told by `Message.members`.
    size: int
    #: `[1, "<member>", "<status>", <value>]` as JSON.
    item: bytes
    #: Sent when all have ended well; they have holes.
    body: tuple[Message, ...] = ()
    #: Sent in its place if one has failed; empty if only `Members.broken` knows it.
    broken: tuple[Message, ...] = ()
    failed: bool = False
    #: Seconds to keep what was counted while others are missing; None is for ever.
    ttl: float | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What became of one claim, with all that must happen in the same step."""

    number: int
    fate: Fate = Fate.ACKED
    result: Result | None = None
    #: Messages to send in the same atomic step (retries, callbacks, the rest of a chain).
    follow_ups: tuple[Message, ...] = ()
    #: Results of tasks that end with this one: those that will never run now.
    also: tuple[Result, ...] = ()
    #: What is counted in the same step.
    counts: tuple[Count, ...] = ()
    #: DEFERRED: epoch seconds.
    eta: float = 0.0
    #: DEAD: why, in words for a person. LOST: how its owner died.
    reason: str = ""
    #: DEAD: the name of the letter, normally the task's id.
    id: str = ""


class Letter(msgspec.Struct, frozen=True):
    """A dead letter: a message that was given up on, kept with the reason until somebody replays it."""

    id: str
    queue: str
    payload: bytes
    reason: str
    #: Epoch seconds.
    died_at: float
    deliveries: int = 0


class Depth(msgspec.Struct, frozen=True):
    """How many messages of one queue are in which place."""

    ready: int = 0
    delayed: int = 0
    claimed: int = 0
    dead: int = 0
