"""What an app has open: broker, results, the watch on them, and the bus, each from its first use on.

They belong to the process that opened them. A fork opens its own, and leaves its parent's as they are.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from celeriac.clock import Clock
from celeriac.config import Settings
from celeriac.drivers.opening import (
    Options,
    is_one_store,
    open_broker,
    open_bus,
    open_results,
    open_schedules,
    secured,
)
from celeriac.ports import Broker, Bus, ResultStore, ScheduleStore
from celeriac.waiting import Waiting

#: The file of the embedded default, in the working directory.
DEFAULT_FILE = "celeriac.db"

#: What a fork left to the child, kept from being collected there.
_inherited: list[Any] = []


class Ground(NamedTuple):
    """What an app stands on in place of what its settings say; for tests."""

    broker: Callable[[], Broker]
    results: Callable[[], ResultStore]
    waiting: Callable[[ResultStore], Waiting]
    schedules: Callable[[], ScheduleStore]
    bus: Callable[[], Bus]
    time: Clock


class Connections:
    """Where the settings say they are. `forked` is called in a child that was forked, at the first use."""

    def __init__(self, conf: Settings, forked: Callable[[], None], app: object = None) -> None:
        self._conf = conf
        self._app = app
        self._forked = forked
        self._lock = threading.RLock()
        #: The process that they belong to; 0 before there is one.
        self._pid = 0
        self._ground: Ground | None = None
        self._broker: Broker | None = None
        self._results: ResultStore | None = None
        self._waiting: Waiting | None = None
        self._bus: Bus | None = None

    # --- where they are -----------------------------------------------------------------------------------

    @property
    def broker_url(self) -> str:
        """Where messages go."""
        return self._broker_address(self._conf.broker_write_url or self._conf.broker_url)

    @property
    def worker_url(self) -> str:
        """Where workers claim them."""
        return self._broker_address(self._conf.broker_read_url or self._conf.broker_url)

    @property
    def result_url(self) -> str | None:
        """Where results go; None is nowhere."""
        conf = self._conf
        backend: str | None = conf.result_backend
        if backend:
            if backend.partition(":")[0] == "disabled":
                return None
            return secured(backend, conf.redis_backend_use_ssl, "redis_backend_use_ssl")
        is_default = not (conf.broker_url or conf.broker_write_url or conf.broker_read_url)
        return self._default_url if is_default else None

    @property
    def are_one_store(self) -> bool:
        """The results lie in the store that workers claim from, so one step can touch both."""
        results = self.result_url
        return self._ground is None and results is not None and is_one_store(self.worker_url, results)

    def _broker_address(self, said: Any) -> str:
        url = said if isinstance(said, str) else ";".join(said or ())
        return secured(url, self._conf.broker_use_ssl, "broker_use_ssl") or self._default_url

    @cached_property
    def _default_url(self) -> str:
        return f"sqlite:///{quote(str(Path.cwd() / DEFAULT_FILE))}"

    # --- what this process shares -------------------------------------------------------------------------

    @property
    def broker(self) -> Broker:
        """For sending."""
        broker = self._broker
        if broker is None or self._pid != os.getpid():
            with self._opening() as ground:
                broker = self._broker
                if broker is None:
                    broker = (
                        ground.broker() if ground else open_broker(self.broker_url, None, self.broker_options)
                    )
                    self._broker = broker
        return broker

    @property
    def results(self) -> ResultStore | None:
        """None where results are off."""
        results = self._results
        if results is None or self._pid != os.getpid():
            url = self.result_url
            if url is None:
                return None
            with self._opening() as ground:
                results = self._results
                if results is None:
                    results = ground.results() if ground else open_results(url, self._result_options)
                    self._results = results
        return results

    @property
    def waiting(self) -> Waiting:
        """The one watch on which all callers of this process wait for results."""
        waiting = self._waiting
        if waiting is None or self._pid != os.getpid():
            store = self.results
            if store is None:
                raise RuntimeError("results are off")
            with self._opening() as ground:
                waiting = self._waiting
                if waiting is None:
                    waiting = self._waiting = ground.waiting(store) if ground else Waiting(store)
        return waiting

    @property
    def bus(self) -> Bus:
        """For remote control and events."""
        bus = self._bus
        if bus is None or self._pid != os.getpid():
            with self._opening() as ground:
                bus = self._bus
                if bus is None:
                    bus = ground.bus() if ground else open_bus(self.broker_url, self.broker_options)
                    self._bus = bus
        return bus

    @contextlib.contextmanager
    def _opening(self) -> Iterator[Ground | None]:
        """Inside, one thread alone may open; what was inherited is put away before."""
        opened_by = self._pid
        if opened_by != os.getpid():
            if opened_by:
                # A forked child is alone, whoever held the lock in the parent.
                self._lock = threading.RLock()
                _inherited.extend((self._broker, self._results, self._waiting, self._bus))
                self._broker = self._results = self._waiting = self._bus = None
            self._pid = os.getpid()
            if opened_by:
                self._forked()
        with self._lock:
            yield self._ground

    # --- what is another's own ----------------------------------------------------------------------------

    def open_worker_broker(self) -> Broker:
        """For one who claims; who opens it closes it."""
        if self._ground is not None:
            return self._ground.broker()
        return open_broker(self.worker_url, self.result_url, self.broker_options)

    def open_schedules(self, group: str) -> ScheduleStore:
        """The plans of one group of schedulers; who opens them closes them."""
        if self._ground is not None:
            return self._ground.schedules()
        return open_schedules(self.broker_url, group, self.broker_options)

    # --- how they are opened ------------------------------------------------------------------------------

    @property
    def broker_options(self) -> Options:
        return self._options(self._conf.broker_transport_options)

    @property
    def _result_options(self) -> Options:
        return self._options(self._conf.result_backend_transport_options)

    def _options(self, said: Mapping[str, Any] | None) -> Options:
        extra = dict(said or {})
        return Options(
            global_keyprefix=extra.pop("global_keyprefix", ""),
            connect_timeout=self._conf.seconds("broker_connection_timeout") or 4.0,
            publish_timeout=self._conf.seconds("publish_timeout") or 5.0,
            extra=extra,
            app=self._app,
        )

    # --- their end ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """May be called twice. The next use opens them again."""
        with self._opening():
            opened = (self._waiting, self._results, self._broker, self._bus)
            self._waiting = self._results = self._broker = self._bus = None
        for connection in opened:
            if connection is not None:
                connection.close()

    @contextlib.contextmanager
    def standing_on(self, ground: Ground) -> Iterator[None]:
        """Inside, nothing of what the settings name is reached; what was open before stays open."""
        with self._opening():
            before = (self._ground, self._broker, self._results, self._waiting, self._bus)
            self._ground = ground
            self._broker = self._results = self._waiting = self._bus = None
        try:
            yield
        finally:
            self.close()
            self._ground, self._broker, self._results, self._waiting, self._bus = before
