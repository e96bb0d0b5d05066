"""Traces by OpenTelemetry: a span for each sending and one for each run, in one trace across processes.

    app.add_middleware("celeriac.otel.Tracing")     # or the setting middleware = ["celeriac.otel.Tracing"]

Only the API package is needed (`pip install 'celeriac[otel]'`); which SDK and exporter take the spans is the
program's own choice. The trace travels in the headers `traceparent` and `tracestate` of W3C.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celeriac import signals
from celeriac.exceptions import Ignore, ImproperlyConfigured, Reject, Retry
from celeriac.middleware import Call, Middleware, Run
from celeriac.version import __version__

try:
    from opentelemetry import propagate, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ModuleNotFoundError as missing:
    raise ImproperlyConfigured(
        "celeriac.otel needs the package opentelemetry-api: pip install 'celeriac[otel]'"
    ) from missing

#: Milliseconds that a child that ends waits for its spans to be taken.
FLUSH = 5000


class Tracing(Middleware):
    """See the head of this file. `provider` is where spans go; without it the global one."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = trace.get_tracer("celeriac", __version__, provider)
        if provider is not None:
            # Of the global one a child that ends takes care itself (worker/telemetry.py).
            signals.worker_process_shutdown.connect(self._flush, weak=False)

    def around_send(self, call: Call) -> Iterator[None]:
        attributes = {
            "messaging.system": "celeriac",
            "messaging.operation.type": "send",
            "messaging.message.id": call.id,
            "celeriac.task.name": call.name,
        }
        with self._tracer.start_as_current_span(
            f"send {call.name}", kind=SpanKind.PRODUCER, attributes=attributes
        ) as span:
            propagate.inject(call.headers)
            yield
            if call.message is not None and span.is_recording():
                span.set_attribute("messaging.destination.name", call.message.queue)

    def around_run(self, run: Run) -> Iterator[None]:
        made = run.request
        attributes: dict[str, str | int] = {
            "messaging.system": "celeriac",
            "messaging.operation.type": "process",
            "messaging.message.id": made.id or "",
            "messaging.destination.name": made.queue or made.delivery_info.get("routing_key") or "",
            "celeriac.task.name": run.task.name,
            "celeriac.task.retries": made.retries,
            "celeriac.task.deliveries": made.deliveries,
        }
        with self._tracer.start_as_current_span(
            f"run {run.task.name}",
            # What is no text is nobody's trace: a header of that name may be the program's own.
            context=propagate.extract(
                {name: one for name, one in (made.headers or {}).items() if isinstance(one, str)}
            ),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except (Retry, Ignore, Reject) as end:
                # How a task may end, and no error of it.
                span.add_event(type(end).__name__.lower(), {"reason": str(end)})
                raise
            except BaseException as error:
                span.record_exception(error)
                span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
                raise

    def _flush(self, *_: Any, **__: Any) -> None:
        flush = getattr(self._provider, "force_flush", None)
        if flush is not None:
            flush(FLUSH)
