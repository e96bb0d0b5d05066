"""A backend on any store: reads and writes what is stored of tasks and groups.

app.backend.get_task_meta(task_id)["status"]
app.backend.store_result(task_id, {"rows": 3}, "SUCCESS")      # for work that was done elsewhere
"""

from __future__ import annotations

import sys
import traceback as tracebacks
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from celeriac import canvas, states
from celeriac import request as requests
from celeriac.app import Celery
from celeriac.canvas.counting import never_run
from celeriac.compat.kombu_utils import maybe_sanitize_url
from celeriac.einfo import ExceptionInfo
from celeriac.exceptions import ChordError, TaskRevokedError, TimeoutError
from celeriac.message import STREAM_MARK, Result
from celeriac.ports import ResultStore
from celeriac.request import Request
from celeriac.result import AsyncResult, result_from_tuple, store_of
from celeriac.resultset import GroupResult, ResultSet
from celeriac.wire import codecs
from celeriac.wire.raised import decode_exception, encode_exception, pickled
from celeriac.wire.result import decode_result, encode_result

__all__ = ["Backend", "DisabledBackend"]

Meta = dict[str, Any]

#: What a store here does by itself.
COUNTED = (
    "the members of a chord are counted by the store, in the step that settles a member's message; "
    "nobody can count one from outside. Let the task return or raise, as any other"
)


