"""`app.amqp`: queues, routes and messages in Celery's words.

    app.amqp.router.route({}, "shop.pay")["queue"].name        # in a test of task_routes
    app.amqp.queues.select_add("tenant-7")                      # in celeryd_after_setup: serve it too

`app.router` and the settings answer; sending and claiming pass nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from celeriac.app import Celery
from celeriac.compat.connection import Connection, Pool, Producer
from celeriac.entities import Exchange, Queue
from celeriac.exceptions import QueueNotFound
from celeriac.sending import composed
from celeriac.wire.codecs import loads_json

__all__ = ["AMQP", "Exchange", "Queue", "Queues", "Router", "task_message"]

_EMBEDDED = ("callbacks", "errbacks", "chain", "chord")
#: Headers of a task message, and the options of a call that they come from.
_SAID_BY = {
    "id": "task_id",
    "group": "group_id",
    **{
        name: name
        for name in (
            "argsrepr eta expires group_index ignore_result kwargsrepr origin parent_id "
            "replaced_task_nesting retries root_id shadow stamped_headers stamps"
        ).split()
    },
}
_OWN = {*_SAID_BY, "lang", "task", "timelimit"}


class task_message(NamedTuple):
    """A call before it is written: `body` is (args, kwargs, what follows), of protocol 1 a dict."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Any
    sent_event: dict[str, Any] | None


