"""`app.connection()`: what programs do with a connection beside sending tasks. They ask whether the broker is
there, where it is, and how long a queue is.

    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=3)
        waiting = connection.default_channel.queue_declare("celery", passive=True).message_count
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from types import SimpleNamespace, TracebackType
from typing import Any, NamedTuple, Self

from celeriac.app import Celery
from celeriac.config import censored
from celeriac.exceptions import OperationalError

#: What makes the client of Redis, for who asks for it.
_REDIS = "celeriac.compat.backends.redis"


class Declared(NamedTuple):
    """A queue and how much waits in it; what waits for an ETA is not counted, as in Celery."""

    queue: str
    message_count: int
    consumer_count: int = 0


class Channel:
    """The words of a channel that ask about queues, or empty them."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    @cached_property
    def client(self) -> Any:
        """redis-py's, where the broker is Redis, to look into a queue: `client.lrange("celery", 0, -1)`."""
        url = self._app.broker_url
        if not url.startswith("redis"):
            raise AttributeError(f"a broker {url.partition(':')[0]}:// has no client of Redis")
        return import_module(_REDIS).RedisBackend(self._app, url=url).client

    def queue_declare(self, queue: str, passive: bool = False, **_: Any) -> Declared:
        """How much waits there. Nothing has to be declared here."""
        return Declared(queue, self._app.broker.depth([queue])[queue].ready)

    def queue_purge(self, queue: str, **_: Any) -> int:
        return self._app.purge([queue])

    def close(self) -> None:
        """Nothing: the app keeps its own connections."""


class Producer:
    """What `apply_async(producer=...)` takes. It holds nothing: calls go by the app's own connection."""

    def __init__(self, app: Celery) -> None:
        self.connection = Connection(app)
        self.channel = self.connection.default_channel

    def publish(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError(
            "only tasks are sent here, as app.send_task(name, args) or task.apply_async(args); for messages "
            "of another kind take kombu or redis-py"
        )

    def release(self) -> None:
        """Nothing: the app keeps its own connections."""

    close = release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Pool:
    """Hands out connections or producers, without end: they hold nothing."""

    limit = None

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """One, to be used with `with` or given back by `release()`."""
        return self._make()

    def force_close_all(self) -> None:
        """Nothing: the app keeps its own connections."""


class Connection:
    """No connection of its own: it speaks through that of the app."""

    recoverable_connection_errors = connection_errors = channel_errors = (OperationalError,)

    def __init__(self, app: Celery) -> None:
        self._app = app
        self.default_channel = Channel(app)

    def connect(self) -> Self:
        """Ask the broker something: OperationalError within seconds if it is not there."""
        self._app.broker.depth([self._app.conf.task_default_queue])
        return self

    def ensure_connection(
        self,
        errback: Callable[[Exception, float], object] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2,
        interval_step: float = 2,
        interval_max: float = 30,
        **_: Any,
    ) -> Self:
        """The same, tried again `max_retries` times, with longer and longer pauses; None is for ever."""
        tries = 0
        while True:
            try:
                return self.connect()
            except OperationalError as error:
                if max_retries is not None and tries >= max_retries:
                    raise
                pause = min(interval_max, interval_start + tries * interval_step)
                if errback is not None:
                    errback(error, pause)
                time.sleep(pause)
                tries += 1

    @property
    def connected(self) -> bool:
        try:
            self.connect()
        except OperationalError:
            return False
        return True

    @property
    def transport(self) -> SimpleNamespace:
        """Of what kind the broker is: redis, sqlite, memory."""
        kind = self._app.broker_url.partition(":")[0]
        return SimpleNamespace(driver_type=kind, driver_name=kind)

    def channel(self) -> Channel:
        return self.default_channel

    def Producer(self, *_: Any, **__: Any) -> Producer:
        return Producer(self._app)

    def as_uri(self, include_password: bool = False, **_: Any) -> str:
        url = self._app.broker_url
        return url if include_password else str(censored("broker_url", url))

    def release(self) -> None:
        """Nothing: the app keeps its own connections."""

    close = release

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class ConnectionTo(Connection):
    """`kombu.Connection(url)`: the same for a broker that no app of the program names."""

    def __init__(self, hostname: str | None = None, **_: Any) -> None:
        super().__init__(Celery("connection", broker=hostname, set_as_current=False))

    def release(self) -> None:
        """Closes what it opened."""
        self._app.close()

    close = release
