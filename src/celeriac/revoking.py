"""Say that tasks shall not begin any more: durably to the broker, and at once to who waits for results."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from celeriac import states
from celeriac.current import App
from celeriac.exceptions import TaskRevokedError
from celeriac.message import Result
from celeriac.wire.result import decode_result, encode_result

#: Tasks that are told of in one step.
AT_ONCE = 1000

#: Seconds, for task_revokes_expire = None.
FOR_EVER = 100 * 365 * 86400.0

#: A stored state that is left as it is: the task ended, or it runs.
_LEFT = states.READY_STATES | {states.STARTED}


def revoke(app: App, ids: Sequence[str], *, say: bool = True) -> None:
    """None of these tasks begins from now on, on any worker, whether it is up already or not.

    What has begun is not touched. The others end as REVOKED now (`say`), with TaskRevokedError for who waits.
    """
    keep = app.conf.seconds("task_revokes_expire") or FOR_EVER
    for start in range(0, len(ids), AT_ONCE):
        part = ids[start : start + AT_ONCE]
        held = set(app.broker.revoke(part, keep))
        if say:
            # What nobody holds cannot begin any more, so no worker will ever say anything else of it.
            _say_revoked(app, [id for id in part if id not in held])


def revoke_stamps(app: App, headers: Mapping[str, Any]) -> None:
    """No task with one of these stamps begins from now on: {"customer": "c1"}, or a list of values."""
    keep = app.conf.seconds("task_revokes_expire") or FOR_EVER
    app.broker.revoke(list(stamps_as_ids(headers)), keep)


def stamps_as_ids(stamps: Mapping[str, Any]) -> Iterator[str]:
    """Under which ids the store keeps revokes of stamps: no task has one like these."""
    for header, values in stamps.items():
        several = isinstance(values, list | tuple | set | frozenset)
        for value in values if several else (values,):
            yield f"\n{header}\n{value}"


def _say_revoked(app: App, ids: Sequence[str]) -> None:
    store = app.results
    if store is None or not ids:
        return
    conf = app.conf
    accept = conf.result_accept_content or conf.accept_content
    ttl = conf.seconds("result_expires") or None
    failure_ttl = conf.seconds("result_failure_expires")
    now = datetime.fromtimestamp(time.time(), UTC).isoformat()
    store.save(
        [
            Result(
                id,
                encode_result(
                    task_id=id,
                    status=states.REVOKED,
                    result=TaskRevokedError("revoked"),
                    date_done=now,
                    serializer=conf.result_serializer,
                    compression=conf.result_compression,
                ),
                ttl if failure_ttl is None else failure_ttl or None,
            )
            for id, stored in zip(ids, store.load(ids), strict=True)
            if stored is None or decode_result(stored, accept)["status"] not in _LEFT
        ]
    )
