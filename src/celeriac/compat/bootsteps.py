"""`celery.bootsteps` for steps that start and stop something beside a worker, in its main process.

    class LivenessProbe(bootsteps.StartStopStep):
        requires = {"celery.worker.components:Timer"}

        def start(self, worker):
            self.beat = worker.timer.call_repeatedly(10.0, Path("/tmp/alive").touch)

        def stop(self, worker):
            Path("/tmp/alive").unlink(missing_ok=True)

    app.steps["worker"].add(LivenessProbe)

Our workers are not put together from steps: these hear the worker's signals. They come in the order of their
names, those that are `last` behind, whatever they require; and one that takes long holds the whole worker up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from celeriac import signals
from celeriac.app import Celery

__all__ = ["ConsumerStep", "StartStopStep", "Step", "Steps", "Timer"]

_log = logging.getLogger("celery.bootsteps")


class Step:
    """Made when the worker begins; `create` gives what it starts, if that is not itself."""

    name: str | None = None
    label: str | None = None
    conditional = False
    requires: Iterable[Any] = ()
    last = False
    enabled = True
    obj: Any = None

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        """`kwargs` is what the worker was asked to be, the app's own options too."""

    def include_if(self, parent: Any) -> bool:
        """Whether it is wanted."""
        return self.enabled

    def create(self, parent: Any) -> Any:
        """What is to be started and stopped; None is the step itself."""


class StartStopStep(Step):
    """Starts when the worker is ready, stops when it ends."""

    def start(self, parent: Any) -> Any:
        return self.obj.start() if self.obj is not None else None

    def stop(self, parent: Any) -> Any:
        return self.obj.stop() if self.obj is not None else None

    def terminate(self, parent: Any) -> Any:
        return self.stop(parent)


class ConsumerStep(StartStopStep):
    """Refused: nobody but the worker takes messages."""

    def __init_subclass__(cls) -> None:
        raise NotImplementedError(
            f"{cls.__name__} is a ConsumerStep, which would take messages of its own from the broker; a "
            "worker here claims tasks alone. Send tasks, or consume by kombu in a process of its own"
        )


class Steps(dict[str, set[type[Step]]]):
    """`app.steps`: classes of steps, for "worker" and "consumer", which are one here."""

    def __init__(self, app: Celery) -> None:
        super().__init__(worker=set(), consumer=set())
        self._app = app
        self._running: list[Any] = []
        signals.worker_init.connect(self._make)
        signals.worker_ready.connect(self._start)
        signals.worker_shutdown.connect(self._stop)

    def _make(self, sender: Any, **_: Any) -> None:
        if sender.app is not self._app:
            return
        sender.timer = Timer()
        chosen: Mapping[str, Any] = sender.said()
        for kind in sorted(self["worker"] | self["consumer"], key=lambda kind: (kind.last, kind.__name__)):
            step = kind(sender, **chosen)
            if step.include_if(sender):
                step.obj = step.create(sender) or step.obj
                self._running.append(step)

    def _start(self, sender: Any, **_: Any) -> None:
        self._each(sender, "start", self._running)

    def _stop(self, sender: Any, **_: Any) -> None:
        self._each(sender, "stop", reversed(self._running))
        if sender.app is self._app:
            sender.timer.stop()
            self._running.clear()

    def _each(self, sender: Any, what: str, steps: Iterable[Any]) -> None:
        if sender.app is not self._app:
            return
        for step in steps:
            try:
                getattr(step, what, lambda _: None)(sender)
            except Exception:
                _log.exception("step %s could not %s", type(step).__qualname__, what)


class Timer:
    """`worker.timer`: calls when the worker has renewed its lease, so what it calls shows that it lives.

    That is every `worker_lease` / 3 seconds (10), and not more often than was asked for.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        signals.heartbeat_sent.connect(self._look)

    def call_repeatedly(
        self,
        secs: float,
        fun: Callable[..., object],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Entry:
        """Now and again, until the entry is cancelled."""
        return self._add(Entry(secs, fun, args, kwargs, repeats=True))

    def call_after(
        self,
        secs: float,
        fun: Callable[..., object],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Entry:
        """Once."""
        return self._add(Entry(secs, fun, args, kwargs, repeats=False))

    def stop(self) -> None:
        signals.heartbeat_sent.disconnect(self._look)
        self._entries.clear()

    def _add(self, entry: Entry) -> Entry:
        self._entries.append(entry)
        return entry

    def _look(self, **_: Any) -> None:
        now = time.monotonic()
        for entry in list(self._entries):
            entry.call_if_due(now)
        self._entries = [entry for entry in self._entries if not entry.cancelled]


class Entry:
    """Something to be called when it is due."""

    def __init__(
        self,
        secs: float,
        fun: Callable[..., object],
        args: Iterable[Any],
        kwargs: Mapping[str, Any] | None,
        *,
        repeats: bool,
    ) -> None:
        self.cancelled = False
        self._call = partial(fun, *args, **(kwargs or {}))
        self._secs = secs
        self._due = time.monotonic() + secs
        self._repeats = repeats

    def cancel(self) -> None:
        self.cancelled = True

    def call_if_due(self, now: float) -> None:
        if self.cancelled or now < self._due:
            return
        self._due = now + self._secs
        self.cancelled = not self._repeats
        try:
            self._call()
        except Exception:
            _log.exception("what worker.timer called failed")
