"""The Redis driver: broker, results, bus on Redis 6.2+ or Valkey, with Celery's wire for what others see."""

from __future__ import annotations

from collections.abc import Callable

from celeriac.drivers.opening import Options
from celeriac.drivers.redis.address import Address, parse
from celeriac.drivers.redis.broker import RedisBroker
from celeriac.drivers.redis.bus import RedisBus
from celeriac.drivers.redis.connection import Connection
from celeriac.drivers.redis.keys import Keys, result_prefix
from celeriac.drivers.redis.results import RedisResults
from celeriac.drivers.redis.schedules import RedisSchedules
from celeriac.ports import Broker, Bus, ResultStore, ScheduleStore

#: Seconds that a worker waits for a reply before it counts the connection as broken. A script never takes
#: near so long, and a turn may be said again; with the pause before the next try it must stay below the 5 s
#: after which a worker consumes again.
REPLY_TIMEOUT = 3.0


def open_broker(url: str, options: Options, with_results: bool) -> Broker:
    """A broker; nothing is connected before its first use."""
    return RedisBroker(
        _connector(parse(url), options),
        _keys(options),
        publish_timeout=options.publish_timeout,
        with_results=with_results,
        wait_replicas=int(options.extra.get("wait_replicas", 0)),
    )


def open_results(url: str, options: Options) -> ResultStore:
    """The results of that server and database."""
    return RedisResults(_connector(parse(url), options), _keys(options))


def open_bus(url: str, options: Options) -> Bus:
    """The bus of that server and database; its channels are named as kombu names them."""
    address = parse(url)
    said = options.extra.get("fanout_prefix", True)
    prefix = said if isinstance(said, str) else "/{db}." if said else ""
    return RedisBus(
        _connector(address, options),
        _keys(options),
        prefix.format(db=address.db),
        bool(options.extra.get("fanout_patterns", True)),
    )


def open_schedules(url: str, options: Options, group: str) -> ScheduleStore:
    """The plans of a group, in that database."""
    return RedisSchedules(_connector(parse(url), options), _keys(options), group)


def same_store(url_a: str, url_b: str) -> bool:
    """Whether both URLs name one database of one server."""
    return _place(parse(url_a)) == _place(parse(url_b))


def _place(address: Address) -> tuple[str | None, str, int, int]:
    return (address.path, "" if address.path else address.host, address.port, address.db)


def _keys(options: Options) -> Keys:
    return Keys(
        options.global_keyprefix,
        result_prefix(str(options.extra.get("result_keyprefix", options.global_keyprefix))),
    )


def _connector(address: Address, options: Options) -> Callable[..., Connection]:
    def connect(*, timeout: float = REPLY_TIMEOUT, resp3: bool = False) -> Connection:
        connect_timeout = min(options.connect_timeout, timeout)
        return Connection(address, connect_timeout=connect_timeout, timeout=timeout, resp3=resp3)

    return connect
