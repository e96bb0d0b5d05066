"""A revoked task never begins, whichever worker is up when it is revoked; one that runs goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.exceptions import TaskRevokedError
from celeriac.message import Depth
from celeriac.result import AsyncResult
from celeriac.revoking import revoke
from stand import Stand, lines, until


@pytest.fixture
def stand(every_store: str, tmp_path: Path) -> Iterator[Stand]:
    with Stand(every_store, tmp_path) as stand:
        yield stand


def test_what_is_revoked_while_no_worker_is_up_never_runs(stand: Stand) -> None:
    ledger = str(stand.path("ledger"))
    ready = stand.send("note", ledger, "ready")
    delayed = stand.send("note", ledger, "delayed", countdown=1.0)
    unknown = stand.send("no_such_task")
    wanted = stand.send("note", ledger, "wanted", countdown=1.1)
    for result in (ready, delayed, unknown):
        result.revoke()
        with pytest.raises(TaskRevokedError):
            result.get(timeout=0)
        # From here on only a worker can say it.
        result.forget()
    worker = stand.start("-c", "1")
    for result in (ready, delayed, unknown):
        with pytest.raises(TaskRevokedError):
            result.get(timeout=10)
        assert result.state == "REVOKED"
        worker.wait_for_line(f"Discarding revoked task: .*{result.id}")
    wanted.get(timeout=10)
    assert lines(Path(ledger)) == ["wanted"]
    until(lambda: stand.broker.depth(["celery"])["celery"] == Depth(), what="all is settled")


def test_of_ten_thousand_revoked_tasks_none_runs(stand: Stand) -> None:
    ledger = str(stand.path("ledger"))
    sent = [stand.send("note", ledger, str(n)) for n in range(300)]
    first, *rest = (result for n, result in enumerate(sent) if n % 3)
    first.revoke()
    revoke(stand.client, [*(f"other-{n}" for n in range(10_000)), *(result.id for result in rest)])
    stand.start("-c", "2")
    for n, result in enumerate(sent):
        if n % 3:
            with pytest.raises(TaskRevokedError):
                result.get(timeout=10)
        else:
            result.get(timeout=20)
    until(lambda: stand.broker.depth(["celery"])["celery"] == Depth(), what="all is settled")
    assert sorted(lines(Path(ledger)), key=int) == [str(n) for n in range(0, 300, 3)]


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_waits_behind_a_running_task_is_revoked_and_that_one_goes_on(stand: Stand, pool: str) -> None:
    gate, begun, ledger = stand.path("gate"), stand.path("begun"), stand.path("ledger")
    stand.start("-c", "1", "-P", pool)
    running: AsyncResult[str] = stand.send("wait_for", str(gate), str(begun))
    behind = [stand.send("note", str(ledger), word) for word in ("revoked", "revoked too", "wanted")]
    until(lambda: lines(begun), what="it runs")
    # What its worker claimed with it goes back within milliseconds.
    until(lambda: stand.broker.depth(["celery"])["celery"] == Depth(ready=3, claimed=1), what="it holds one")
    for result in (running, *behind[:2]):
        result.revoke()
    assert [result.state for result in (running, *behind)] == ["PENDING", "REVOKED", "REVOKED", "PENDING"]
    gate.touch()
    assert running.get(timeout=10) == "seen"
    behind[2].get(timeout=10)
    until(lambda: stand.broker.depth(["celery"])["celery"] == Depth(), what="all is settled")
    assert lines(ledger) == ["wanted"]
    assert {result.state for result in behind[:2]} == {"REVOKED"}
