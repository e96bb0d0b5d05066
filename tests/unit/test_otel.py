"""Spans of sending and running belong to one trace, across processes and by W3C's headers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from celeriac import Celery
from celeriac.otel import Tracing
from celeriac.stepping import Stepper
from stand import Stand, until

Spans = dict[str, ReadableSpan]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def app(exporter: InMemorySpanExporter) -> Iterator[Celery]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    url = f"memory://{uuid4().hex}"
    with Celery("shop", broker=url, backend=url, set_as_current=False) as app:
        app.add_middleware(Tracing(provider))
        yield app


@pytest.fixture
def stepper(app: Celery) -> Iterator[Stepper]:
    with app.testing() as stepper:
        yield stepper


def by_name(exporter: InMemorySpanExporter) -> Spans:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_call_its_run_and_what_it_calls_are_one_trace(
    app: Celery, stepper: Stepper, exporter: InMemorySpanExporter
) -> None:
    @app.task(name="inner")
    async def inner() -> None: ...

    @app.task(name="outer")
    def outer() -> None:
        inner.delay()

    sent = outer.delay()
    stepper.run()
    spans = by_name(exporter)
    assert set(spans) == {"send outer", "run outer", "send inner", "run inner"}
    assert len({span.context.trace_id for span in spans.values() if span.context}) == 1
    chain = ["send outer", "run outer", "send inner", "run inner"]
    for parent, child in pairwise(chain):
        above, context = spans[child].parent, spans[parent].context
        assert above is not None
        assert context is not None
        assert above.span_id == context.span_id
    assert (spans["send outer"].kind, spans["run outer"].kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    told = dict(spans["run outer"].attributes or {})
    assert (told["messaging.message.id"], told["messaging.destination.name"]) == (sent.id, "celery")


def test_a_header_that_is_no_text_is_nobodys_trace(
    app: Celery, stepper: Stepper, exporter: InMemorySpanExporter
) -> None:
    @app.task(name="fly")
    def fly() -> str:
        return "flown"

    result = fly.apply_async(headers={"baggage": 23, "tracestate": ["x"]})
    stepper.run()
    assert result.get(timeout=1) == "flown"
    assert by_name(exporter).keys() == {"send fly", "run fly"}


def test_an_error_is_one_and_a_retry_is_none(
    app: Celery, stepper: Stepper, exporter: InMemorySpanExporter
) -> None:
    @app.task(name="fails")
    def fails() -> None:
        raise ValueError("no")

    @app.task(name="again", bind=True, max_retries=1)
    def again(self: Any) -> None:
        if not self.request.retries:
            raise self.retry(countdown=60)

    fails.delay()
    again.delay()
    stepper.finish()
    runs = [span for span in exporter.get_finished_spans() if span.name.startswith("run")]
    failed = next(span for span in runs if span.name == "run fails")
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "ValueError: no")
    assert [event.name for event in failed.events] == ["exception"]
    first, second = [span for span in runs if span.name == "run again"]
    assert [event.name for event in first.events] == ["retry"]
    assert {first.status.status_code, second.status.status_code} == {StatusCode.UNSET}
    assert (second.attributes or {})["celeriac.task.retries"] == 1
    assert first.context is not None
    assert second.context is not None
    assert first.context.trace_id == second.context.trace_id


def test_a_child_that_ends_hands_over_what_it_holds(tmp_path: Path) -> None:
    """In true processes, with a processor that would keep spans for a minute."""
    (tmp_path / "traced.py").write_text(
        "from pathlib import Path\n"
        "from celeriac import Celery\n"
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult\n"
        "class ToFile(SpanExporter):\n"
        "    def export(self, spans):\n"
        "        with Path('spans').open('a') as file:\n"
        "            for span in spans:\n"
        "                print(span.name, format(span.context.trace_id, '032x'), file=file)\n"
        "        return SpanExportResult.SUCCESS\n"
        "provider = TracerProvider()\n"
        "provider.add_span_processor(BatchSpanProcessor(ToFile(), schedule_delay_millis=60000))\n"
        "trace.set_tracer_provider(provider)\n"
        "app = Celery('traced', middleware=['celeriac.otel.Tracing'])\n"
        "@app.task\n"
        "def work():\n"
        "    return 1\n"
    )
    stand = Stand(f"sqlite:///{tmp_path}/store.db", tmp_path)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    try:
        worker = stand.start(
            "-c", "1", "--pool-start-method", "spawn", app="traced", env={"PYTHONPATH": f"{tmp_path}"}
        )
        headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
        assert stand.send("traced.work", headers=headers).get(timeout=20) == 1
        assert not (tmp_path / "spans").exists()
        worker.stop()
        until(lambda: (tmp_path / "spans").exists())
        assert (tmp_path / "spans").read_text() == f"run traced.work {trace_id}\n"
    finally:
        stand.close()
        print(worker.output)
