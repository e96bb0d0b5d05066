"""The health process of a node: answers /livez, /readyz and /metrics, whatever the others are doing.

A process of its own can tell of a supervisor that is stuck. It asks the store on a connection of its own.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from celeriac import __version__
from celeriac.app import Celery
from celeriac.exceptions import ImproperlyConfigured, OperationalError
from celeriac.message import Depth
from celeriac.ports import Broker
from celeriac.wire.task import age_of
from celeriac.worker import diagnosis
from celeriac.worker.companion import Companion
from celeriac.worker.meters import Meters
from celeriac.worker.options import WorkerOptions
from celeriac.worker.vitals import Vitals

#: Seconds between two questions to the store, and between two looks at the parent.
PROBE, LOOK = 2.0, 0.5

logger = logging.getLogger("celery.worker")


class Health(Companion):
    """The address that is listened on, and the process that answers there."""

    title = "health process"
    process_name = "Health"

    def __init__(self, app: Celery, options: WorkerOptions, queues: Sequence[str], meters: Meters) -> None:
        super().__init__()
        self.vitals = Vitals()
        self._app = app
        self._options = options
        self._queues = queues
        self._meters = meters
        self._socket = _listen(options.health or "")

    @property
    def descriptor(self) -> int:
        """Of the socket; children of the node have no use for it."""
        return self._socket.fileno()

    def stop(self) -> None:
        super().stop()
        self._socket.close()

    def say(self) -> None:
        host, port = self._socket.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        logger.info("Health and metrics on http://%s:%d (/livez, /readyz, /metrics)", host, port)

    # -- in the process

    def live(self, is_orphan: Callable[[], bool]) -> None:
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
        serve(self._socket, pages, LOOK, lambda: not is_orphan())

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
            tallies=tuple(self._meters.tallies(vitals.places)),
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

    def look(self) -> tuple[Mapping[str, Depth] | None, Mapping[str, Mapping[int, float]]]:
        """The depths of all queues and the age of the first message of each priority; None while the store is
        away."""
        if not self._up:
            return None, {}
        try:
            names = sorted({*self._broker.queues(), *self._queues})
            return self._broker.depth(names), {name: self._ages(name) for name in names}
        except OperationalError:
            return None, {}

    def _ages(self, queue: str) -> Mapping[int, float]:
        now = time.time()
        return {step: age_of(payload, now) for step, payload in self._broker.firsts(queue).items()}


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
