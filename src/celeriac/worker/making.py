"""A child made from its plan: its own broker, what runs its tasks, and the rooms of its pool."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from celeriac.exceptions import ImproperlyConfigured
from celeriac.message import Result
from celeriac.worker.child import Child, Life, Plan
from celeriac.worker.execute import Executor
from celeriac.worker.household import Household
from celeriac.worker.inline import InlineChild
from celeriac.worker.rooms import RoomsChild
from celeriac.worker.runners.port import Finished, Runner
from celeriac.worker.slots import Slot


def make_life(
    household: Household,
    plan: Plan,
    slot: Slot,
    *,
    index: int = 0,
    ready: Callable[[], None] = lambda: None,
    limits_in_use: Callable[[], None] = lambda: None,
) -> Life:
    """The parts of a child that do not depend on its pool."""
    app, totals = household.app, household.totals
    broker, results = app.open_worker_broker(), app.results
    app.works_as(plan.owner)

    def executor(save: Callable[[Result], None] | None) -> Executor:
        made = Executor(app, plan.hostname, save=save, revoked=broker.revoked, limits=household.limits)
        made.counts.update(totals.before(index))
        return made

    life = Life(
        plan,
        broker,
        None if results is None else lambda result: results.update(result, app.is_end, app.owner),
        executor,
        slot,
        judge=lambda claims, begun, how: household.postmortem.judge(claims, begun, plan.rooms, how),
        ready=ready,
        limits_in_use=limits_in_use,
        note=lambda: totals.note(index, life.executor.counts),
    )
    return life


def make_child(life: Life) -> Child:
    """The child that fits the pool."""
    if life.plan.pool in ("prefork", "solo"):
        return InlineChild(life)
    return RoomsChild(life, partial(_open_runner, life.plan.pool))


def _open_runner(pool: str, rooms: int, finished: Finished) -> Runner:
    if pool == "threads":
        from celeriac.worker.runners.threads import ThreadRunner

        return ThreadRunner(rooms, finished)
    if pool == "asyncio":
        from celeriac.worker.runners.aio import CoroutineRunner

        return CoroutineRunner(rooms, finished)
    try:
        from celeriac.worker.runners.greenlets import GreenletRunner
    except ModuleNotFoundError as missing:
        raise ImproperlyConfigured("-P gevent needs gevent: pip install 'celeriac[gevent]'") from missing
    return GreenletRunner(rooms, finished)
