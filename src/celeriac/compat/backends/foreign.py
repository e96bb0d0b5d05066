"""Results in somebody's own backend: `result_backend = "django-db"`, or the path of a class.

It is a store as any other, but it cannot tell: who waits makes it be asked, twice a second. It keeps no
streams.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any

import msgspec

from celeriac import states
from celeriac.compat.backends.base import Backend, Meta
from celeriac.current import get_current_app
from celeriac.drivers.opening import Options
from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.importing import import_named
from celeriac.message import GROUP_MARK, STREAM_MARK, Result
from celeriac.result import result_from_tuple
from celeriac.wire.result import decode_result, encode_result

_log = logging.getLogger("celeriac.results")

#: Where packages announce their backends.
GROUP = "celery.result_backends"
#: Seconds between two questions of those who wait.
PAUSE = 0.5


def driver_named(url: str) -> ForeignDriver | None:
    """The driver of a backend that an entry point names, or the path of its class; None for neither."""
    name = url.partition("://")[0].partition("+")[0]
    announced = next(iter(entry_points(group=GROUP, name=name)), None) if name else None
    if announced is not None:
        return ForeignDriver(announced.load)
    if "." in name:
        return ForeignDriver(lambda: import_named(name, "result_backend"))
    return None


class ForeignDriver:
    """Opens results alone."""

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find

    def open_results(self, url: str, options: Options) -> ForeignResults:
        app = options.app or get_current_app()
        return ForeignResults(self._find()(app=app, url=url), app)

    def open_broker(self, url: str, *_: Any, **__: Any) -> Any:
        raise ImproperlyConfigured(f"{url.partition(':')[0]} keeps results and no messages: it is no broker")

    open_bus = open_schedules = open_broker

    def same_store(self, url_a: str, url_b: str) -> bool:
        return False


class ForeignResults:
    """Fulfils `ResultStore` by a backend of Celery's kind."""

    def __init__(self, backend: Backend, app: Any) -> None:
        self.backend = backend
        self._app = app
        self._name = type(backend).__name__
        self._watches: list[ForeignWatch] = []

    def save(self, results: Sequence[Result]) -> None:
        for result in results:
            with self._failing("store"):
                self._save(result)

    def update(self, result: Result, keep: Callable[[bytes], bool], owner: str = "") -> bool:
        (stored,) = self.load([result.task_id])
        if stored is not None and keep(stored):
            return False
        self.save([result])
        return True

    def load(self, ids: Sequence[str]) -> list[bytes | None]:
        with self._failing("read"):
            return [self._loaded(id) for id in ids]

    def watch(self, told: Callable[[str, bytes], None]) -> ForeignWatch:
        watch = ForeignWatch(self, told)
        self._watches.append(watch)
        return watch

    def ear(self) -> None:
        """It has none."""

    def push(self, task_id: str, first: int, parts: Sequence[bytes], keep: int, ttl: float | None) -> None:
        raise NotImplementedError(
            f"{self._name} keeps no streams: a task that yields needs its results on Redis or SQLite"
        )

    def parts(self, task_id: str, after: int, most: int) -> list[tuple[int, bytes]]:
        return []

    def forget(self, ids: Sequence[str]) -> None:
        with self._failing("forget"):
            for id in ids:
                if id.startswith(GROUP_MARK):
                    self.backend.delete_group(id.removeprefix(GROUP_MARK))
                elif not id.startswith(STREAM_MARK):
                    self.backend.forget(id)

    def hurry(self, longest: float) -> None:
        """Nothing: how long it takes is the backend's own business."""

    def close(self) -> None:
        for watch in self._watches:
            watch.close()

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Whatever it raises means to a worker that it is away for now, and is to be asked again."""
        try:
            yield
        except Exception as error:
            raise OperationalError(
                f"{self._name} cannot {what} results: {type(error).__name__}: {error}"
            ) from error

    def _save(self, result: Result) -> None:
        if result.task_id.startswith(GROUP_MARK):
            self._save_group(result)
            return
        meta = self._decoded(result.payload)
        self.backend.store_result(
            result.task_id,
            meta["result"],
            meta["status"],
            traceback=meta.get("traceback"),
            request=self._request_of(result.task_id, meta),
        )

    def _loaded(self, id: str) -> bytes | None:
        if id.startswith(STREAM_MARK):
            return None
        if id.startswith(GROUP_MARK):
            saved = self.backend.restore_group(id.removeprefix(GROUP_MARK))
            return None if saved is None else msgspec.json.encode({"result": saved.as_tuple()})
        meta = self.backend.get_task_meta(id)
        return None if meta["status"] == states.PENDING else self._encoded(id, meta)

    def _save_group(self, result: Result) -> None:
        group_id = result.task_id.removeprefix(GROUP_MARK)
        members = msgspec.json.decode(result.payload)["result"]
        self.backend.save_group(group_id, result_from_tuple(members, self._app))

    def _decoded(self, payload: bytes) -> Meta:
        conf = self._app.conf
        return decode_result(payload, conf.result_accept_content or conf.accept_content)

    def _encoded(self, id: str, meta: Meta) -> bytes:
        done = meta.get("date_done")
        return encode_result(
            task_id=id,
            status=meta["status"],
            result=meta.get("result"),
            traceback=meta.get("traceback"),
            children=meta.get("children") or (),
            date_done=done if done is None or isinstance(done, str) else done.isoformat(),
            extra={name: meta[name] for name in ("name", "args", "kwargs", "worker") if meta.get(name)},
            serializer=self._app.conf.result_serializer,
        )

    def _request_of(self, id: str, meta: Meta) -> Any:
        """What a backend asks of the request: with result_extended the call, too."""
        args, kwargs = meta.get("args"), meta.get("kwargs")
        return SimpleNamespace(
            id=id,
            task=meta.get("name"),
            args=args,
            kwargs=kwargs,
            argsrepr=None if args is None else repr(tuple(args)),
            kwargsrepr=None if kwargs is None else repr(kwargs),
            hostname=meta.get("worker"),
            retries=meta.get("retries"),
            group=meta.get("group_id"),
            parent_id=meta.get("parent_id"),
            delivery_info={"routing_key": meta.get("queue")},
            children=[result_from_tuple(child, self._app) for child in meta.get("children") or ()],
        )


class ForeignWatch:
    """Asks for all that is watched, as long as something is."""

    def __init__(self, store: ForeignResults, told: Callable[[str, bytes], None]) -> None:
        self._store = store
        self._told = told
        self._pause = float(store.backend.subpolling_interval or PAUSE)
        self._seen: dict[str, bytes | None] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, ids: Sequence[str]) -> list[bytes | None]:
        stored = self._store.load(ids)
        with self._changed:
            self._seen.update(zip(ids, stored, strict=True))
            self._changed.notify_all()
            if self._thread is None and ids:
                self._thread = threading.Thread(target=self._ask, name="celeriac-results", daemon=True)
                self._thread.start()
        return stored

    def discard(self, ids: Sequence[str]) -> None:
        with self._changed:
            for id in ids:
                self._seen.pop(id, None)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _ask(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._seen)
                self._changed.wait_for(lambda: self._closed, self._pause)
                if self._closed:
                    return
                ids = list(self._seen)
            try:
                stored = self._store.load(ids)
            except OperationalError as error:
                _log.warning("%s; asked again in %g s", error, self._pause)
                continue
            for id, payload in zip(ids, stored, strict=True):
                if payload is not None and payload != self._seen.get(id, payload):
                    self._seen[id] = payload
                    self._told(id, payload)
