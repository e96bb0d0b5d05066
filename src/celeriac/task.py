"""What the user declares: a function (or class) that can be called elsewhere, later, or again."""

from __future__ import annotations

import functools
import inspect
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

from celeriac import aio, exceptions, signals, states
from celeriac import request as requests
from celeriac.arguments import Parameters
from celeriac.canvas import Signature, TaskSignature, chunks, messages_of, xmap, xstarmap
from celeriac.canvas.adding import add_to_chord
from celeriac.canvas.replacing import replacement_of
from celeriac.converting import Converter, converter_of
from celeriac.current import App, get_current_app
from celeriac.eager import run_eagerly
from celeriac.exceptions import EncodeError, Ignore, MaxRetriesExceededError, Reject, Replaced, Retry
from celeriac.message import STREAM_MARK, Message, Result
from celeriac.overridden import Unsent
from celeriac.request import Request
from celeriac.result import AsyncResult, EagerResult
from celeriac.retrying import errors_named, retrying
from celeriac.sending import Constants, batches, compose, must_fit, send_through, told_before
from celeriac.streaming import streaming, yields
from celeriac.wire.body import there_and_back
from celeriac.wire.ids import new_id
from celeriac.wire.result import encode_result, too_large

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds between two words on how far a task is.
PROGRESS_PAUSE = 0.05


class _FromSetting:
    """An attribute that the app's settings decide until the task says otherwise."""

    def __init__(self, setting: str) -> None:
        self.setting = setting

    def __get__(self, task: Task[Any, Any] | None, kind: type) -> Any:
        if task is None:
            return None
        app = task._app if task._app is not None else get_current_app()
        # The settings keep their values in their own dict; this is read for every message.
        return app.conf.__dict__[self.setting]


def _from_setting(name: str) -> Any:
    return _FromSetting(name)


class _Backend:
    """The backend of the app, unless a task is given another; for who asks."""

    def __get__(self, task: Task[Any, Any] | None, kind: type) -> Any:
        return None if task is None else task.app.backend


