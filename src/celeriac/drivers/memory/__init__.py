"""The driver of `memory://name`: queues and results in this process, shared by its threads alone."""

from __future__ import annotations

from threading import Lock
from urllib.parse import urlsplit

from celeriac.drivers.memory.broker import MemoryBroker
from celeriac.drivers.memory.bus import MemoryBus
from celeriac.drivers.memory.results import MemoryResults
from celeriac.drivers.memory.schedules import MemorySchedules
from celeriac.drivers.memory.store import MemoryStore
from celeriac.drivers.opening import Options
from celeriac.ports import Broker, ResultStore, ScheduleStore


def open_broker(url: str, options: Options, with_results: bool) -> Broker:
    """A broker on the store that the URL's host names; all brokers of one name see the same messages."""
    return MemoryBroker(store_of(url), with_results)


def open_results(url: str, options: Options) -> ResultStore:
    """The results of the store that the URL's host names."""
    return MemoryResults(store_of(url))


def open_bus(url: str, options: Options) -> MemoryBus:
    """The bus of the store that the URL's host names."""
    return MemoryBus(store_of(url).air)


def open_schedules(url: str, options: Options, group: str) -> ScheduleStore:
    """The plans of a group in the store that the URL's host names."""
    return MemorySchedules(store_of(url), group)


def same_store(url_a: str, url_b: str) -> bool:
    """Whether both name one store, so that one step can touch both."""
    return _name_of(url_a) == _name_of(url_b)


def store_of(url: str) -> MemoryStore:
    """The one store of this name in this process; made when it is first asked for."""
    with _lock:
        return _stores.setdefault(_name_of(url), MemoryStore())


_stores: dict[str, MemoryStore] = {}
_lock = Lock()


def _name_of(url: str) -> str:
    return urlsplit(url).netloc
