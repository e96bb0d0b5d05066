"""The objects with which users declare queues: kombu's names and arguments, without kombu.

    media = Exchange("media", type="topic")
    task_queues = [Queue("images", media, routing_key="media.image.#"), Broadcast("refresh")]

kombu's own objects are as good. What belongs to AMQP alone (durable, auto_delete, ...) is accepted, kept as
an attribute, and has no effect here.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any


class Exchange:
    """Hands on what it is sent: `direct` to the queues bound with the same key, `topic` to those whose
    pattern fits it (`*` is one word, `#` any number), `fanout` to all."""

    def __init__(self, name: str = "", type: str = "direct", channel: object = None, **options: Any) -> None:
        self.name = name
        self.type = type or "direct"
        vars(self).update(options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exchange) and (self.name, self.type) == (other.name, other.type)

    def __hash__(self) -> int:
        return hash((self.name, self.type))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Exchange {self.name}({self.type})>"


class binding:
    """One more way into a queue: `Queue("mail", bindings=[binding(media, routing_key="letter")])`."""

    def __init__(
        self,
        exchange: Exchange | None = None,
        routing_key: str = "",
        arguments: object = None,
        **options: Any,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key


class Queue:
    """A queue, and what it is bound to. Without an exchange it is reached by its name."""

    def __init__(
        self,
        name: str = "",
        exchange: Exchange | str | None = None,
        routing_key: str = "",
        channel: object = None,
        bindings: Iterable[binding] | None = None,
        **options: Any,
    ) -> None:
        self.name = name
        self.exchange = Exchange(exchange) if isinstance(exchange, str) else exchange
        self.routing_key = routing_key
        self.bindings = list(bindings or ())
        self.alias: str | None = options.pop("alias", None)
        self.channel = channel
        vars(self).update(options)

    def bind(self, channel: Any) -> Queue:
        """The same with a channel of `app.connection()`, to ask how long it is:
        `queue.bind(connection.default_channel).queue_declare(passive=True).message_count`."""
        bound = copy(self)
        bound.channel = channel
        return bound

    __call__ = bind

    def queue_declare(self, passive: bool = False, **_: Any) -> Any:
        """How much waits in it; nothing has to be declared here."""
        return self._open_channel().queue_declare(self.name, passive=passive)

    declare = queue_declare

    def purge(self, **_: Any) -> int:
        """Remove what waits in it."""
        return int(self._open_channel().queue_purge(self.name))

    def _open_channel(self) -> Any:
        if self.channel is None:
            raise RuntimeError(
                f"queue {self.name!r} has no channel: "
                "queue.bind(app.connection().default_channel) gives it one"
            )
        return self.channel

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and self._declared() == other._declared()

    def _declared(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "channel"}

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Queue {self.name} -> {self.exchange!r} -> {self.routing_key}>"


class Broadcast(Queue):
    """A name whose tasks every worker runs that serves it; each has a queue of its own for them."""

    def __init__(
        self,
        name: str | None = None,
        queue: str | None = None,
        unique: bool = False,
        auto_delete: bool = True,
        exchange: Exchange | None = None,
        alias: str | None = None,
        **options: Any,
    ) -> None:
        alias = alias or name or queue or ""
        super().__init__(
            queue or f"bcast.{alias}",
            exchange or Exchange(name or alias, type="fanout"),
            alias=alias,
            auto_delete=auto_delete,
            **options,
        )