class Backend:
    """The results of one app."""

    READY_STATES = states.READY_STATES
    UNREADY_STATES = states.UNREADY_STATES
    EXCEPTION_STATES = states.EXCEPTION_STATES
    TimeoutError = TimeoutError

    #: Results are told, not polled for; they expire by themselves, and outlive the store's process where it
    #: has one.
    is_async = supports_native_join = supports_autoexpire = persistent = thread_safe = True
    supports_failure_expires = supports_result_compression = True
    always_retry = implements_incr = False
    subpolling_interval: float | None = None

    def __init__(
        self,
        app: Celery,
        serializer: str | None = None,
        max_cached_results: object = None,
        accept: object = None,
        expires: float | timedelta | None = None,
        expires_type: Callable[[Any], Any] | None = None,
        url: str | None = None,
        **_: Any,
    ) -> None:
        self.app = app
        self.url = url
        self.serializer: str = serializer or app.conf.result_serializer
        #: Seconds; None is for ever.
        self.expires = self.prepare_expires(expires, expires_type)

    # --- reading ------------------------------------------------------------------------------------------

    def get_task_meta(self, task_id: str, cache: bool = True) -> Meta:
        """All that is stored of a task; an exception in it is one again. PENDING where nothing is."""
        if not task_id:
            raise ValueError(f"task_id must not be empty. Got {task_id} instead.")
        (payload,) = self._store.load([task_id])
        if payload is None:
            return {"status": states.PENDING, "result": None}
        return self.meta_from_decoded(self.decode_result(payload))

    def get_state(self, task_id: str) -> str:
        return str(self.get_task_meta(task_id)["status"])

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        """The value, or the exception."""
        return self.get_task_meta(task_id).get("result")

    def get_traceback(self, task_id: str) -> str | None:
        return self.get_task_meta(task_id).get("traceback")

    def get_children(self, task_id: str) -> Any:
        """The results of the calls that the task made."""
        children = self.get_task_meta(task_id).get("children")
        return None if children is None else [result_from_tuple(child, self.app) for child in children]

    def task_result_exists(self, task_id: str) -> bool:
        return self._store.load([task_id])[0] is not None

    def reload_task_result(self, task_id: str) -> None:
        """Nothing: what has not ended is read anew each time."""

    reload_group_result = reload_task_result

    def is_cached(self, task_id: str) -> bool:
        """Never: an AsyncResult keeps its own."""
        return False

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Meta], object] | None = None,
        **_: Any,
    ) -> Iterator[tuple[str, Meta]]:
        """(id, meta) of each, as soon as it has ended."""
        many: ResultSet[Any] = ResultSet([AsyncResult(id, app=self.app) for id in task_ids], self.app)
        for task_id, meta in many.iter_native(timeout=timeout):
            if on_message is not None:
                on_message(meta)
            yield task_id, self.meta_from_decoded(dict(meta))

    def iter_native(self, result: Any, no_ack: bool = True, **options: Any) -> Iterator[tuple[str, Meta]]:
        """The same for a set of results."""
        return self.get_many([one.id for one in result.results], **options)

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        callback: Callable[[str, Any], object] | None = None,
        propagate: bool = True,
        **_: Any,
    ) -> Any:
        return result.get(timeout, propagate, callback=callback, disable_sync_subtasks=False)

    def wait_for(self, task_id: str, timeout: float | None = None, **_: Any) -> Meta:
        """Its meta, as soon as it has ended."""
        return next(self.get_many([task_id], timeout))[1]

    # --- writing ------------------------------------------------------------------------------------------

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        """Store a state and a value (or exception), and tell who waits; gives the value as it is stored.

        SUCCESS stays what it is, and a state on the way replaces no end.
        """
        stored = self.encode_result(result, state)
        conf, app = self.app.conf, self.app
        over = state in states.READY_STATES
        payload = encode_result(
            task_id=task_id,
            status=state,
            result=stored,
            traceback=None if traceback is None else str(traceback),
            children=self.current_task_children(request) or (),
            date_done=datetime.fromtimestamp(app.time(), UTC).isoformat() if over else None,
            group_id=getattr(request, "group", None),
            parent_id=getattr(request, "parent_id", None),
            extra=_extended(request) if request is not None and conf.result_extended else None,
            serializer=self.serializer,
            compression=conf.result_compression,
        )
        ttl = self.expires
        if state in states.PROPAGATE_STATES and conf.seconds("result_failure_expires") is not None:
            ttl = conf.seconds("result_failure_expires")
        self._store.update(Result(task_id, payload, ttl or None), self._is_success if over else app.is_end)
        return stored

    def mark_as_started(self, task_id: str, **meta: Any) -> Any:
        return self.store_result(task_id, meta, states.STARTED)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """It ended well."""
        _refuse_members(request)
        if store_result:
            self.store_result(task_id, result, state, request=request)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """It failed; with its request its errbacks are called, and the rest of its chain fails too."""
        _refuse_members(request)
        if store_result:
            self.store_result(task_id, exc, state, traceback, request)
        if not isinstance(request, Request):
            return
        for failing in never_run(self.app, request):
            self.store_result(failing.request.id or "", exc, state, traceback, failing.request)
        if call_errbacks and request.errbacks:
            self.app.publish(canvas.error_follow_ups(self.app, request, exc))
            canvas.call_errbacks(self.app, request, exc, traceback)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """It shall count as revoked; what keeps it from running is `app.control.revoke(id)`."""
        _refuse_members(request)
        if store_result:
            self.store_result(task_id, TaskRevokedError(reason), state, request=request)

    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        state: str = states.RETRY,
    ) -> Any:
        """It will be tried again; sends nothing."""
        return self.store_result(task_id, exc, state, traceback, request) if store_result else None

    def fail_from_current_stack(self, task_id: str, exc: BaseException | None = None) -> ExceptionInfo:
        """It failed with the exception that is handled here."""
        error = exc or sys.exc_info()[1] or RuntimeError("no exception is handled here")
        self.mark_as_failure(task_id, error, "".join(tracebacks.format_exception(error)))
        return ExceptionInfo(error)

    def forget(self, task_id: str) -> None:
        """Remove what is stored of it."""
        self._store.forget([task_id, STREAM_MARK + task_id])

    def cleanup(self) -> None:
        """Nothing: results expire by themselves."""

    process_cleanup = cleanup

    # --- groups and chords --------------------------------------------------------------------------------

    def save_group(self, group_id: str, result: Any) -> Any:
        """Write down which results belong together."""
        GroupResult(group_id, result.results, getattr(result, "parent", None), self.app).save()
        return result

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """What was saved; None if nothing was."""
        return GroupResult.restore(group_id, app=self.app)

    def get_group_meta(self, group_id: str, cache: bool = True) -> Meta | None:
        saved = self.restore_group(group_id)
        return None if saved is None else {"result": saved}

    def delete_group(self, group_id: str) -> None:
        GroupResult(group_id, [], app=self.app).delete()

    def ensure_chords_allowed(self) -> None:
        """They are, on every store."""

    def apply_chord(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError(f"{COUNTED}. A chord is sent by chord(header)(body)")

    def on_chord_part_return(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError(COUNTED)

    set_chord_size = fallback_chord_unlock = on_chord_part_return

    def add_to_chord(self, group_id: str, result: Any) -> None:
        raise NotImplementedError(f"{COUNTED}. A task adds to its own chord by self.add_to_chord(signature)")

    def chord_error_from_stack(self, callback: Any, exc: BaseException | None = None) -> ExceptionInfo:
        """The end of a chord whose body will not run."""
        error = exc or ChordError("the chord failed")
        self.mark_as_failure(str(callback.id), error)
        return ExceptionInfo(error)

    # --- what waits: nothing has to be made known ---------------------------------------------------------

    def add_pending_result(self, result: Any, weak: bool = False, start_drainer: bool = True) -> Any:
        return result

    def add_pending_results(self, results: Any, weak: bool = False) -> None:
        """Nothing: who waits is told."""

    def remove_pending_result(self, result: Any) -> Any:
        return result

    def on_task_call(self, producer: Any, task_id: str) -> Meta:
        return {}

    # --- bytes and values ---------------------------------------------------------------------------------

    @property
    def content_type(self) -> str:
        return codecs.codec_named(self.serializer).content_type

    @property
    def content_encoding(self) -> str:
        return codecs.codec_named(self.serializer).content_encoding

    @property
    def accept(self) -> set[str]:
        conf = self.app.conf
        named = conf.result_accept_content or conf.accept_content
        return {name if "/" in name else codecs.codec_named(name).content_type for name in named}

    def prepare_expires(
        self, value: float | timedelta | None, type: Callable[[Any], Any] | None = None
    ) -> Any:
        seconds = self.app.conf.seconds("result_expires") or None if value is None else value
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        return type(seconds) if type is not None and seconds is not None else seconds

    def encode(self, data: Any) -> str | bytes:
        """As the result_serializer writes it."""
        _, encoding, payload = codecs.encode(data, self.serializer)
        return payload if encoding == "binary" else payload.decode(encoding)

    def decode(self, payload: str | bytes) -> Any:
        data = payload.encode() if isinstance(payload, str) else payload
        return codecs.decode(data, self.content_type, self.content_encoding, self.accept)

    def encode_result(self, result: Any, state: str) -> Any:
        """The value as it is stored: an exception as plain data, a result as its tuple."""
        if state in self.EXCEPTION_STATES and isinstance(result, BaseException):
            return self.prepare_exception(result)
        return self.prepare_value(result)

    def decode_result(self, payload: bytes) -> Meta:
        """A stored meta; an exception in it is still plain data."""
        return decode_result(payload, self.accept)

    def meta_from_decoded(self, meta: Meta) -> Meta:
        if meta["status"] in self.EXCEPTION_STATES:
            meta["result"] = self.exception_to_python(meta["result"])
        return meta

    def prepare_exception(self, exc: BaseException, serializer: str | None = None) -> Any:
        chosen = serializer or self.serializer
        return pickled(exc) if chosen == "pickle" else encode_exception(exc, chosen)

    def exception_to_python(self, exc: Any) -> BaseException | None:
        return None if exc is None else decode_exception(exc)

    def prepare_value(self, result: Any) -> Any:
        return result.as_tuple() if isinstance(result, AsyncResult | GroupResult) else result

    def current_task_children(self, request: Any = None) -> list[Any] | None:
        """The results of the calls that a request made, as tuples."""
        made_by = request or requests.current()
        children = getattr(made_by, "children", None)
        return [child.as_tuple() for child in children] if children else None

    # --- where it is --------------------------------------------------------------------------------------

    def as_uri(self, include_password: bool = False) -> str:
        url = self.url or "disabled://"
        return url if include_password else str(maybe_sanitize_url(url))

    @property
    def client(self) -> Any:
        """Redis's alone."""
        raise AttributeError(
            f"the results of this app lie in {self.as_uri()}, for which there is no client to hand out; "
            "app.results and app.backend read and write them"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.as_uri()}>"

    @property
    def _store(self) -> ResultStore:
        return store_of(self.app)

    def _is_success(self, payload: bytes) -> bool:
        return bool(self.decode_result(payload)["status"] == states.SUCCESS)


class DisabledBackend(Backend):
    """Of an app without results: what is stored goes nowhere, who asks hears what to set."""

    def store_result(self, *_: Any, **__: Any) -> None:
        """Nothing is kept."""


def _refuse_members(request: Any) -> None:
    chord = request.get("chord") if isinstance(request, Mapping) else getattr(request, "chord", None)
    if chord is not None:
        raise NotImplementedError(COUNTED)


def _extended(request: Any) -> dict[str, Any]:
    """What result_extended adds."""
    told = {name: getattr(request, name, None) for name in ("args", "kwargs", "retries")}
    info = getattr(request, "delivery_info", None) or {}
    return {
        "name": getattr(request, "task", None),
        **told,
        "worker": getattr(request, "hostname", None),
        "queue": info.get("routing_key"),
    }
