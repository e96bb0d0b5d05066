"""A backend on Redis: beside the results its client, for what programs do with Redis themselves.

app.backend.client.ping()       # redis-py, on the database of the results
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from celeriac.compat.backends.base import Backend
from celeriac.drivers.redis.address import parse
from celeriac.drivers.redis.keys import result_prefix
from celeriac.exceptions import ImproperlyConfigured

__all__ = ["RedisBackend"]


class RedisBackend(Backend):
    """Keys and values are Celery's; nothing here uses the client but who asks for it."""

    implements_incr = True

    @cached_property
    def client(self) -> Any:
        """redis-py's, made when somebody asks for it: results and messages go another way."""
        try:
            import redis
        except ModuleNotFoundError as missing:
            raise ImproperlyConfigured(
                "app.backend.client is redis-py's, which celeriac itself does not need: pip install redis"
            ) from missing
        return redis.Redis(**self.connparams)

    @property
    def connparams(self) -> dict[str, Any]:
        """Where the client connects to, in redis-py's words."""
        address, conf = parse(self.url or ""), self.app.conf
        if address.path is not None:
            place: dict[str, Any] = {"unix_socket_path": address.path}
        else:
            place = {"host": address.host, "port": address.port}
        if address.tls:
            place |= {"ssl": True, **dict(address.ssl)}
            wanted = place.get("ssl_cert_reqs", "required")
            place["ssl_cert_reqs"] = wanted.lower().removeprefix("cert_")
        return place | {
            "db": address.db,
            "username": address.username,
            "password": address.password,
            "socket_timeout": conf.seconds("redis_socket_timeout"),
            "socket_connect_timeout": conf.seconds("broker_connection_timeout"),
        }

    # --- keys and plain values ----------------------------------------------------------------------------

    @property
    def task_keyprefix(self) -> bytes:
        return self._key("celery-task-meta-")

    @property
    def group_keyprefix(self) -> bytes:
        return self._key("celery-taskset-meta-")

    def get_key_for_task(self, task_id: str, key: str = "") -> bytes:
        return self.task_keyprefix + f"{task_id}{key}".encode()

    def get_key_for_group(self, group_id: str, key: str = "") -> bytes:
        return self.group_keyprefix + f"{group_id}{key}".encode()

    def get(self, key: str | bytes) -> Any:
        return self.client.get(key)

    def mget(self, keys: list[str | bytes]) -> Any:
        return self.client.mget(keys)

    def set(self, key: str | bytes, value: Any, expires: float | None = None, **_: Any) -> None:
        """Keep it, and tell who listens under this name; for `expires` seconds, else as long as results."""
        seconds = self.prepare_expires(expires, int)
        with self.client.pipeline() as pipe:
            pipe.set(key, value, ex=seconds)
            pipe.publish(key, value)
            pipe.execute()

    def delete(self, key: str | bytes) -> None:
        self.client.delete(key)

    def incr(self, key: str | bytes) -> int:
        return int(self.client.incr(key))

    def expire(self, key: str | bytes, value: int) -> Any:
        return self.client.expire(key, value)

    def _key(self, name: str) -> bytes:
        said = self.app.conf.result_backend_transport_options or {}
        prefix = said.get("result_keyprefix", said.get("global_keyprefix", ""))
        return f"{result_prefix(str(prefix))}{name}".encode()