class Task(Generic[P, R]):
    """A function with a name that workers know.

    @app.task(max_retries=5)
    def add(x: int, y: int) -> int: ...

    add.delay(2, 2)                             # elsewhere, soon
    add.apply_async((2, 2), countdown=60)       # elsewhere, with options
    add(2, 2)                                   # here and now, as any function
    """

    name: str = None  # type: ignore[assignment]
    #: Check arguments at the caller; None does what the app's strict_typing says.
    typing: bool | None = None
    max_retries: int | None = 3
    #: Seconds.
    default_retry_delay: float = 180
    rate_limit: str | float | None = _from_setting("task_default_rate_limit")
    ignore_result: bool = _from_setting("task_ignore_result")
    serializer: str = _from_setting("task_serializer")
    store_errors_even_if_ignored: bool = _from_setting("task_store_errors_even_if_ignored")
    store_eager_result: bool = _from_setting("task_store_eager_result")
    track_started: bool = _from_setting("task_track_started")
    acks_late: bool = _from_setting("task_acks_late")
    acks_on_failure_or_timeout: bool = _from_setting("task_acks_on_failure_or_timeout")
    acks_on_failure: bool | None = _from_setting("task_acks_on_failure")
    acks_on_timeout: bool | None = _from_setting("task_acks_on_timeout")
    #: How many of the parts that it yields are kept for who reads them late.
    stream_buffer: int = _from_setting("task_stream_buffer")
    reject_on_worker_lost: bool | None = _from_setting("task_reject_on_worker_lost")
    retry_on_worker_lost: bool = _from_setting("task_retry_on_worker_lost")
    trail: bool = True
    send_events: bool = True
    #: Errors that are no surprise: logged without traceback.
    throws: tuple[type[BaseException], ...] = ()
    abstract: bool = True
    resultrepr_maxsize: int = 1024
    #: Its results in Celery's words.
    backend: Any = _Backend()

    #: How it is called when the call says nothing else.
    queue: Any = None
    exchange: Any = None
    routing_key: str | None = None
    priority: int | None = None
    expires: float | datetime | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    compression: str | None = None

    #: Errors after which it is tried again by itself.
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    #: Options of retry() for these.
    retry_kwargs: Mapping[str, Any] = {}
    #: Seconds before the first retry, doubled for each one after; True is 1.
    retry_backoff: int | float | bool = False
    #: Seconds; no delay is longer.
    retry_backoff_max: float = 600
    #: Delays are random between 0 and what they would be, so that those who failed together come back apart.
    retry_jitter: bool = True

    MaxRetriesExceededError: type[Exception] = exceptions.MaxRetriesExceededError
    OperationalError: type[Exception] = exceptions.OperationalError

    _app: Any = None
    _constants: Constants | None = None
    #: A class of its own overrides `AsyncResult`, so that is what its calls give.
    _has_own_results: bool = False
    #: How often one of its attributes was set; whoever has looked some up asks whether they still hold.
    _changes: int = 0

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the task does; a class based task defines it."""
        raise NotImplementedError(
            f"task {self.name} defines no run(): what it does stands there, as in `def run(self, x): ...`"
        )

    # --- calling ------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now, as the function that it is."""
        request = requests.current()
        if _enters_first(request, self.name):
            return cast(R, self.run(*args, **kwargs))
        requests.push(Request(task=self.name, args=args, kwargs=kwargs))
        try:
            return cast(R, self.run(*args, **kwargs))
        except Replaced as replaced:
            return cast(R, replaced.value)
        finally:
            requests.pop()

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send it to a worker."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: object = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send it to a worker, with options of this call.

        queue, exchange, routing_key, priority (0 goes first); countdown (seconds), eta (datetime), expires
        (either); time_limit, soft_time_limit (seconds); serializer, compression, headers, ignore_result;
        link, link_error (signatures to call afterwards). TypeError if the arguments do not fit the function.
        """
        given: Sequence[Any] = args if isinstance(args, tuple | list) else _as_arguments(args)
        if kwargs is not None and type(kwargs) is not dict and not isinstance(kwargs, Mapping):
            raise TypeError(f"kwargs must be a dict of arguments by name, not {type(kwargs).__name__}")
        named = kwargs or {}
        app = self._app if self._app is not None else self.app
        if app.strict_typing if self.typing is None else self.typing:
            self._parameters.check(self.name, given, named)
        if task_id is not None:
            options["task_id"] = task_id
        if link is not None:
            options["link"] = link
        if link_error is not None:
            options["link_error"] = link_error
        if shadow is not None:
            options["shadow"] = shadow
        if app.conf.task_always_eager:
            return self._apply_in_place(given, named, options)
        if app.passage is not None:
            if app.awaits_base:
                app.finalize(auto=True)  # and this may be another class's method now
                return self.apply_async(args, kwargs, **options)
            if app.sends_itself:
                result: AsyncResult[R] = app.send_task(self.name, given, named, task_type=self, **options)
                return result
            message = send_through(app.passage, app, self.name, given, named, options, self)
        else:
            message = compose(app, self.name, given, named, options, self)
            app.send(message, self.name)
        return self._sent(app, message.id, options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """`delay` for coroutines: the loop goes on while the message is sent."""
        return await aio.in_thread(self.apply_async, args, kwargs)

    async def aapply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R]:
        """`apply_async` for coroutines: the loop goes on while the message is sent."""
        return await aio.in_thread(self.apply_async, args, kwargs, **options)

    def apply_many(self, calls: Iterable[Sequence[Any]], **options: Any) -> list[AsyncResult[R]]:
        """Send it once for each tuple of arguments, hundreds in one exchange; options hold for all of them.

        add.apply_many((n, n) for n in range(10_000))
        """
        if options.get("task_id") is not None:
            raise TypeError("apply_many() sends many tasks: one task_id cannot be theirs")
        app = self.app
        if app.conf.task_always_eager:
            return [self.apply_async(args, **options) for args in calls]
        results: list[AsyncResult[R]] = []
        app.publish_all(batches(self._composed(calls, options, results)))
        parent = requests.current()
        if parent is not None and self.trail and options.get("add_to_parent", True):
            parent.children += results
        return results

    def apply(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int = 0,
        throw: bool | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run it here and now, with all that belongs to a run in a worker: retries, handlers, callbacks."""
        self.app.finalize(auto=True)
        return cast(
            "EagerResult[R]",
            run_eagerly(
                self,
                _as_arguments(args),
                dict(kwargs or {}),
                task_id=task_id or new_id(),
                retries=retries,
                throw=self.app.conf.task_eager_propagates if throw is None else throw,
                link=link,
                link_error=link_error,
                options=options,
            ),
        )

    def signature(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> TaskSignature[R]:
        """The call as a value. Other names: `s` takes the arguments as they are, `si` makes it immutable."""
        immutable = bool(options.pop("immutable", False))
        return TaskSignature(
            self, args, kwargs, options.pop("options", None), immutable=immutable, app=self._app, **options
        )

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> TaskSignature[R]:
        """The call as a value; it takes the value of a task before it in front."""
        return TaskSignature(self, args, kwargs, app=self._app)

    def si(self, *args: Any, **kwargs: Any) -> TaskSignature[R]:
        """The call as a value that nothing is added to."""
        return self.signature(args, kwargs, immutable=True)

    def map(self, it: Iterable[Any]) -> Signature:
        """A call that calls this for every item, in one message."""
        return xmap(self.s(), it, app=self._app)

    def starmap(self, it: Iterable[Any]) -> Signature:
        """A call that calls this for every tuple of arguments, in one message."""
        return xstarmap(self.s(), it, app=self._app)

    def chunks(self, it: Iterable[Any], n: int) -> chunks:
        """Calls for many tuples of arguments, `n` of them in one message."""
        return chunks(self.s(), it, n, app=self._app)

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """TypeError if these arguments do not fit the function, where calls are checked at all."""
        if self.app.strict_typing if self.typing is None else self.typing:
            self._parameters.check(self.name, args, kwargs)

    # --- for the running task -----------------------------------------------------------------------------

    @property
    def request(self) -> Request:
        """This run: its id, its arguments, how often it was tried."""
        request = requests.current()
        while request is not None:
            if request.task == self.name:
                return request
            request = request._below
        return self._no_request

    def retry(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Run this again later, under the same id: raises Retry, so nothing after it is reached.

            except ConnectionError as error:
                raise self.retry(exc=error, countdown=30)

        When it was tried as often as it may, `exc` (or MaxRetriesExceededError) is raised in its place.
        """
        request = self.request
        if max_retries is not None:
            request.max_retries_said = max_retries
        limit = self.max_retries if max_retries is None else max_retries
        if request.called_directly:
            # No worker would run it again: the caller gets what went wrong.
            _raise_with_cause(exc or Retry("Task can be retried", None))
        if eta is None and countdown is None:
            countdown = self.default_retry_delay
        signature = self.signature_from_request(
            request, args, kwargs, countdown=countdown, eta=eta, retries=request.retries + 1, **options
        )
        if limit is not None and request.retries >= limit:
            if exc is not None:
                _raise_with_cause(exc)
            error = MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{signature.args} kwargs:{signature.kwargs}",
                task_args=signature.args,
                task_kwargs=signature.kwargs,
            )
            runs = request.retries + 1
            error.add_note(
                f"It has run {runs} time{'' if runs == 1 else 's'}; max_retries is {limit}, None has no end."
            )
            raise error
        retry = Retry(
            exc=exc, when=eta if countdown is None else countdown, is_eager=request.is_eager, sig=signature
        )
        if not request.is_eager:
            try:
                request.follow_ups.append(self.app.message_for(signature))
            except EncodeError as error:
                raise Reject(error, requeue=False) from error
        if throw:
            raise retry
        return retry

    def replace(self, sig: Signature) -> Any:
        """End this run and do `sig` in its place: under its id, with what was to follow it, and in its chord.

        raise self.replace(resize.s(path) | upload.s())
        """
        request = self.request
        if request.is_eager or request.called_directly:
            alone = replacement_of(self.app, request, sig, followed=False)
            raise Replaced((alone.apply() if request.is_eager else alone.apply_async()).get())
        replacement = replacement_of(self.app, request, sig)
        messages, _ = messages_of(self.app, replacement)
        request.follow_ups += messages
        request.replaced = True
        return self.on_replace(replacement)

    def add_to_chord(self, sig: Signature, lazy: bool = False) -> Any:
        """Inside a task of a chord's header: one more member, sent at once. The body waits for its value too,
        which comes behind those of the others."""
        if lazy:
            raise ValueError(
                "add_to_chord sends at once: call it when the task is to be sent, without lazy=True"
            )
        return add_to_chord(self.app, self.request, sig)

    def signature_from_request(
        self,
        request: Request | None = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **options: Any,
    ) -> Signature:
        """The call that would run this request again."""
        request = request or self.request
        again = request.as_execution_options()
        again["queue"] = queue or request.queue or request.delivery_info.get("routing_key")
        return self.signature(
            request.args if args is None else args,
            request.kwargs if kwargs is None else kwargs,
            options={**again, **options},
        )

    subtask_from_request = signature_from_request

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **_named: Any
    ) -> None:
        """Tell those who ask how far it is: any word as the state, anything as `result.info`.

        The end of a task stays what it is: a state on the way does not take its place, nor does anything that
        a run tells of itself whose worker was thought dead and whose message was given to another.
        """
        app, request = self.app, self.request
        task_id = task_id or request.id
        if not task_id or not state or app.results is None:
            return
        payload = encode_result(
            task_id=task_id,
            status=state,
            result=meta,
            date_done=None,
            group_id=request.group,
            parent_id=request.parent_id,
            serializer=app.conf.result_serializer,
        )
        if len(payload) > app.conf.task_max_bytes:
            raise too_large(task_id, len(payload), app.conf.task_max_bytes)
        app.results.update(
            Result(task_id, payload, app.conf.seconds("result_expires") or None),
            _never if state in states.READY_STATES else app.is_end,
            app.owner if task_id == request.id else "",
        )

    def progress(self, current: float, total: float | None = None, message: str | None = None) -> None:
        """Tell those who follow how far this run is: `result.progress()`, or the state PROGRESS.

        Call it as often as you like: what comes within 50 ms of the last one is left out, unless it says that
        all is done.
        """
        request = self.request
        now = time.monotonic()
        if now - request.told_progress < PROGRESS_PAUSE and (total is None or current < total):
            return
        request.told_progress = now
        self.update_state(
            state=states.PROGRESS, meta={"current": current, "total": total, "message": message}
        )

    def streamed(self) -> int:
        """How many parts of this task's stream are there already, from runs before this one: a generator that
        can go on where the last run stopped need not yield them again."""
        results, task_id = self.app.results, self.request.id
        (last,) = (None,) if results is None or not task_id else results.load([STREAM_MARK + task_id])
        return int(last or 0)

    def send_event(self, type_: str, retry: bool = True, retry_policy: object = None, **fields: Any) -> None:
        """Tell monitors of something in this run: `self.send_event("task-packed", parcels=3)`."""
        app: Any = self.app
        with app.events.default_dispatcher(hostname=self.request.hostname) as dispatcher:
            dispatcher.send(type_, uuid=self.request.id, **fields)

    def add_trail(self, result: AsyncResult[Any]) -> AsyncResult[Any]:
        """Note a result as one of this run's children."""
        if self.trail:
            self.request.children.append(result)
        return result

    def push_request(self, **fields: Any) -> None:
        """Let it seem as if this request ran; for tests."""
        requests.push(Request(**{"task": self.name, **fields}))

    def pop_request(self) -> None:
        """End what push_request began."""
        requests.pop()

    # --- for subclasses to fill ---------------------------------------------------------------------------

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called before run()."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called after it ended well."""

    def on_retry(self, exc: BaseException | None, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called when it is to run again; `exc` is what retry() was given, if anything."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called after it failed."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called after either end."""

    def on_replace(self, sig: Signature) -> Any:
        """Called by replace() when another call has taken its place."""
        raise Ignore("Replaced by new task")

    def shadow_name(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
    ) -> str | None:
        """Another name for logs and monitors, for this call."""
        return None

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Called when the task is registered in an app."""

    # --- what others ask of it ----------------------------------------------------------------------------

    @property
    def app(self) -> App:
        """The app that it was declared for, else the current one."""
        app: App = self._app if self._app is not None else get_current_app()
        return app

    def _get_app(self) -> App:
        # A private name of Celery's that packages with task classes of their own call all the same.
        return self.app

    @property
    def is_async(self) -> bool:
        """run() is a coroutine function, or an asynchronous generator."""
        return inspect.iscoroutinefunction(self.run) or getattr(self.run, "__awaited__", False)

    @property
    def calls_itself(self) -> bool:
        """A class of its own overrides `__call__`, so it wants to be called, not only run."""
        return type(self).__call__ not in (Task.__call__, AsyncTask.__call__)

    @property
    def sends_itself(self) -> bool:
        """A class of its own, or a tracer, overrides `apply_async`: each of its calls wants to go there."""
        return type(self).apply_async is not _APPLY_ASYNC

    @functools.cached_property
    def converter(self) -> Converter | None:
        """Turns decoded arguments into what the annotations of run() name; None if there is nothing to do."""
        return converter_of(self.run)

    @property
    def is_function(self) -> bool:
        """run() is a function that is not bound to the task."""
        return isinstance(inspect.getattr_static(type(self), "run"), staticmethod)

    def takes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether run() can be called with these arguments."""
        try:
            self._parameters.check(self.name, args, kwargs)
        except TypeError:
            return False
        return True

    def ignores(self, app: App, options: Mapping[str, Any]) -> bool:
        """Whether nobody will store the result of this call."""
        said = options.get("ignore_result") if options else None
        return bool(self.constants(app).ignore_result if said is None else said)

    def constants(self, app: App) -> Constants:
        """What all its calls through this app have in common, until a setting or an attribute changes."""
        known = self._constants
        if known is None or known.app is not app or known.version != app.conf.version:
            if app.conf.task_annotations:
                app.finalize(auto=True)  # it may change what is read here
            options = {name: getattr(self, name) for name in _CALL_OPTIONS}
            options = {name: value for name, value in options.items() if value is not None}
            if type(self).shadow_name is not Task.shadow_name:
                options["shadow"] = None  # to be asked for, at each call
            known = Constants(app, app.conf.version, self.serializer, bool(self.ignore_result), options)
            self.__dict__["_constants"] = known
        return known

    def bind(self, app: Any) -> Task[P, R]:
        """Belong to this app; done once, by registering it."""
        self._app = app
        self.autoretry_for = errors_named(self.autoretry_for)
        self.dont_autoretry_for = errors_named(self.dont_autoretry_for)
        self.throws = errors_named(self.throws)
        if yields(self.run):
            self.__dict__["run"] = streaming(self, self.run)
        if self.autoretry_for and not hasattr(self.run, "__autoretry__"):
            self.__dict__["run"] = retrying(self, self.run)
        type(self).on_bound(app)
        return self

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._has_own_results = cls.AsyncResult is not Task.AsyncResult
        for name in _SETTING_ATTRIBUTES:
            # `None` in a class means: whatever the settings say.
            if cls.__dict__.get(name, cls) is None:
                delattr(cls, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value
        self.__dict__["_constants"] = None
        self.__dict__["_changes"] = self._changes + 1

    def __repr__(self) -> str:
        return f"<@task: {self.name} of {getattr(self._app, 'main', None) or 'no app'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _task_named, (self.name, type(self).__module__)

    # A task is one thing in its app: who copies what holds one means the task itself.
    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    # --- inside -------------------------------------------------------------------------------------------

    @functools.cached_property
    def _parameters(self) -> Parameters:
        return Parameters(self.run)

    @functools.cached_property
    def _no_request(self) -> Request:
        return Request()

    def _sent(self, app: App, task_id: str, options: Mapping[str, Any]) -> AsyncResult[R]:
        result: AsyncResult[R] = (
            self.AsyncResult(task_id) if self._has_own_results else AsyncResult(task_id, None, self.name, app)
        )
        result.ignored = self.ignores(app, options)
        parent = requests.current()
        if parent is not None and self.trail and options.get("add_to_parent", True):
            parent.children.append(result)
        return result

    def _composed(
        self, calls: Iterable[Sequence[Any]], options: Mapping[str, Any], results: list[AsyncResult[R]]
    ) -> Iterator[Message]:
        """The message of each call; its result is added to `results`."""
        app, name = self.app, self.name
        checked = app.strict_typing if self.typing is None else self.typing
        check, ignored = self._parameters.check, self.ignores(app, options)
        for args in calls:
            if checked:
                check(name, args, {})
            try:
                message = compose(app, name, args, {}, options, self)
            except Unsent:
                continue
            if signals.before_task_publish.receivers:
                message = must_fit(app, told_before(message, name))
            result: AsyncResult[R] = AsyncResult(message.id, None, name, app)
            result.ignored = ignored
            results.append(result)
            yield message

    def _apply_in_place(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
    ) -> AsyncResult[R]:
        """For task_always_eager: once through the serializer, so that what could not travel is found out."""
        serializer = options.pop("serializer", None) or self.serializer
        args, kwargs = there_and_back(self.name, list(args), dict(kwargs), serializer)
        for name in ("producer", "countdown", "eta", "queue"):
            options.pop(name, None)
        return self.apply(args, kwargs, **options)

    # The last one here: below it the name would mean this method.
    def AsyncResult(self, task_id: str, **options: Any) -> AsyncResult[R]:
        """The result of a call of this task."""
        return AsyncResult(task_id, task_name=self.name, app=self.app, **options)


#: As it is before anybody puts another one in its place.
_APPLY_ASYNC = Task.apply_async
#: Attributes that settings decide.
_SETTING_ATTRIBUTES = tuple(name for name, value in vars(Task).items() if isinstance(value, _FromSetting))


class AsyncTask(Task[P, R]):
    """A task of a coroutine function: called here it gives a coroutine, sent away its value."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Run it here, when awaited."""
        request = requests.current()
        if _enters_first(request, self.name):
            return cast(R, await self.run(*args, **kwargs))
        requests.push(Request(task=self.name, args=args, kwargs=kwargs))
        try:
            return cast(R, await self.run(*args, **kwargs))
        except Replaced as replaced:
            return cast(R, replaced.value)
        finally:
            requests.pop()


#: Attributes that are options of every call.
_CALL_OPTIONS = frozenset(("expires", "time_limit", "soft_time_limit", "compression"))


def _enters_first(request: Request | None, name: str) -> bool:
    """A worker calls a task whose class overrides `__call__`; the request for that call is there already."""
    if request is None or request.called_directly or request._entered or request.task != name:
        return False
    request._entered = True
    return True


def _raise_with_cause(error: BaseException) -> None:
    """Raise it, with what is being handled as its cause."""
    handled = sys.exc_info()[1]
    if handled is None or handled is error:
        raise error
    raise error from handled


def _as_arguments(args: Iterable[Any] | None) -> Sequence[Any]:
    if args is None:
        return ()
    if isinstance(args, str | bytes | Mapping) or not isinstance(args, Iterable):
        raise TypeError(f"args must be a tuple or list of arguments, not {type(args).__name__}")
    return args if isinstance(args, tuple | list) else tuple(args)


def _task_named(name: str, module: str) -> Any:
    if name not in get_current_app().tasks:
        import_module(module)
    return get_current_app().tasks[name]


def _never(_end: bytes) -> bool:
    return False
