"""Cameras: an object that is shown the state of the cluster every now and then, to store what it likes.

class Camera(Polaroid):
    clear_after = True

    def on_shutter(self, state):
        for worker in state.alive_workers(): ...

celeriac events -c proj.monitoring.Camera --frequency 10
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Self

from celeriac.conversation import Speaker
from celeriac.events.receiver import EventReceiver
from celeriac.events.state import State
from celeriac.exceptions import ImproperlyConfigured
from celeriac.rates import interval_of
from celeriac.signals import Signal

logger = logging.getLogger("celery.evcam")


class Polaroid:
    """Takes a picture of the state every `freq` seconds, and cleans up every `cleanup_freq`."""

    #: Whether the state forgets what was seen in each picture.
    clear_after = False
    timer: object = None

    def __init__(
        self,
        state: State,
        freq: float = 1.0,
        maxrate: str | float | None = None,
        cleanup_freq: float = 3600.0,
        timer: object = None,
        app: Speaker | None = None,
    ) -> None:
        self.app = app
        self.state = state
        self.freq = freq
        self.cleanup_freq = cleanup_freq
        self.maxrate = maxrate
        self.timer = timer or self.timer
        self.shutter_signal = Signal(("state",), name="shutter_signal")
        self.cleanup_signal = Signal(name="cleanup_signal")
        self._interval = interval_of(maxrate) or 0.0
        self._next = 0.0
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def install(self) -> None:
        """Begin."""
        self._over.clear()
        for pause, take in ((self.freq, self.capture), (self.cleanup_freq, self.cleanup)):
            thread = threading.Thread(
                target=self._every, args=(pause, take), name="celeriac-camera", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def on_shutter(self, state: State) -> None:
        """For subclasses: look at it, nothing changes meanwhile."""

    def on_cleanup(self) -> None:
        """For subclasses."""

    def shutter(self) -> None:
        """One picture, unless `maxrate` forbids it."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._interval
        self.shutter_signal.send(self.state)
        self.on_shutter(self.state)

    def capture(self) -> None:
        """One picture."""
        with self.state.freeze_while():
            self.shutter()
            if self.clear_after:
                self.state.clear(ready=False)

    def cleanup(self) -> None:
        self.cleanup_signal.send(self.state)
        self.on_cleanup()

    def cancel(self) -> None:
        """End; may be called twice."""
        self._over.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(1.0)
        self._threads.clear()

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def _every(self, pause: float, take: Callable[[], None]) -> None:
        while not self._over.wait(pause):
            try:
                take()
            except Exception:
                logger.exception("A camera could not take its picture; it tries again in %g s", pause)


def evcam(
    camera: Any,
    freq: float = 1.0,
    maxrate: str | float | None = None,
    loglevel: object = 0,
    logfile: object = None,
    pidfile: object = None,
    timer: object = None,
    app: Speaker | None = None,
    **_options: Any,
) -> None:
    """Hear events and let a camera look, for ever. `camera` is a class, or its name with its module's."""
    assert app is not None, "of which app?"
    state = State()
    kind = camera_named(camera) if isinstance(camera, str) else camera
    receiver = EventReceiver(handlers={"*": state.event}, app=app)
    with kind(state, app=app, freq=freq, maxrate=maxrate):
        receiver.capture()


def camera_named(path: str) -> Any:
    """The class that `module.Class` or `module:Class` names."""
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"there is no camera {path!r} ({error}): give module.Class, as in proj.monitoring.Camera"
        ) from error
