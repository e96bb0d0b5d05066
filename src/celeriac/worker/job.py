"""One run of one task, from its first signal to its outcome: announce, run, judge, tell."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Generator, Sequence
from inspect import isawaitable
from types import CoroutineType
from typing import Any

from celeriac import canvas, request, signals, states
from celeriac.app import Celery
from celeriac.canvas import counting
from celeriac.einfo import ExceptionInfo, as_raised
from celeriac.exceptions import (
    Ignore,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    Terminated,
    TimeLimitExceeded,
)
from celeriac.message import Claim, Count, Fate, Message, Outcome, Result
from celeriac.middleware import Run, pass_through
from celeriac.request import Request
from celeriac.wire.saferepr import safe_repr, storable
from celeriac.worker import loglines, printed
from celeriac.worker.endings import Endings
from celeriac.worker.errors import as_encode_error, concerns_the_worker, explained, meaning, text_of
from celeriac.worker.habits import Habits, Limits
from celeriac.worker.loglines import ends
from celeriac.worker.story import Step, Story, adrive, drive, tell

#: Yields what has to be awaited, and ends with what the task gave.
Call = Generator[Awaitable[Any], Any, Any]

_NO_LIMITS = (None, None)
#: What a plain function may give in place of a value: a coroutine, or `self.retry(throw=False)`.
_NOT_YET_A_VALUE = (Retry, CoroutineType)


class Surroundings:
    """What every job of a child works with."""

    __slots__ = ("app", "clock", "endings", "hostname", "save")

    def __init__(
        self,
        app: Celery,
        hostname: str,
        endings: Endings,
        clock: Callable[[], float],
        save: Callable[[Result], object] | None,
    ) -> None:
        self.app = app
        self.hostname = hostname
        self.endings = endings
        #: Seconds from anywhere: how long a task ran.
        self.clock = clock
        #: Stores a STARTED result before the task runs; None where there is no store.
        self.save = save

    def is_watched(self) -> bool:
        """Somebody wants to hear of runs while they go on, so each story is told in full."""
        return bool(
            signals.task_prerun.receivers
            or signals.task_success.receivers
            or signals.task_postrun.receivers
            or ends.isEnabledFor(logging.INFO)
        )


class Job:
    """One claim that may run. `run` and `arun` end with an outcome, whatever the task does."""

    __slots__ = (
        "_around",
        "_endings",
        "_habits",
        "_started",
        "claim",
        "early_ack",
        "interruption",
        "request",
        "running",
        "task",
        "time_limits",
    )

    def __init__(self, around: Surroundings, claim: Claim, habits: Habits, made: Request) -> None:
        self._around = around
        self._endings = around.endings
        self._habits = habits
        self._started = 0.0
        self.claim = claim
        self.task = habits.task
        self.request = made
        #: The claim has to be marked BEGUN before it runs: it must never run a second time.
        self.early_ack = habits.early_ack
        #: (soft, hard) in seconds: of this call, or else of the task, or else of all tasks.
        self.time_limits = habits.time_limits
        if made.timelimit is not None and made.timelimit != _NO_LIMITS:
            self.time_limits = _either(made.timelimit, habits.time_limits)
        #: True only while the task's own code runs: a soft limit that fires outside must not be raised.
        self.running = False
        #: Set before a coroutine is cancelled: what the cancelling means (SoftTimeLimitExceeded, Terminated).
        self.interruption: BaseException | None = None

    @property
    def id(self) -> str:
        return self.request.id or ""

    @property
    def name(self) -> str:
        """The task's name as lines of the log show it."""
        return self.request.shadow or self.task.name

    @property
    def started(self) -> float:
        """When its run began, by the clock of runs; 0 before."""
        return self._started

    @property
    def is_async(self) -> bool:
        """To be run by `arun`, in a loop."""
        return self._habits.is_async

    def run(self) -> Outcome:
        """Run the task here and judge it."""
        if self._habits.straight and not self._around.is_watched():
            return self._straight()
        if self._habits.tracer is not None:
            return self._habits.tracer(self.request, lambda: self._safely(self._story()))
        return self._safely(self._story())

    async def arun(self) -> Outcome:
        """The same in a coroutine, for `async def` tasks and their handlers."""
        return await self._asafely(self._story())

    def tell_of_limit(self, *, hard: bool = False) -> None:
        """Log that it overran; for the thread that watches over it."""
        loglines.tell_overrun(self.name, self.id, self.time_limits[hard], hard=hard)

    def fail(self, error: BaseException) -> Outcome:
        """The outcome of a task that was ended from outside: its limit was over, it was terminated."""
        return self._safely(self._ended_from_outside(error))

    # --- the short way ------------------------------------------------------------------------------------

    def _straight(self) -> Outcome:
        """The story of a function that gives a value while nobody listens. Nearly all runs are that, and take
        half the time without the steps of the others; what takes another turn goes on in the pipeline."""
        made = self.request
        below = request.current()
        request.become(made)
        try:
            try:
                function = self.task if self._habits.calls_itself else self.task.run
                try:
                    self._started = self._around.clock()
                    self.running = True
                    value: Any = function(*(made.args or ()), **(made.kwargs or {}))
                    self.running = False
                except BaseException as error:
                    self.running = False
                    if concerns_the_worker(error):
                        raise
                    return self._safely(self._judge(error))
                if isinstance(value, _NOT_YET_A_VALUE):
                    return self._safely(self._story(self._awaited(value)))
                if made.steps is not None or made.chain or made.callbacks or made.follow_ups:
                    return self._safely(self._succeeded(value))
                try:
                    counts = counting.success(self._around.app, made, value) if made.in_chord else ()
                    result = self._endings.success(made, value)
                    return Outcome(self.claim.number, Fate.ACKED, result, (), (), counts)
                except Exception as error:
                    return self._safely(self._failed(as_encode_error(error)))
            finally:
                if printed.unfinished:
                    printed.finish_lines()
                request.become(below)
        except Exception as error:
            return self._internal_error(error)

    # --- the pipeline -------------------------------------------------------------------------------------
    # Written once for both ways of running: a step yields whatever has to be awaited.

    def _story(self, begun: Call | None = None) -> Story:
        """Of the whole run; or from where it has `begun` already, on the short way."""
        request.push(self.request)
        try:
            if begun is None:
                self._started = self._around.clock()
                if signals.task_prerun.receivers:
                    yield from self._prerun()
                if self._habits.track_started and self._around.save is not None:
                    self._save_started(self._around.save)
            try:
                value = yield from begun or self._call()
            except BaseException as raised:
                self.running = False
                error = as_raised(raised)
                if concerns_the_worker(error):
                    raise
                return (yield from self._judge(error))
            if isinstance(value, Retry):  # `return self.retry(throw=False)`
                return (yield from self._retried(value))
            return (yield from self._succeeded(value))
        finally:
            if printed.unfinished:
                printed.finish_lines()
            request.pop()

    def _prerun(self) -> Step:
        task, made = self.task, self.request
        yield from tell(
            signals.task_prerun, task, task_id=made.id, task=task, args=made.args, kwargs=made.kwargs
        )

    def _save_started(self, save: Callable[[Result], object]) -> None:
        result = self._endings.started(self.request, os.getpid())
        if result is None:
            return
        try:
            save(result)
        except Exception as error:
            # Nobody's work depends on it; the true result comes with the outcome.
            ends.warning("Task %s[%s]: its STARTED state was not stored: %s", self.name, self.id, error)

    def _call(self) -> Call:
        args: Any = self.request.args or ()
        kwargs: Any = self.request.kwargs or {}
        if self._habits.around is None:
            return (yield from self._called(args, kwargs))
        run = Run(self.task, self.request, args, kwargs)
        self.running = True  # a limit holds for hooks too
        value = yield from pass_through(
            self._habits.around, run, lambda run: self._called(run.args, run.kwargs)
        )
        self.running = False
        return value

    def _called(self, args: Any, kwargs: Any) -> Call:
        task = self.task
        if self._habits.before_start is not None:
            waiting = self._habits.before_start(self.id, args, kwargs)
            if waiting is not None and isawaitable(waiting):
                yield waiting
        if task.converter is not None:
            args, kwargs = task.converter(args, kwargs)
        function = task if self._habits.calls_itself else task.run
        self.running = True
        value = function(*args, **kwargs)
        return (yield from self._awaited(value))

    def _awaited(self, value: Any) -> Call:
        if type(value) is CoroutineType:
            self.running = True
            value = yield value
        self.running = False
        return value

    def _succeeded(self, value: Any) -> Story:
        made, habits = self.request, self._habits
        try:
            follow_ups = canvas.follow_ups(self._around.app, made, value)
            counts = counting.success(self._around.app, made, value) if made.in_chord else ()
            result = self._endings.success(made, value)
        except Exception as error:
            return (yield from self._failed(as_encode_error(error)))
        runtime = self._around.clock() - self._started
        if habits.on_success is not None:
            yield from self._tell(habits.on_success, value, made.id, made.args, made.kwargs)
        if signals.task_success.receivers:
            yield from tell(signals.task_success, habits.task, result=value, runtime=runtime)
        if ends.isEnabledFor(logging.INFO):
            self._log(
                logging.INFO, loglines.SUCCESS, runtime=runtime, return_value=safe_repr(value, self._longest)
            )
        if habits.after_return is not None:
            arguments = (states.SUCCESS, value, made.id, made.args, made.kwargs, None)
            yield from self._tell(habits.after_return, *arguments)
        if signals.task_postrun.receivers:
            yield from self._postrun(value, states.SUCCESS)
        return self._outcome(Fate.ACKED, result, follow_ups, counts=counts)

    def _judge(self, error: BaseException) -> Story:
        if isinstance(error, SoftTimeLimitExceeded | TimeLimitExceeded) and not error.args:
            # Threads and greenlets can only be hit by a class, which knows no limit.
            error.args = (self.time_limits[isinstance(error, TimeLimitExceeded)],)
        if isinstance(error, Retry):
            return (yield from self._retried(error))
        if isinstance(error, Terminated):
            return (yield from self._terminated(error))
        if isinstance(error, Ignore):
            return (yield from self._ignored(error))
        if isinstance(error, Reject):
            return (yield from self._rejected(error))
        return (yield from self._failed(error))

    def _retried(self, retry: Retry) -> Story:
        made, task = self.request, self.task
        info = explained(retry)
        cause = retry.exc or retry
        result = self._endings.retry(made, cause, retry)
        yield from self._tell(task.on_retry, retry.exc, made.id, made.args, made.kwargs, info)
        if signals.task_retry.receivers:
            yield from tell(signals.task_retry, task, request=made, reason=retry, einfo=info)
        if ends.isEnabledFor(logging.INFO):
            known = explained(retry.exc) if retry.exc is not None else None
            self._log(logging.INFO, loglines.RETRY, known, exc=str(retry))
        yield from self._postrun(retry, states.RETRY)
        return self._outcome(Fate.ACKED, result)

    def _ignored(self, ignore: Ignore) -> Story:
        self._log(logging.INFO, loglines.IGNORED, description="ignored")
        yield from self._postrun(ignore, states.IGNORED)
        # Whoever was to wait for its value must not wait for ever, unless another task will give it.
        counts = () if self.request.replaced else self._endings.aftermath(self.request, ignore)[1]
        return self._outcome(Fate.ACKED, counts=counts)

    def _rejected(self, reject: Reject) -> Story:
        made = self.request
        info = explained(reject)
        self._log(logging.WARNING, loglines.REJECTED, info, exc=str(reject))
        if signals.task_rejected.receivers:
            yield from tell(signals.task_rejected, self._around.hostname, message=made.message, exc=reject)
        if reject.requeue:
            yield from self._postrun(reject, states.REJECTED)
            # What was acknowledged when it began cannot be given back.
            return self._outcome(Fate.ACKED if self.early_ack else Fate.GIVEN_BACK)
        result = self._failure(reject, None)
        errbacks = canvas.error_follow_ups(self._around.app, made, reject)
        canvas.call_errbacks(self._around.app, made, reject, None)
        if signals.task_failure.receivers:
            yield from self._send_failure(reject, info)
        yield from self._postrun(reject, states.REJECTED)
        also, counts = self._endings.aftermath(made, reject)
        if self.early_ack:
            return self._outcome(Fate.ACKED, result, errbacks, "", also, counts)
        return self._outcome(Fate.DEAD, result, errbacks, str(reject), also, counts)

    def _failed(self, error: BaseException) -> Story:
        made, task = self.request, self.task
        info = explained(error)
        result = self._failure(error, info.traceback)
        errbacks = canvas.error_follow_ups(self._around.app, made, error)
        canvas.call_errbacks(self._around.app, made, error, info.traceback)
        yield from self._tell(task.on_failure, error, made.id, made.args, made.kwargs, info)
        if signals.task_failure.receivers:
            yield from self._send_failure(error, info)
        self._log_failure(error, info)
        yield from self._tell(task.after_return, states.FAILURE, error, made.id, made.args, made.kwargs, info)
        yield from self._postrun(error, states.FAILURE)
        also, counts = self._endings.aftermath(made, error)
        if self._acknowledges(error):
            return self._outcome(Fate.ACKED, result, errbacks, "", also, counts)
        reason = f"{type(error).__name__}: {text_of(error)}"
        return self._outcome(Fate.DEAD, result, errbacks, reason, also, counts)

    def _ended_from_outside(self, error: BaseException) -> Story:
        self.running = False
        if isinstance(error, Terminated | TaskRevokedError):
            return (yield from self._terminated(error))
        request.push(self.request)
        try:
            return (yield from self._failed(error))
        finally:
            request.pop()

    def _terminated(self, error: BaseException) -> Story:
        made = self.request
        revoked = TaskRevokedError("terminated") if isinstance(error, Terminated) else error
        if signals.task_revoked.receivers:
            signum = error.args[0] if error.args else None
            yield from tell(
                signals.task_revoked, self.task, request=made, terminated=True, signum=signum, expired=False
            )
        loglines.tell_revoked(self.name, self.id)
        result = self._endings.failure(made, revoked, status=states.REVOKED)
        also, counts = self._endings.aftermath(made, revoked, states.REVOKED)
        return self._outcome(Fate.ACKED, result, also=also, counts=counts)

    # --- what the steps say and hand back -----------------------------------------------------------------

    def _outcome(
        self,
        fate: Fate,
        result: Result | None = None,
        follow_ups: tuple[Message, ...] = (),
        reason: str = "",
        also: tuple[Result, ...] = (),
        counts: tuple[Count, ...] = (),
    ) -> Outcome:
        if self.request.follow_ups:
            follow_ups = (*self.request.follow_ups, *follow_ups)
        name = ""
        if reason:
            name, reason = self.id, storable(reason)
        return Outcome(self.claim.number, fate, result, follow_ups, also, counts, reason=reason, id=name)

    def _failure(self, error: BaseException, traceback: str | None) -> Result | None:
        return self._endings.failure(
            self.request, error, traceback, even_if_ignored=bool(self.task.store_errors_even_if_ignored)
        )

    def _acknowledges(self, error: BaseException) -> bool:
        """A failure ends the message like a success, unless the task says that it is to be kept."""
        task = self.task
        if self.early_ack:
            return True
        of_its_kind = task.acks_on_timeout if isinstance(error, TimeLimitExceeded) else task.acks_on_failure
        return bool(task.acks_on_failure_or_timeout if of_its_kind is None else of_its_kind)

    def _postrun(self, value: Any, state: str) -> Step:
        if signals.task_postrun.receivers:
            made = self.request
            yield from tell(
                signals.task_postrun,
                self.task,
                task_id=made.id,
                task=self.task,
                args=made.args,
                kwargs=made.kwargs,
                retval=value,
                state=state,
            )

    def _send_failure(self, error: BaseException, info: ExceptionInfo) -> Step:
        made = self.request
        yield from tell(
            signals.task_failure,
            self.task,
            task_id=made.id,
            exception=error,
            args=made.args,
            kwargs=made.kwargs,
            traceback=info.tb,
            einfo=info,
        )

    def _tell(self, handler: Callable[..., Any], *arguments: Any) -> Step:
        """Call a handler of the task. It comes after the fact, so its errors are told and change nothing."""
        try:
            waiting = handler(*arguments)
            if waiting is not None and isawaitable(waiting):
                yield waiting
        except Exception as error:
            name = getattr(handler, "__name__", "handler")
            description = f"{name} handler raised"
            self._log(
                logging.ERROR,
                loglines.FAILURE,
                explained(error),
                description=description,
                exc=safe_repr(error),
            )

    @property
    def _longest(self) -> int:
        return self.task.resultrepr_maxsize

    def _log_failure(self, error: BaseException, info: ExceptionInfo) -> None:
        throws: Any = self.task.throws
        expected = throws and isinstance(error, throws if isinstance(throws, type) else tuple(throws))
        told = safe_repr(error)
        if expected:
            self._log(logging.INFO, loglines.FAILURE, description="raised expected", exc=told)
        else:
            self._log(logging.ERROR, loglines.FAILURE, info, description="raised unexpected", exc=told)

    def _log(self, level: int, line: str, info: ExceptionInfo | None = None, **fields: Any) -> None:
        if not ends.isEnabledFor(level):
            return
        data = {
            "id": self.id,
            "name": self.name,
            "args": safe_repr(self.request.args),
            "kwargs": safe_repr(self.request.kwargs),
            "hostname": self._around.hostname,
            **fields,
        }
        loglines.tell_end(level, line, data, info)

    # --- the two ways of running --------------------------------------------------------------------------

    def _safely(self, story: Story) -> Outcome:
        try:
            return drive(story)
        except Exception as error:
            return self._internal_error(error)

    async def _asafely(self, story: Story) -> Outcome:
        try:
            return await adrive(story, self._meaning)
        except Exception as error:
            return self._internal_error(error)

    def _meaning(self, error: BaseException) -> BaseException:
        """What a cancelled coroutine was cancelled for."""
        interruption, self.interruption = self.interruption, None
        return error if interruption is None else meaning(error, interruption)

    def _internal_error(self, error: Exception) -> Outcome:
        """Our own fault, or that of an object which breaks all who touch it. The message is kept."""
        info = explained(error, internal=True)
        self._log(
            logging.CRITICAL,
            loglines.INTERNAL_ERROR,
            info,
            description="INTERNAL ERROR",
            exc=safe_repr(error),
            internal=True,
        )
        if signals.task_internal_error.receivers:
            made = self.request
            signals.task_internal_error.send(
                self.task,
                task_id=made.id,
                args=made.args,
                kwargs=made.kwargs,
                request=made,
                exception=error,
                traceback=info.tb,
                einfo=info,
            )
        reason = f"internal error of the worker: {safe_repr(error)}"
        also: tuple[Result, ...] = ()
        counts: tuple[Count, ...] = ()
        try:
            result = self._failure(error, info.traceback)
            also, counts = self._endings.aftermath(self.request, error)
        except Exception:
            result = None
        return self._outcome(Fate.DEAD, result, (), reason, also, counts)


def _either(said: Sequence[float | None], otherwise: Limits) -> Limits:
    """The limits of a call, which says (hard, soft) in the order of the wire."""
    hard, soft = said
    return otherwise[0] if soft is None else soft, otherwise[1] if hard is None else hard
