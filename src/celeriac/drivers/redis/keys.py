"""The names of all Redis keys: Celery's for what others see, `celeriac:` for what is ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.json import encode as json_encode

from celeriac.message import GROUP_MARK, PRIORITY_STEPS, STREAM_MARK, Members, Message, priority_step

#: Seconds for which a chord's size is kept where results are kept for ever.
_LONG = 30 * 24 * 3600

#: Between a queue's name and its priority step, as kombu spells it.
SEPARATOR = "\x06\x16"


class Keys:
    """Spells every key below one global prefix."""

    def __init__(self, prefix: str = "", result_prefix: str = "") -> None:
        self.prefix = prefix
        ours = prefix + "celeriac:"
        #: owner's claims, a hash: "s" -> number of its last turn, n -> ready key of the batch that begins
        #: with the claim n, "n!" -> the claim n has begun
        self.claims = ours + "claims:"
        #: "<owner>:<n>" -> envelopes of that batch, a list
        self.batches = ours + "batch:"
        #: hash owner -> node
        self.owners = ours + "owners"
        #: sorted set node -> end of its lease, epoch milliseconds
        self.nodes = ours + "nodes"
        #: sorted set per queue: "<ready key>\n<unique>\n<envelope>" -> due, epoch milliseconds
        self.delayed = ours + "delayed:"
        #: list of wake-up tokens per queue; a token is no message and may be lost
        self.bell = ours + "bell:"
        #: Is never there: who deletes it writes nothing, and yet counts as one who writes.
        self.nothing = ours + "nothing"
        #: hash letter id -> packed letter, sorted set letter id -> time of death, hash queue -> how many
        self.letters = ours + "dead"
        self.letter_times = ours + "dead:times"
        self.letter_counts = ours + "dead:counts"
        #: set of the queue names that our producers and workers have used
        self.queues = ours + "queues"
        #: sorted set queue -> until when some node listens to it, epoch milliseconds
        self.listened = ours + "listened"
        #: written when a queue is new among those, so that the lookout hears of it
        self.listened_news = ours + "listened:news"
        #: sorted set id of a revoked task -> until when it is revoked, epoch milliseconds
        self.revoked = ours + "revoked"
        #: set of the queues that nobody may claim from
        self.paused = ours + "paused"
        #: which node is the lookout
        self.lookout = ours + "lookout"
        #: stock Celery's sets of queues by their exchange: its clients and workers write them
        self.bindings = prefix + "_kombu.binding."
        #: per group of schedulers: .plans hash name -> "<version>:<packed plan>", .due sorted set name ->
        #: epoch milliseconds, .leader with a TTL, .term, .history:<name> list of notes
        self.beat = ours + "beat:"
        #: stock Celery's hash tag -> [envelope, exchange, key] of what its workers hold, and its index
        self.foreign, self.foreign_index = prefix + "unacked", prefix + "unacked_index"
        self.lasting_bindings = prefix + "_kombu.binding_permanent."
        #: sorted set of an exchange's bindings that end: kind, key, queue -> until when, epoch milliseconds
        self.our_bindings = ours + "bindings:"
        #: set of the keys of chords of whose headers a part is sent and a part is to come
        self.headers = ours + "headers"
        #: set of the keys of chords of which some members were counted, and not in stock Celery's keys
        self.chords = ours + "chords"
        #: per producer connection: number of its last publish
        self.sent = ours + "sent:"
        self.result = result_prefix + "celery-task-meta-"
        #: a saved group; with .p, .j, .d, .s, .t, .b, .o, .c what is counted of a chord, see count.lua
        self.group = result_prefix + "celery-taskset-meta-"

        #: the last number of a stream; with .parts the stream itself
        self.stream = result_prefix + "celeriac:stream:"

    def meta(self, id: str) -> str:
        """Where the result of this id lies: a task's, a saved group's, or the last number of a stream."""
        if id.startswith(STREAM_MARK):
            return self.stream + id.removeprefix(STREAM_MARK)
        if id.startswith(GROUP_MARK):
            return self.group + id.removeprefix(GROUP_MARK)
        return self.result + id

    def id_of(self, meta: str) -> str:
        """The id that `meta` gave this key for."""
        if meta.startswith(self.stream):
            return STREAM_MARK + meta[len(self.stream) :]
        if meta.startswith(self.group):
            return GROUP_MARK + meta[len(self.group) :]
        return meta[len(self.result) :]

    def members(self, members: Members) -> tuple[str, int, int]:
        """Where the size of a chord is told, the size, and for how many ms."""
        return f"{self.group}{members.chord}.s", members.size, int((members.ttl or _LONG) * 1000)

    def told(self, messages: Iterable[Message]) -> list[tuple[str, int | str, int]]:
        """What messages tell of the chords that begin with them: key, value, and for how many ms."""
        return [
            kept
            for message in messages
            for members in message.members
            if not members.adds
            for kept in self._told(members)
        ]

    def added(self, message: Message) -> list[str]:
        """Where members are counted that come on top with this message, once for each of them."""
        return [
            f"{self.group}{more.chord}.t" for more in message.members if more.adds for _ in range(more.size)
        ]

    def _told(self, members: Members) -> Iterator[tuple[str, int | str, int]]:
        size = self.members(members)
        yield size
        if members.broken:
            broken = [
                (m.queue, self.ready(m.queue, m.priority), int((m.eta or 0) * 1000), m.payload.decode(), ())
                for m in members.broken
            ]
            yield f"{self.group}{members.chord}.b", json_encode(broken).decode(), size[2]

    def ready(self, queue: str, priority: int = 0) -> str:
        """The list of one queue and one priority step; step 0 has the bare name."""
        step = priority_step(priority)
        return f"{self.prefix}{queue}{SEPARATOR}{step}" if step else self.prefix + queue

    def ready_steps(self, queue: str) -> list[str]:
        """All lists of one queue, in the order in which they are served."""
        return [self.ready(queue, step) for step in PRIORITY_STEPS]

    def queue_of(self, ready: str) -> str:
        """The queue's name of a ready list's key."""
        return ready[len(self.prefix) :].split(SEPARATOR, 1)[0]


def result_prefix(prefix: str) -> str:
    """Celery's rule for the prefix of result keys: it ends in a separator, '_' if it has none."""
    return prefix if not prefix or prefix[-1] in ":_-." else prefix + "_"
