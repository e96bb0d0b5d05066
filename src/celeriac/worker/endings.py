"""What is written down when a task ends: its result, and the outcome of a claim that must not run again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from inspect import iscoroutine
from typing import Any
from uuid import uuid4

from celeriac import aio, canvas, signals, states
from celeriac import request as requests
from celeriac.app import Celery
from celeriac.canvas import counting
from celeriac.canvas.signature import as_signature
from celeriac.einfo import short_traceback
from celeriac.exceptions import CeleriacError, ChordError, EncodeError, TaskRevokedError
from celeriac.message import Claim, Count, Fate, Message, Outcome, Result
from celeriac.request import Request
from celeriac.wire.body import ChainAlone, ChordAlone
from celeriac.wire.codecs import read_by_workers
from celeriac.wire.ending import MEMBER, embed_at_end
from celeriac.wire.result import decode_exception, encode_result, encode_success, too_large
from celeriac.wire.saferepr import safe_repr, storable
from celeriac.wire.task import TaskMessage, unpack, unpack_identity
from celeriac.worker import loglines
from celeriac.worker.aside import at_once, in_a_fork
from celeriac.worker.errors import explained
from celeriac.worker.habits import Habits

_log = logging.getLogger("celery.app.trace")


class Endings:
    """Writes down the ends of tasks for one app and one node. No socket, no clock but the one given."""

    def __init__(
        self,
        app: Celery,
        hostname: str,
        now: Callable[[], float],
        *,
        runs_user_code: bool = True,
        lost: Callable[[Request, BaseException], None] | None = None,
    ) -> None:
        self._app = app
        #: Told of each task that fails without having ended by itself.
        self._lost = lost
        self._hostname = hostname
        self._now = now
        #: A supervisor runs none itself: who wants to hear of a failure does so in a process of its own.
        self._aside = at_once if runs_user_code else in_a_fork
        conf = app.conf
        self._on = bool(app.result_url)
        #: The second that `_date` wrote last, and its text.
        self._second = (-1, "")
        self._serializer: str = conf.result_serializer
        self._compression: str | None = conf.result_compression
        self._ttl = conf.seconds("result_expires") or None
        failure_ttl = conf.seconds("result_failure_expires")
        self._failure_ttl = self._ttl if failure_ttl is None else failure_ttl or None
        self._extended = bool(conf.result_extended)
        #: Nothing is to be added to a value, and nothing to be done to its text.
        self._plain = self._serializer == "json" and not self._compression and not self._extended
        self._errors_even_if_ignored = bool(conf.task_store_errors_even_if_ignored)
        self._accept = read_by_workers(conf.accept_content)
        self._max_bytes: int = conf.task_max_bytes

    def success(self, request: Request, value: Any) -> Result | None:
        """The result of a task that gave `value`; EncodeError if that cannot be written down."""
        if not self._on or request.ignore_result:
            return None
        if not self._plain or request.children:
            return self._result(request, states.SUCCESS, value)
        task_id = request.id or ""
        payload = encode_success(
            task_id=task_id,
            value=value,
            date_done=self._date(),
            group_id=request.group,
            parent_id=request.parent_id,
        )
        if len(payload) > self._max_bytes:
            raise too_large(task_id, len(payload), self._max_bytes)
        return Result(task_id, payload, self._ttl)

    def started(self, request: Request, pid: int) -> Result | None:
        if not self._on or request.ignore_result:
            return None
        return self._result(request, states.STARTED, {"pid": pid, "hostname": self._hostname}, done=False)

    def retry(self, request: Request, error: BaseException, retry: BaseException) -> Result | None:
        if not self._on or request.ignore_result:
            return None
        return self._result(request, states.RETRY, error, short_traceback(retry), done=False)

    def failure(
        self,
        request: Request,
        error: BaseException,
        traceback: str | None = None,
        *,
        status: str = states.FAILURE,
        even_if_ignored: bool = False,
    ) -> Result | None:
        """The result of a task that failed or was revoked; a hostile error is written down by its type."""
        ignored = request.ignore_result and not self._errors_even_if_ignored and not even_if_ignored
        if not self._on or ignored:
            return None
        return self._result(request, status, error, traceback)

    def aftermath(
        self, request: Request, error: BaseException, status: str = states.FAILURE
    ) -> tuple[tuple[Result, ...], tuple[Count, ...]]:
        """What else ends with a task that failed: the rest of its chain, and its place in a chord."""
        if not request.chain and not request.chord:
            return (), ()
        never = [failing.request for failing in counting.never_run(self._app, request)]
        results = [self.failure(ended, error, status=status) for ended in never]
        counts = counting.failure(self._app, (request, *never), error, status)
        return tuple(result for result in results if result is not None), counts

    def revoked(self, claim: Claim, request: Request, error: BaseException) -> Outcome:
        """The end of a claim whose task shall not run any more."""
        also, counts = self.aftermath(request, error, states.REVOKED)
        result = self.failure(request, error, status=states.REVOKED)
        return Outcome(claim.number, Fate.ACKED, result, also=also, counts=counts)

    def terminated(self, claim: Claim, signum: int, told: Callable[[Request, int], None] | None) -> Outcome:
        """The end of a claim whose task was killed because somebody wished it."""
        try:
            message = unpack(claim.payload)
        except CeleriacError as undecodable:
            return self.bury(claim, safe_repr(undecodable))
        ended = self.request_of(claim, message)
        if signals.task_revoked.receivers:
            task = self._app.tasks.get(message.name)
            named = {"request": ended, "terminated": True, "signum": signum, "expired": False}
            self._aside(partial(signals.task_revoked.send, task, **named))
        if told is not None:
            told(ended, signum)
        return self.revoked(claim, ended, TaskRevokedError("terminated"))

    def chord_failed(self, claim: Claim, request: Request, body: Any, item: Sequence[Any]) -> Outcome:
        """The end of a chord's body that will never run, for `item` tells of a member that failed."""
        _, member, _, reason = item
        cause = decode_exception(reason)
        results: list[Result] = []
        counts: list[Count] = []
        follow_ups: list[Message] = []
        failing_ones = list(counting.inside(self._app, as_signature(body, self._app), request))
        is_its_own = any(failing.request.id == member for failing in failing_ones)
        error = ChordError(
            f"Callback error: {cause!r}" if is_its_own else f"Dependency {member} raised {cause!r}"
        )
        error.__cause__ = cause
        for failing in failing_ones:
            ended = failing.request
            result = self.failure(ended, error)
            if result is not None:
                results.append(result)
            counts += counting.failure(self._app, (ended,), error)
            if failing.tells and ended.errbacks:
                follow_ups += canvas.error_follow_ups(self._app, ended, error)
                if canvas.has_errbacks_here(self._app, ended):
                    self._aside(partial(canvas.call_errbacks, self._app, ended, error, None))
        first = next((failing.request for failing in failing_ones if failing.tells), request)
        self._log_failure(first.id, first.task, error)
        return Outcome(
            claim.number, Fate.ACKED, None, tuple(follow_ups), also=tuple(results), counts=tuple(counts)
        )

    def fail(self, claim: Claim, error: BaseException, reason: str = "") -> Outcome:
        """The end of a claim that must not run again: acknowledged with `error` as its result, and with a
        reason a dead letter. Bytes that are no task message are always one; who shows an id gets a result."""
        message = None
        if len(claim.payload) <= self._max_bytes:
            try:
                message = unpack(claim.payload)
            except CeleriacError as undecodable:
                reason = reason or safe_repr(undecodable)
        message = message or unpack_identity(claim.payload)
        if message is None:
            return self.bury(claim, reason)
        return self.fail_request(claim, self.request_of(claim, message), error, reason)

    def fail_request(self, claim: Claim, request: Request, error: BaseException, reason: str = "") -> Outcome:
        follow_ups = canvas.error_follow_ups(self._app, request, error)
        if self._somebody_listens(request):
            self._aside(partial(self._tell_of_failure, request, error))
        self._log_failure(request.id, request.shadow or request.task, error)
        if self._lost is not None:
            self._lost(request, error)
        result = self.failure(request, error)
        also, counts = self.aftermath(request, error)
        fate = Fate.DEAD if reason else Fate.ACKED
        name = (request.id or str(uuid4())) if reason else ""
        reason = storable(reason)
        return Outcome(claim.number, fate, result, follow_ups, also, counts, reason=reason, id=name)

    def _somebody_listens(self, request: Request) -> bool:
        task = self._app.tasks.get(request.task or "")
        if canvas.has_errbacks_here(self._app, request) or (task and signals.task_failure.receivers):
            return True
        return task is not None and any((Habits(task).on_failure, Habits(task).after_return))

    def _tell_of_failure(self, request: Request, error: BaseException) -> None:
        """Call all that wants to hear of a task that will not run, as if it had just failed."""
        canvas.call_errbacks(self._app, request, error, None)
        task = self._app.tasks.get(request.task or "")
        if task is None:
            return
        info = explained(error)
        fields = (error, request.id, request.args, request.kwargs, info)
        requests.push(request)
        try:
            _call(task.on_failure, *fields)
            if signals.task_failure.receivers:
                signals.task_failure.send(
                    task,
                    task_id=request.id,
                    exception=error,
                    args=request.args,
                    kwargs=request.kwargs,
                    traceback=info.tb,
                    einfo=info,
                )
            _call(task.after_return, states.FAILURE, *fields)
        finally:
            requests.pop()

    def bury(
        self,
        claim: Claim,
        reason: str,
        task_id: str | None = None,
        result: Result | None = None,
        follow_ups: tuple[Message, ...] = (),
    ) -> Outcome:
        """A dead letter; one without a task's id gets a name of its own."""
        name = task_id or str(uuid4())
        return Outcome(claim.number, Fate.DEAD, result, follow_ups, reason=storable(reason), id=name)

    def request_of(self, claim: Claim, message: TaskMessage) -> Request:
        """The request of a message that will not run: arguments that cannot be decoded are left out."""
        try:
            args, kwargs, embed = message.arguments(self._accept)
        except Exception:
            args, kwargs, embed = [], {}, embed_at_end(claim.payload, self._accept) or _embed_shown(message)
        return self.make_request(claim, message, args, kwargs, embed)

    def make_request(
        self,
        claim: Claim,
        message: TaskMessage,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        embed: Mapping[str, Any] | ChordAlone | ChainAlone,
    ) -> Request:
        return Request.from_message(message, args, kwargs, embed, self._hostname, claim.deliveries)

    def _result(
        self,
        request: Request,
        status: str,
        value: Any,
        traceback: str | None = None,
        *,
        done: bool = True,
    ) -> Result:
        task_id = request.id or ""
        children = request.children
        failed = status in (states.FAILURE, states.REVOKED)
        payload = encode_result(
            task_id=task_id,
            status=status,
            result=value,
            traceback=traceback,
            children=[child.as_tuple() for child in children] if children else (),
            date_done=self._date() if done else None,
            group_id=request.group,
            parent_id=request.parent_id,
            extra=self._extras(request) if self._extended else None,
            serializer=self._serializer,
            compression=self._compression,
        )
        if len(payload) > self._max_bytes:
            error = too_large(task_id, len(payload), self._max_bytes)
            if failed and (traceback or not isinstance(value, EncodeError)):
                # That it failed must always be said: without what makes it so large.
                return self._result(request, status, value if isinstance(value, EncodeError) else error)
            raise error
        return Result(task_id, payload, self._failure_ttl if failed else self._ttl)

    def _log_failure(self, id: str | None, name: str | None, error: BaseException) -> None:
        data = {"id": id, "name": name, "hostname": self._hostname, "exc": safe_repr(error)}
        loglines.tell_end(logging.ERROR, loglines.FAILURE, data | {"description": "raised unexpected"})

    def _date(self) -> str:
        """Now as ISO 8601; the part before the fraction is worked out once a second."""
        now = self._now()
        second = int(now)
        known, text = self._second
        if second != known:
            text = datetime.fromtimestamp(second, UTC).isoformat()[:19]
            self._second = (second, text)
        return f"{text}.{int((now - second) * 1e6):06d}+00:00"

    def _extras(self, request: Request) -> dict[str, Any]:
        """What result_extended adds."""
        stamped = request.stamped_headers or []
        stamps = request.stamps or {}
        return {
            "name": request.task,
            "args": request.args,
            "kwargs": request.kwargs,
            "worker": self._hostname,
            "retries": request.retries,
            "queue": request.delivery_info.get("routing_key"),
            **({"stamped_headers": stamped} if stamped else {}),
            **{name: stamps[name] for name in stamped if name in stamps},
        }


def _embed_shown(message: TaskMessage) -> dict[str, Any]:
    """What follows a task whose body cannot be read, as far as headers show it: the chord that waits for it,
    or for the chain that it begins."""
    if message.group:
        return {"chord": counting.UNREAD}
    try:
        group, index, id = message.headers[MEMBER]
    except (CeleriacError, KeyError, TypeError, ValueError):
        return {}
    options = {"task_id": id, "group_id": group, "group_index": index, "chord": counting.UNREAD}
    return {"chain": [{"task": message.name, "args": [], "kwargs": {}, "options": options}]}


def _call(handler: Callable[..., Any], *arguments: Any) -> None:
    try:
        answer = handler(*arguments)
        if iscoroutine(answer):
            aio.run(answer)
    except Exception:
        _log.exception("handler %s raised", getattr(handler, "__qualname__", handler))
