"""What a running task knows about its own call: the request, and which one is running here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from celeriac.message import Message
from celeriac.wire.body import NOTHING_FOLLOWS, ChainAlone, ChordAlone
from celeriac.wire.ending import MEMBER
from celeriac.wire.task import TaskMessage

_current: ContextVar[Request | None] = ContextVar("celeriac_request", default=None)


#: The request that runs in this thread, greenlet or coroutine; None outside of every task.
#: The variable's own method, as every call of a task asks it.
current: Callable[[], Request | None] = _current.get


#: Make a request, or None, the one that runs here; who does so puts back the one before.
become: Callable[[Request | None], object] = _current.set


def push(request: Request) -> None:
    """From now on `request` is the one that runs here; `pop` brings back the one before."""
    request._below = _current.get()
    _current.set(request)


def pop() -> None:
    """The running request is over."""
    request = _current.get()
    _current.set(request._below if request is not None else None)


def outermost() -> Request | None:
    """The request that a worker runs here, whatever tasks it calls as functions; None outside of workers."""
    request = _current.get()
    while request is not None and request._below is not None:
        request = request._below
    return None if request is None or request.called_directly else request


T = TypeVar("T")


class _Told:
    """A field that is read from the message when somebody asks for it, unless it was set on the request."""

    def __init__(self, otherwise: Any) -> None:
        self._otherwise = otherwise

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, request: Request | None, owner: type) -> Any:
        message = None if request is None else request.message
        return self._otherwise if message is None else getattr(message, self._name)


def _told(otherwise: T) -> T:
    return cast(T, _Told(otherwise))


class _ChordOfMember:
    """The body of the chord that it is a member of, decoded for who asks."""

    def __get__(self, request: Request | None, owner: type) -> Any:
        if request is None or request._embed is None:
            return None
        chord = request.chord = request._embed["chord"]
        return chord


class Request:
    """One call of a task, seen from inside: `task.request`.

    What a call did not say has its default on the class, and what a task seldom asks for is left in its
    message, so a request costs little.
    """

    id: str | None = None
    task: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    root_id: str | None = _told(None)
    parent_id: str | None = None
    retries: int = _told(0)
    eta: str | None = _told(None)
    expires: str | None = _told(None)
    group: str | None = None
    group_index: int | None = _told(None)
    chord: Any = cast(Any, _ChordOfMember())
    #: A member of a chord, as its message tells; cheaper to ask for than the chord.
    in_chord: bool = False
    _embed: ChordAlone | None = None
    #: How many members it has added to its chord.
    added: int = 0
    chain: list[Any] | None = None
    #: The same as it came, where nobody has looked at it; cheaper to ask for.
    steps: ChainAlone | None = None
    callbacks: list[Any] | None = None
    errbacks: list[Any] | None = None
    reply_to: str | None = _told(None)
    correlation_id: str | None = _told(None)
    origin: str | None = _told(None)
    hostname: str | None = None
    argsrepr: str | None = _told(None)
    kwargsrepr: str | None = _told(None)
    shadow: str | None = _told(None)
    lang: str | None = _told(None)
    utc: bool = True
    loglevel: int | None = None
    logfile: str | None = None
    ignore_result: bool = False
    replaced_task_nesting: int = _told(0)
    stamped_headers: list[str] | None = _told(None)
    stamps: dict[str, Any] | None = _told(None)
    #: (hard, soft) seconds, in the order of the wire.
    timelimit: Sequence[float | None] | None = None
    #: Called as a plain function, in the caller's process.
    called_directly: bool = True
    is_eager: bool = False
    #: How many owners died while they ran this message.
    deliveries: int = 0
    #: Waiting for another result in here would hold the room that the other task may need; pools whose
    #: rooms wait cheaply (greenlets, coroutines) set it to False.
    waiting_blocks: bool = True

    #: The queue that it was claimed from.
    queue: str | None = None
    #: What the task itself said to `retry(max_retries=...)`, against its declaration.
    max_retries_said: int | None = None

    #: When it last told how far it is, by the monotonic clock.
    told_progress: float = 0.0
    #: What it has yielded, where it runs eagerly.
    parts: list[Any] | None = None

    #: Another task does its work, under its id (`task.replace`).
    replaced: bool = False

    #: The message it came with; None for a call in this process.
    message: TaskMessage | None = None
    _below: Request | None = None
    #: The task's own `__call__` has been entered for this request already.
    _entered: bool = False

    def __init__(self, **fields: Any) -> None:
        #: Results of the calls that the task made.
        self.children: list[Any] = []
        #: What must be sent in the step that settles this call (a retry).
        self.follow_ups: list[Message] = []
        if fields:
            self.update(fields)

    @classmethod
    def from_message(
        cls,
        message: TaskMessage,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        embed: Mapping[str, Any] | ChordAlone | ChainAlone,
        hostname: str | None = None,
        deliveries: int = 0,
    ) -> Request:
        """The request of a message that a worker has claimed and decoded."""
        request = RequestOfStep() if isinstance(embed, ChainAlone) else cls()
        request.message = message
        request.called_directly = False
        request.args = args
        request.kwargs = kwargs
        request.hostname = hostname
        if deliveries:
            request.deliveries = deliveries
        request.id = message.id
        request.task = message.name
        request.parent_id = message.parent_id
        request.group = message.group
        request.ignore_result = message.ignore_result
        request.timelimit = message.timelimit
        if isinstance(embed, ChordAlone):
            request._embed = embed
            request.in_chord = True
        elif isinstance(embed, ChainAlone):
            request.steps = embed
        elif embed is not NOTHING_FOLLOWS:
            request.callbacks = embed.get("callbacks")
            request.errbacks = embed.get("errbacks")
            request.chain = embed.get("chain")
            request.chord = embed.get("chord")
            request.in_chord = bool(request.chord)
        return request

    @property
    def name(self) -> str | None:
        """The task's name: another word for `task`."""
        return self.task

    @property
    def taskset(self) -> str | None:
        """The group's id, as it was called once."""
        return self.group

    @property
    def time_limit(self) -> float | None:
        """Seconds after which the process is ended."""
        return self.timelimit[0] if self.timelimit else None

    @property
    def soft_time_limit(self) -> float | None:
        """Seconds after which SoftTimeLimitExceeded is raised in the task."""
        return self.timelimit[1] if self.timelimit else None

    @property
    def headers(self) -> Mapping[str, Any]:
        """What `apply_async(headers=...)` gave: to be read, or to be given to other calls."""
        own: Mapping[str, Any] | None = self.__dict__.get("_headers")
        if own is None:
            own = {} if self.message is None else custom_headers(self.message.headers)
            self.__dict__["_headers"] = own
        return own

    @headers.setter
    def headers(self, headers: Mapping[str, Any] | None) -> None:
        self.__dict__["_headers"] = headers

    @property
    def properties(self) -> Mapping[str, Any]:
        """The properties of the message (correlation_id, reply_to, priority ...)."""
        return self.message.properties if self.message is not None else {}

    @property
    def delivery_info(self) -> dict[str, Any]:
        """How it came here."""
        message = self.message
        if message is None:
            return self.__dict__.get("_delivery_info") or {}
        return {
            "exchange": message.exchange,
            "routing_key": message.routing_key,
            "priority": message.priority,
            "redelivered": message.redelivered or self.deliveries > 0,
        }

    @delivery_info.setter
    def delivery_info(self, info: dict[str, Any] | None) -> None:
        self.__dict__["_delivery_info"] = info

    def get(self, key: str, default: Any = None) -> Any:
        """A field or a custom header by name."""
        return getattr(self, key, default)

    def update(self, *mappings: Mapping[str, Any], **fields: Any) -> None:
        """Set several fields at once."""
        for mapping in (*mappings, fields):
            for name, value in mapping.items():
                setattr(self, name, value)

    def clear(self) -> None:
        """Forget every field."""
        below = self._below
        self.__dict__.clear()
        self.__dict__.update(children=[], follow_ups=[], _below=below)

    def as_execution_options(self) -> dict[str, Any]:
        """The options of apply_async that would call the task the same way again."""
        hard, soft = self.timelimit or (None, None)
        return {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "time_limit": hard,
            "soft_time_limit": soft,
            "headers": dict(self.headers),
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "stamped_headers": self.stamped_headers,
            "stamps": self.stamps,
            "ignore_result": self.ignore_result,
            "priority": self.delivery_info.get("priority"),
        }

    # A custom header reads like a field (`self.request.tenant`): that is how tasks are written.
    def __getattr__(self, name: str) -> Any:
        headers = self.headers if self.message is None else self.message.headers
        if name in headers:
            return headers[name]
        raise AttributeError(f"this request has no field and no header {name!r}")

    def __repr__(self) -> str:
        return f"<Request: {self.task}[{self.id}]>" if self.id else "<Request: none>"


class _ChainOfStep:
    """The steps after it, decoded for who asks."""

    def __get__(self, request: Request | None, owner: type) -> Any:
        if request is None or request.steps is None:
            return None
        chain = request.chain = request.steps["chain"]
        return chain


class RequestOfStep(Request):
    """Of a task after which nothing comes but the rest of its chain."""

    chain: Any = _ChainOfStep()


#: The headers that the protocol itself uses; what else a message carries is its sender's own.
PROTOCOL_HEADERS = frozenset(
    "lang task id shadow eta expires group group_index retries timelimit root_id parent_id argsrepr"
    " kwargsrepr origin ignore_result replaced_task_nesting stamped_headers stamps".split()
)


_NOT_CUSTOM = PROTOCOL_HEADERS | {"x-death", "compression", MEMBER}


def custom_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """What the sender added to the protocol's headers; `x-death` and `compression` are not among it."""
    return {name: value for name, value in headers.items() if name not in _NOT_CUSTOM}
