"""What /metrics says: a node's vitals, what its children counted, and its queues as the store has them now.

In the text format of Prometheus, written by its own client library.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from celeriac.message import Depth
from celeriac.worker.meters import BUCKETS, Histogram, Tally
from celeriac.worker.vitals import Reading

#: The content type of what `as_text` returns.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that is told."""

    node: str
    version: str
    pool: str
    vitals: Reading
    tallies: tuple[Tally, ...]
    #: Monotonic seconds at which the store last answered.
    answered: float
    #: None while the store is away: old numbers would be taken for true.
    depths: Mapping[str, Depth] | None
    #: Queue -> priority step -> seconds that the first message of that step has been waiting.
    ages: Mapping[str, Mapping[int, float]]


def as_text(facts: Facts) -> bytes:
    """The page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(_families(facts)))
    return generate_latest(registry)


class _Once:
    """What is already there, as the registry wants to ask for it."""

    def __init__(self, families: Iterable[Any]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Any]:
        return self._families

    def describe(self) -> Iterable[Any]:
        return ()


def _families(facts: Facts) -> Iterator[Any]:
    yield from _node(facts)
    yield from _queues(facts)
    yield from _tasks(facts.tallies)


def _node(facts: Facts) -> Iterator[Any]:
    now, vitals = time.monotonic(), facts.vitals
    about = {"node": facts.node, "version": facts.version, "pool": facts.pool}
    yield InfoMetricFamily("celeriac_worker", "This worker.", about)
    up = facts.depths is not None
    yield GaugeMetricFamily("celeriac_broker_up", "1 while the broker answers.", value=int(up))
    away = now - facts.answered
    yield GaugeMetricFamily(
        "celeriac_broker_answer_age_seconds", "Since the broker answered last.", value=away
    )
    if vitals.renewed:
        yield GaugeMetricFamily(
            "celeriac_lease_age_seconds",
            "Since the lease of this node was renewed.",
            value=now - vitals.renewed,
        )
    children = GaugeMetricFamily("celeriac_children", "Processes that run tasks.", labels=["state"])
    children.add_metric(["ready"], vitals.ready)
    children.add_metric(["wanted"], vitals.wanted)
    yield children
    yield CounterMetricFamily("celeriac_child_starts", "Children that were started.", value=vitals.births)
    yield CounterMetricFamily(
        "celeriac_child_deaths", "Children that died and not in order.", value=vitals.deaths
    )


def _queues(facts: Facts) -> Iterator[Any]:
    if facts.depths is None:
        return
    messages = GaugeMetricFamily(
        "celeriac_queue_messages", "Messages in this place, in the whole store.", labels=["queue", "state"]
    )
    for queue, depth in facts.depths.items():
        for state in ("ready", "claimed", "delayed", "dead"):
            messages.add_metric([queue, state], getattr(depth, state))
    yield messages
    ages = GaugeMetricFamily(
        "celeriac_queue_oldest_seconds",
        "How long the first message of this priority has been waiting.",
        labels=["queue", "priority"],
    )
    for queue in facts.depths:
        # An empty queue has an age too, so that who watches it does not miss it.
        for step, age in (facts.ages.get(queue) or {0: 0.0}).items():
            ages.add_metric([queue, str(step)], age)
    yield ages


def _tasks(tallies: Iterable[Tally]) -> Iterator[Any]:
    ends = CounterMetricFamily("celeriac_tasks", "Tasks that ended here.", labels=["task", "state"])
    ran = HistogramMetricFamily("celeriac_task_runtime_seconds", "How long tasks ran.", labels=["task"])
    waited = HistogramMetricFamily(
        "celeriac_task_waiting_seconds",
        "From sending, or from the eta, to the beginning; of messages sent by celeriac.",
        labels=["task"],
    )
    for tally in tallies:
        for state, count in tally.ends.items():
            if count:
                ends.add_metric([tally.task, state], count)
        ran.add_metric([tally.task], _cumulated(tally.ran), tally.ran.total)
        waited.add_metric([tally.task], _cumulated(tally.waited), tally.waited.total)
    yield ends
    yield ran
    yield waited


def _cumulated(histogram: Histogram) -> list[tuple[str, int]]:
    """Each bucket of Prometheus counts all below its upper end."""
    buckets, count = [], 0
    for end, more in zip((*map(str, BUCKETS), "+Inf"), histogram.counts, strict=True):
        count += more
        buckets.append((end, count))
    return buckets
