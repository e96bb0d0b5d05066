"""The health process of a node: answers /livez, /readyz and /metrics, whatever the others are doing.

It is a process of its own so that it can tell of a supervisor that is stuck, and so that the supervisor keeps
its one thread. It asks the store on a connection of its own, and ends when its parent is gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence

from celeriac import __version__
from celeriac.app import Celery
from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.message import Depth
from celeriac.ports import Broker
from celeriac.wire.task import age_of
from celeriac.worker import diagnosis, originals
from celeriac.worker.log import name_process
from celeriac.worker.meters import Meters
from celeriac.worker.options import WorkerOptions
from celeriac.worker.vitals import Vitals

#: Seconds between two questions to the store, and between two looks at the parent.
PROBE, LOOK = 2.0, 0.5

logger = logging.getLogger("celery.worker")


class Health:
    """In the parent: the address that is listened on, and the process that answers there."""

    def __init__(self, app: Celery, options: WorkerOptions, queues: Sequence[str], meters: Meters) -> None:
        self.vitals = Vitals()
        self._app = app
        self._options = options
        self._queues = queues
        self._meters = meters
        self._socket = _listen(options.health or "")
        self._pid = 0

    @property
    def pid(self) -> int:
        """Of the process; 0 before its start and after its end."""
        return self._pid

    @property
    def descriptor(self) -> int:
        """Of the socket; children of the node have no use for it."""
        return self._socket.fileno()

    def start(self, to_close: Sequence[int] = ()) -> None:
        """Fork the process; `to_close` are descriptors that it must not keep."""
        self._pid = originals.fork()
        if self._pid:
            return
        try:
            for descriptor in to_close:
                os.close(descriptor)
            self._live()
        except BaseException:  # the last frame of this process
            traceback.print_exc()
        finally:
            os._exit(0)

    def tend(self, to_close: Sequence[int]) -> None:
        """Start it anew if it has died."""
        if self._pid and originals.wait_for(self._pid)[0]:
            logger.error("The health process (pid %d) has died and is started anew", self._pid)
            self.start(to_close)

    def stop(self) -> None:
        """May be called twice."""
        pid, self._pid = self._pid, 0
        self._socket.close()
        if pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def say(self) -> None:
        host, port = self._socket.getsockname()[:2]
        logger.info("Health and metrics on http://%s:%d (/livez, /readyz, /metrics)", host, port)

    # -- in the process

    def _live(self) -> None:
        parent = os.getppid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
            originals.handle(number, signal.SIG_IGN)  # what they mean is for the parent to decide
        signal.set_wakeup_fd(-1)
        name_process("Health")
        # Only here: a worker without a health port shall not pay for a web server.
        from celeriac.worker.pages import serve

        probe = Probe(self._app.open_worker_broker(), self._queues)
        threading.Thread(target=probe.run, name="celeriac-probe", daemon=True).start()
        pages: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/livez": lambda: _verdict(diagnosis.not_alive(self.vitals.read(), time.monotonic())),
            "/readyz": lambda: _verdict(
                diagnosis.not_ready(self.vitals.read(), probe.answered, self._options.lease, time.monotonic())
            ),
            "/metrics": lambda: self._metrics(probe),
        }
        serve(self._socket, pages, LOOK, lambda: os.getppid() == parent)

    def _metrics(self, probe: Probe) -> tuple[int, str, bytes]:
        try:
            from celeriac.worker import metrics
        except ModuleNotFoundError:
            cure = "/metrics needs prometheus_client: pip install 'celeriac[metrics]'\n"
            return 501, "text/plain; charset=utf-8", cure.encode()
        depths, ages = probe.look()
        vitals = self.vitals.read()
        facts = metrics.Facts(
            node=self._options.hostname,
            version=__version__,
            pool=self._options.pool,
            vitals=vitals,
            tallies=tuple(self._meters.tallies(vitals.most)),
            answered=probe.answered,
            depths=depths,
            ages=ages,
        )
        return 200, metrics.CONTENT_TYPE, metrics.as_text(facts)


class Probe:
    """Asks the store a small question every other second, and remembers when it answered."""

    def __init__(self, broker: Broker, queues: Sequence[str]) -> None:
        self._broker = broker
        self._queues = queues
        self._up = False
        #: Monotonic seconds; what has just begun counts as answered.
        self.answered = time.monotonic()

    def run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self._broker.peek(self._queues[0] if self._queues else "celery", 1)
                self.answered, self._up = time.monotonic(), True
            except OperationalError:
                self._up = False
            time.sleep(max(0.0, began + PROBE - time.monotonic()))

    def look(self) -> tuple[Mapping[str, Depth] | None, Mapping[str, float]]:
        """The depths of all queues and the age of the first message of each; None while the store is away."""
        if not self._up:
            return None, {}
        try:
            names = sorted({*self._broker.queues(), *self._queues})
            return self._broker.depth(names), {name: self._age(name) for name in names}
        except OperationalError:
            return None, {}

    def _age(self, queue: str) -> float:
        return max((age_of(payload, time.time()) for payload in self._broker.peek(queue, 1)), default=0.0)


def _verdict(reasons: list[str]) -> tuple[int, str, bytes]:
    text = "".join(f"{reason}\n" for reason in reasons) or "ok\n"
    return 503 if reasons else 200, "text/plain; charset=utf-8", text.encode()


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        raise ImproperlyConfigured(
            f"--health-port {address}: cannot listen there ({error.strerror or error}): "
            "take another port, or 0 for one that is free"
        ) from error
