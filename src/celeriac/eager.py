"""A task run here and now, with all that belongs to a run in a worker: apply(), task_always_eager."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from inspect import isawaitable
from socket import gethostname
from types import CoroutineType
from typing import Any, NamedTuple

from celeriac import aio, canvas, signals, states
from celeriac import request as requests
from celeriac.einfo import ExceptionInfo, as_raised
from celeriac.exceptions import Ignore, Reject, Replaced, Retry
from celeriac.message import Result
from celeriac.middleware import Run, Steps, pass_through
from celeriac.request import Request
from celeriac.result import EagerResult
from celeriac.wire.result import encode_result

_log = logging.getLogger("celeriac.eager")


class _Verdict(NamedTuple):
    """What became of one try."""

    state: str
    value: Any = None
    einfo: ExceptionInfo | None = None
    #: Seconds.
    runtime: float = 0.0


def run_eagerly(
    task: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    task_id: str,
    retries: int = 0,
    throw: bool = False,
    link: Any = None,
    link_error: Any = None,
    options: Mapping[str, Any] | None = None,
) -> EagerResult[Any]:
    """Run the task, again for each retry and without its delays; `throw` raises what it raised."""
    said = dict(options or {})
    root_id = said.get("root_id") or task_id
    while True:
        request = Request(
            id=task_id,
            task=task.name,
            args=args,
            kwargs=kwargs,
            retries=retries,
            is_eager=True,
            called_directly=False,
            root_id=root_id,
            parent_id=said.get("parent_id"),
            callbacks=_several(link),
            errbacks=_several(link_error),
            headers=said.get("headers"),
            stamps=said.get("stamps"),
            stamped_headers=said.get("stamped_headers"),
            ignore_result=bool(said.get("ignore_result")),
            hostname=gethostname(),
            delivery_info={
                "is_eager": True,
                "exchange": said.get("exchange"),
                "routing_key": said.get("routing_key"),
                "priority": said.get("priority"),
            },
        )
        requests.push(request)
        try:
            verdict = _try_once(task, request, throw)
        finally:
            requests.pop()
        again = verdict.value.sig if verdict.state == states.RETRY else None
        if again is None:
            break
        args, kwargs, retries = again.args, again.kwargs, retries + 1
    if throw and verdict.state in states.PROPAGATE_STATES:
        raise verdict.value
    text = verdict.einfo.traceback if verdict.einfo is not None else None
    if task.store_eager_result and task.app.results is not None:
        _store(task, request, verdict)
    ran: EagerResult[Any] = EagerResult(task_id, verdict.value, verdict.state, text, task.name)
    ran.parts = request.parts or []
    return ran


def _try_once(task: Any, request: Request, throw: bool) -> _Verdict:
    """One run, between task_prerun and task_postrun."""
    identity = {"task_id": request.id, "task": task, "args": request.args, "kwargs": request.kwargs}
    aio.tell(signals.task_prerun, task, **identity)
    verdict = _run(task, request)
    if verdict.state == states.SUCCESS:
        _succeed(task, request, verdict)
    elif verdict.state == states.RETRY:
        _retry(task, request, verdict)
    elif verdict.state == states.FAILURE:
        _fail(task, request, verdict, throw)
    if verdict.state in (states.SUCCESS, states.FAILURE):
        aio.settle(
            task.after_return(
                verdict.state, verdict.value, request.id, request.args, request.kwargs, verdict.einfo
            )
        )
    aio.tell(signals.task_postrun, task, **identity, retval=verdict.value, state=verdict.state)
    return verdict


def _run(task: Any, request: Request) -> _Verdict:
    began = time.perf_counter()
    try:
        value = aio.drive(_call(task, request))
        return _Verdict(states.SUCCESS, value, runtime=time.perf_counter() - began)
    except Replaced as replaced:
        return _Verdict(states.SUCCESS, replaced.value, runtime=time.perf_counter() - began)
    except Retry as retry:
        return _Verdict(states.RETRY, retry, ExceptionInfo(retry))
    except Ignore as ignore:
        return _Verdict(states.IGNORED, ignore)
    except Reject as reject:
        return _Verdict(states.REJECTED, reject)
    except Exception as raised:
        error = as_raised(raised)
        return _Verdict(states.FAILURE, error, ExceptionInfo(error))


def _call(task: Any, request: Request) -> Steps:
    """What has to be awaited comes out."""
    run = Run(task, request, request.args or (), request.kwargs or {})
    passage = task.app.passage
    hooks = passage.around_run if passage is not None else ()
    return (yield from pass_through(hooks, run, _called))


def _called(run: Run) -> Steps:
    task, request, args, kwargs = run.task, run.request, run.args, run.kwargs
    if task.converter is not None:
        args, kwargs = task.converter(args, kwargs)
    waiting = task.before_start(request.id, request.args, request.kwargs)
    if isawaitable(waiting):
        yield waiting
    value = task(*args, **kwargs) if task.calls_itself else task.run(*args, **kwargs)
    return (yield value) if isinstance(value, CoroutineType) else value


def _succeed(task: Any, request: Request, verdict: _Verdict) -> None:
    for callback in request.callbacks or ():
        signature = canvas.maybe_signature(callback, task.app)
        if signature is not None:
            signature.apply((verdict.value,), root_id=request.root_id, parent_id=request.id)
    aio.settle(task.on_success(verdict.value, request.id, request.args, request.kwargs))
    aio.tell(signals.task_success, task, result=verdict.value, runtime=verdict.runtime)


def _retry(task: Any, request: Request, verdict: _Verdict) -> None:
    aio.settle(task.on_retry(verdict.value.exc, request.id, request.args, request.kwargs, verdict.einfo))
    aio.tell(signals.task_retry, task, request=request, reason=verdict.value, einfo=verdict.einfo)


def _fail(task: Any, request: Request, verdict: _Verdict, throw: bool) -> None:
    error, einfo = verdict.value, verdict.einfo
    if not throw and not isinstance(error, task.throws):
        _log.error("Task %s[%s] raised unexpected: %r", task.name, request.id, error, exc_info=error)
    text = einfo.traceback if einfo is not None else None
    canvas.call_errbacks(task.app, request, error, text)
    for errback in canvas.errbacks_by_id(task.app, request):
        errback.apply((request.id,), root_id=request.root_id, parent_id=request.id)
    aio.settle(task.on_failure(error, request.id, request.args, request.kwargs, einfo))
    aio.tell(
        signals.task_failure,
        task,
        task_id=request.id,
        exception=error,
        args=request.args,
        kwargs=request.kwargs,
        traceback=einfo.tb if einfo is not None else None,
        einfo=einfo,
    )


def _store(task: Any, request: Request, verdict: _Verdict) -> None:
    conf = task.app.conf
    payload = encode_result(
        task_id=str(request.id),
        status=verdict.state,
        result=verdict.value,
        traceback=verdict.einfo.traceback if verdict.einfo is not None else None,
        date_done=datetime.now(UTC).isoformat(),
        serializer=conf.result_serializer,
    )
    task.app.results.save([Result(str(request.id), payload, conf.seconds("result_expires") or None)])


def _several(signatures: Any) -> list[Any] | None:
    if signatures is None:
        return None
    return list(signatures) if isinstance(signatures, list | tuple) else [signatures]