class AMQP:
    """What an app knows of its queues, routes and messages."""

    Connection = Connection
    #: Nothing is cut shorter or left longer than this.
    argsrepr_maxsize = kwargsrepr_maxsize = 1024
    utc = True
    autoexchange = None

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.queues = Queues(app)
        self.router = Router(app)
        self.task_protocols = {1: self.as_task_v1, 2: self.as_task_v2}

    # --- queues and routes --------------------------------------------------------------------------------

    @property
    def default_queue(self) -> Any:
        return self.queues[str(self.app.conf.task_default_queue)]

    @property
    def default_exchange(self) -> Exchange:
        conf = self.app.conf
        name = conf.task_default_exchange or str(conf.task_default_queue)
        return Exchange(name, conf.task_default_exchange_type)

    @property
    def routes(self) -> Any:
        """As task_routes says them."""
        return self.app.conf.task_routes or ()

    def flush_routes(self) -> None:
        """Nothing: a change of task_routes counts from the next call on."""

    def Router(self, queues: object = None, create_missing: bool | None = None) -> Router:
        return self.router

    def Queues(self, queues: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Queues by their names."""
        entries = queues.items() if isinstance(queues, Mapping) else ((None, one) for one in queues or ())
        made = [_entity(one if name is None else name, **(one if name else {})) for name, one in entries]
        return {queue.name: queue for queue in made}

    # --- messages -----------------------------------------------------------------------------------------

    @property
    def create_task_message(self) -> Any:
        return self.task_protocols[self.app.conf.task_protocol]

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        create_sent_event: bool = False,
        callbacks: Any = None,
        errbacks: Any = None,
        now: object = None,
        timezone: object = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        **options: Any,
    ) -> task_message:
        """The message that a call comes to; nothing is sent."""
        args, kwargs = () if args is None else args, {} if kwargs is None else kwargs
        if not isinstance(args, list | tuple):
            raise TypeError(f"task args must be a list or tuple, not {args!r}")
        if not isinstance(kwargs, Mapping):
            raise TypeError(f"task keyword arguments must be a mapping, not {kwargs!r}")
        said: dict[str, Any] = {"task_id": task_id, "root_id": root_id or task_id, "parent_id": parent_id}
        said["ignore_result"] = bool(options.get("ignore_result"))
        follows = {"link": callbacks, "link_error": errbacks}
        envelope = self._envelope(name, args, kwargs, {**options, **said, **follows})
        headers = envelope["headers"]
        properties = {word: envelope["properties"][word] for word in ("correlation_id", "reply_to")}
        follow = {"callbacks": callbacks, "errbacks": errbacks}
        embed = {word: follow.get(word, options.get(word)) for word in _EMBEDDED}
        event = {
            "uuid": task_id,
            "name": name,
            "args": headers["argsrepr"],
            "kwargs": headers["kwargsrepr"],
            **{word: headers[word] for word in ("root_id", "parent_id", "retries", "eta", "expires")},
        }
        return task_message(headers, properties, (args, kwargs, embed), event if create_sent_event else None)

    def as_task_v1(
        self,
        task_id: str,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> task_message:
        """The same in protocol 1, which says all in its body."""
        headers, properties, (args, kwargs, embed), event = self.as_task_v2(
            task_id, name, args, kwargs, **options
        )
        body = {word: headers[word] for word in ("task", "id", "group", "group_index", "retries")}
        body |= {"args": args, "kwargs": kwargs, "eta": headers["eta"], "expires": headers["expires"]}
        body |= {"utc": True, "callbacks": embed["callbacks"], "errbacks": embed["errbacks"]}
        body |= {"timelimit": tuple(headers["timelimit"]), "taskset": body["group"], "chord": embed["chord"]}
        return task_message({}, properties, body, event)

    def send_task_message(
        self,
        producer: object,
        name: str,
        message: task_message,
        exchange: Any = None,
        routing_key: str | None = None,
        queue: Any = None,
        event_dispatcher: object = None,
        retry: object = None,
        retry_policy: object = None,
        serializer: str | None = None,
        delivery_mode: object = None,
        compression: str | None = None,
        declare: object = None,
        headers: Mapping[str, Any] | None = None,
        **properties: Any,
    ) -> None:
        """Send what as_task_v2 made, as `apply_async` sends: by a connection of the app's own."""
        told, body = {**message.headers, **(headers or {})}, message.body
        if isinstance(body, Mapping):
            told, body = {**body, **told}, (body["args"], body["kwargs"], body)
        args, kwargs, embed = body
        options = {word: told[header] for header, word in _SAID_BY.items() if told.get(header) is not None}
        options["time_limit"], options["soft_time_limit"] = told.get("timelimit") or (None, None)
        options |= {"link": embed.get("callbacks"), "link_error": embed.get("errbacks")}
        options |= {"chain": embed.get("chain"), "chord": embed.get("chord")}
        where = {"exchange": exchange, "routing_key": routing_key, "queue": queue}
        how = {"serializer": serializer, "compression": compression, **properties}
        options |= {word: value for word, value in {**where, **how}.items() if value is not None}
        if message.headers:
            options["headers"] = {header: value for header, value in told.items() if header not in _OWN}
        options["reply_to"] = message.properties.get("reply_to")
        self.app.send(composed(self.app, name, args, kwargs, options, None), name)

    def _envelope(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
    ) -> dict[str, Any]:
        envelope: dict[str, Any] = loads_json(composed(self.app, name, args, kwargs, options, None).payload)
        return envelope

    # --- what sends and consumes --------------------------------------------------------------------------

    @property
    def producer_pool(self) -> Pool:
        """Hands out what `apply_async(producer=...)` takes; a call needs none."""
        return Pool(lambda: Producer(self.app))

    publisher_pool = producer_pool

    def TaskConsumer(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(
            "messages are claimed by a worker alone, who answers for them until they are settled; nobody "
            "else consumes them. `celeriac queue peek` and `app.broker.peek(queue, n)` look at them; a "
            "worker in a thread is celeriac.testing.worker.start_worker"
        )

    Consumer = TaskConsumer


class Queues(Mapping[str, Any]):
    """The queues that the app declares, by name; one that is asked for and may be created is made."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._made: dict[str, Queue] = {}

    def __getitem__(self, name: str) -> Any:
        found = self._all().get(name)
        if found is None:
            if not self._app.conf.task_create_missing_queues:
                raise KeyError(name)
            found = self._made[name] = _entity(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def get(self, name: str, default: Any = None) -> Any:
        """Makes none."""
        return self._all().get(name, default)

    def add(self, queue: Any, **options: Any) -> Any:
        """Declare one more; `select_add` has it served too."""
        served = list(self.consume_from)
        entity = _entity(queue, **options)
        others = [one for name, one in self._all().items() if name != entity.name and name not in self._made]
        self._made.pop(entity.name, None)
        self._app.conf.task_queues = [*others, entity]
        if self._app.serving is None:
            self._app.serving = served
        return entity

    def add_compat(self, name: str, **options: Any) -> Any:
        return self.add(name, **options)

    # --- what a worker serves -----------------------------------------------------------------------------

    @property
    def consume_from(self) -> dict[str, Any]:
        """What the worker of this process serves, or would."""
        serving = self._app.serving
        names = self._app.router.consumed() if serving is None else serving
        return {name: self[name] for name in names}

    def select(self, include: str | Iterable[str]) -> None:
        """Serve these alone."""
        names = [include] if isinstance(include, str) else list(include or ())
        for name in names:
            self[name]
        if names:
            self._serve(names)

    def select_add(self, queue: Any, **options: Any) -> Any:
        """Serve this one too."""
        name = queue if isinstance(queue, str) else queue.name
        names = list(self.consume_from)
        entity = self[name] if name in self and not options else self.add(queue, **options)
        self._serve([*names, name] if name not in names else names)
        return entity

    def deselect(self, exclude: str | Iterable[str]) -> None:
        """Serve these no more."""
        left = {exclude} if isinstance(exclude, str) else set(exclude or ())
        self._serve([name for name in self.consume_from if name not in left])

    def _serve(self, names: list[str]) -> None:
        if self._app.serving is None:
            self._app.serving = names
        else:
            self._app.serving[:] = names  # the list of the worker that starts, if one does

    def format(self, indent: int = 0, indent_first: bool = True) -> str:
        """The queues that are served, one a line."""
        lines = [
            f".> {name:<16} exchange={queue.exchange}({queue.exchange.type}) key={queue.routing_key}"
            for name, queue in sorted(self.consume_from.items())
        ]
        padding = " " * indent
        return (padding if indent_first else "") + f"\n{padding}".join(lines)

    def __repr__(self) -> str:
        return repr(self._all())

    def _all(self) -> dict[str, Any]:
        router = self._app.router
        router.consumed()  # which reads settings that have changed
        listed = _listed(self._app.conf.task_queues)
        given = {one.name: one for one in listed if getattr(one, "exchange", None) and one.routing_key}
        declared = {
            name: given.get(name) or _entity(name, one.exchange, one.routing_key, one.exchange_type)
            for name, one in router.queues.items()
        }
        return declared | self._made


class Router:
    """Where a task goes, as `app.router` says."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def route(
        self,
        options: Mapping[str, Any] | None,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> dict[str, Any]:
        """The options of this call with those of its route, and the queue that it goes to."""
        said = dict(options or {})
        route = self._app.router.route(name, args, kwargs or {}, said, task_type)
        found = {**self._app.router.said(name, args, kwargs or {}, said, task_type), **route.options, **said}
        queue = found.get("queue")
        known = queue if hasattr(queue, "name") else self._queue(route.queue)
        return {**{word: value for word, value in found.items() if value is not None}, "queue": known}

    def lookup_route(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        task_type: Any = None,
    ) -> dict[str, Any] | None:
        """What task_routes says of it; None is nothing."""
        return dict(self._app.router.said(name, args or (), kwargs or {}, options or {}, task_type)) or None

    def expand_destination(self, route: Any) -> dict[str, Any]:
        """A route with its queue as an object."""
        said = {"queue": route} if isinstance(route, str) else dict(route)
        if isinstance(said.get("queue"), str):
            said["queue"] = self._queue(said["queue"])
        return said

    def _queue(self, name: str) -> Any:
        try:
            return self._app.amqp.queues[name]
        except KeyError:
            raise QueueNotFound(f"Queue {name!r} missing from task_queues") from None


def _listed(declared: Any) -> list[Any]:
    return [] if not declared or isinstance(declared, Mapping) else list(declared)


def _entity(
    queue: Any,
    exchange: Any = None,
    routing_key: str | None = None,
    type: str = "direct",
    **options: Any,
) -> Any:
    """A queue as an object; a name alone is bound to the exchange of its name, as in Celery."""
    if not isinstance(queue, str):
        return queue
    key = options.pop("binding_key", None) or routing_key or queue
    exchange = exchange or queue
    if isinstance(exchange, str):
        exchange = Exchange(exchange, options.pop("exchange_type", None) or type)
    return Queue(queue, exchange, key, **options)
