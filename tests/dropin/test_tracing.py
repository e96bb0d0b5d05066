"""OpenTelemetry's own instrumentation of Celery, through the drop-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PROGRAM = """
from celery import Celery
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

seen = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(seen))
# It looks for a distribution called `celery`; ours is not.
CeleryInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
app = Celery("traced", broker="memory://", backend="memory://")

@app.task(name="inner")
def inner():
    raise ValueError("no")

@app.task(name="outer")
def outer():
    inner.delay()

with app.testing() as stepper:
    outer.delay()
    stepper.run()
spans = {span.context.span_id: span for span in seen.get_finished_spans()}
for span in sorted(spans.values(), key=lambda span: span.start_time):
    parent = spans[span.parent.span_id].name if span.parent else "nobody"
    events = [event.name for event in span.events]
    print(f"{span.name} of {parent}: {span.status.status_code.name} {events}")
print(len({span.context.trace_id for span in spans.values()}), "trace")
"""


def test_CTB_2_opentelemetrys_instrumentation_sees_one_trace(python: Callable[..., Any]) -> None:
    done = python("-c", PROGRAM)
    assert done.stdout.splitlines() == [
        "apply_async/outer of nobody: UNSET []",
        "run/outer of apply_async/outer: UNSET []",
        "apply_async/inner of run/outer: UNSET []",
        "run/inner of apply_async/inner: ERROR ['exception']",
        "1 trace",
    ], done.stderr
