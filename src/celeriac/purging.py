"""Removing what waits in a queue, so that nobody who waits for it waits in vain: a chord whose members are
removed hears that they will never end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from celeriac import states
from celeriac.canvas import counting
from celeriac.exceptions import CeleriacError, TaskRevokedError
from celeriac.message import Claim, Fate, Outcome, Result
from celeriac.request import Request
from celeriac.wire.ending import embed_at_end
from celeriac.wire.result import encode_result
from celeriac.wire.task import unpack, unpack_identity

#: Messages that are removed in one step.
AT_ONCE = 1000
#: Seconds after which others return what a purge that was killed had taken.
LEASE = 30.0


def purge(app: Any, queues: Iterable[str]) -> int:
    """Remove what waits in these queues; returns how many messages. What others wait for ends as REVOKED.

    That is claimed and settled as by a worker: who is killed in the middle has removed it or not at all.
    """
    broker = app.broker
    removed = 0
    for queue in queues:
        while True:
            node, owner, heir = (f"purge-{uuid4()}" for _ in range(3))
            broker.enlist(owner, node, LEASE)
            taken = broker.seize(queue, owner, AT_ONCE)
            claims = broker.adopt(owner, heir, node)
            if claims:
                purged = [_Purged(app, claim) for claim in claims]
                if app.results is not None:
                    app.results.save([result for one in purged for result in one.results])
                broker.turn(heir, [one.outcome for one in purged], 0)
            broker.dismiss(heir)
            removed += taken
            if taken < AT_ONCE:
                break
    return removed


class _Purged:
    """What becomes of one message, and the results of all that will never run because of it."""

    def __init__(self, app: Any, claim: Claim) -> None:
        self.outcome = Outcome(claim.number, Fate.ACKED)
        self.results: list[Result] = []
        try:
            message = unpack(claim.payload)
        except CeleriacError:
            identified = unpack_identity(claim.payload)
            if identified is None:
                return  # nobody can read whose it was
            message = identified
        try:
            args, kwargs, embed = message.arguments(app.conf.accept_content)
        except CeleriacError:
            unread = {"chord": counting.UNREAD} if message.group else {}
            args, kwargs, embed = [], {}, embed_at_end(claim.payload, app.conf.accept_content) or unread
        error = TaskRevokedError("purged")
        request = Request.from_message(message, args, kwargs, embed)
        ended = [request, *(failing.request for failing in counting.never_run(app, request))]
        counts = counting.failure(app, ended, error, states.REVOKED)
        self.outcome = Outcome(claim.number, Fate.ACKED, counts=counts)
        self.results = [_result(app, one, error) for one in ended if not one.ignore_result]


def _result(app: Any, request: Request, error: BaseException) -> Result:
    conf = app.conf
    ttl, failure_ttl = conf.seconds("result_expires") or None, conf.seconds("result_failure_expires")
    payload = encode_result(
        task_id=request.id or "",
        status=states.REVOKED,
        result=error,
        date_done=app.now().isoformat(),
        group_id=request.group,
        parent_id=request.parent_id,
        serializer=conf.result_serializer,
        compression=conf.result_compression,
    )
    return Result(request.id or "", payload, ttl if failure_ttl is None else failure_ttl or None)
