"""What becomes of the claims of a child or node that died: judged by how it died, counted and told."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial

from celeriac import states
from celeriac.app import Celery
from celeriac.exceptions import DecodeError, TimeLimitExceeded
from celeriac.message import Claim, Fate, Outcome
from celeriac.request import Request
from celeriac.wire.task import unpack
from celeriac.worker import loglines
from celeriac.worker.endings import Endings
from celeriac.worker.heartbeat import Judge
from celeriac.worker.lost import judge_lost, lost_error
from celeriac.worker.meters import Meters


class Postmortem:
    """Its judges run in the main process of a node, and in a child that lost its parent."""

    def __init__(self, app: Celery, hostname: str, meters: Meters | None) -> None:
        self._app = app
        self._hostname = hostname
        self._meters = meters
        #: Told of tasks that did not end by themselves, for monitors: lost ones, terminated ones.
        self.lost: Callable[[Request, BaseException], None] | None = None
        self.terminated: Callable[[Request, int], None] | None = None

    def judge(self, claims: list[Claim], begun: int | None, rooms: int, how: str) -> list[Outcome]:
        """What becomes of the claims of a dead owner; all up to the number `begun` had begun."""
        endings = self._endings()
        return judge_lost(
            claims,
            begun=None if begun is None else {claim.number for claim in claims if claim.number <= begun},
            rooms=rooms,
            max_deliveries=self._app.conf.task_max_deliveries,
            how=how,
            fail=endings.fail,
        )

    def judge_overrun(self, limit: float) -> Judge:
        """As `judge`, for a child that we killed because its task overran its hard time limit."""
        return partial(self._judge_killed, lambda endings, claim: _overran(endings, claim, limit))

    def judge_terminated(self, signum: int) -> Judge:
        """As `judge`, for a child that we killed because somebody wished the end of its task."""
        told = self._tell_of_terminated
        return partial(self._judge_killed, lambda endings, claim: endings.terminated(claim, signum, told))

    def judge_stopped(self, claims: list[Claim], begun: int | None, rooms: int, how: str) -> list[Outcome]:
        """As `judge`, for a child that we killed to stop: that is no fault of what it ran, so nothing is
        counted."""
        return self._judge_killed(
            lambda endings, claim: _unless_begun(endings, claim, how), claims, begun, rooms, how
        )

    def _judge_killed(
        self,
        end: Callable[[Endings, Claim], Outcome],
        claims: list[Claim],
        begun: int | None,
        _rooms: int,
        how: str,
    ) -> list[Outcome]:
        """What it ran comes to that `end`; its other claims cannot help it."""
        endings = self._endings()
        return [
            end(endings, claim) if claim.number == begun else _unless_begun(endings, claim, how)
            for claim in claims
        ]

    def _endings(self) -> Endings:
        return Endings(self._app, self._hostname, time.time, runs_user_code=False, lost=self._tell_of_lost)

    def _tell_of_lost(self, request: Request, error: BaseException) -> None:
        if self._meters is not None:
            self._meters.count(request.task or "", states.FAILURE)
        if self.lost is not None:
            self.lost(request, error)

    def _tell_of_terminated(self, request: Request, signum: int) -> None:
        if self._meters is not None:
            self._meters.count(request.task or "", states.REVOKED)
        if self.terminated is not None:
            self.terminated(request, signum)


def _overran(endings: Endings, claim: Claim, limit: float) -> Outcome:
    with contextlib.suppress(DecodeError):
        message = unpack(claim.payload)
        name = message.shadow or message.name
        loglines.tell_overrun(name, message.id, limit, hard=True)
    return endings.fail(claim, TimeLimitExceeded(limit))


def _unless_begun(endings: Endings, claim: Claim, how: str) -> Outcome:
    """Back to its queue; but what was acknowledged early has failed, for it must not run again."""
    if claim.begun:
        return endings.fail(claim, lost_error(how))
    return Outcome(claim.number, Fate.GIVEN_BACK)
