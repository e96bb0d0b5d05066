"""What becomes of the claims of a child that died, or of a whole node that fell silent.

These laws take the place of Celery's `task_reject_on_worker_lost`. A task that is acknowledged late runs
again, until it has cost `max_deliveries` lives; one that was acknowledged early never does; what had not
begun goes back as if nothing had happened.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Sequence

from celeriac.exceptions import WorkerLostError
from celeriac.message import Claim, Fate, Outcome

#: Ends a claim that must not run again: acknowledged with the error as its result or, if the reason (the last
#: argument) is not empty, a dead letter. Its error callbacks go along. Never raises.
Fail = Callable[[Claim, BaseException, str], Outcome]


def judge_lost(
    claims: Sequence[Claim],
    *,
    begun: Collection[int] | None,
    rooms: int,
    max_deliveries: int,
    how: str,
    fail: Fail,
) -> list[Outcome]:
    """One outcome for each claim of a dead owner, in order of number.

    `begun` are the numbers that its slot says had begun and were not settled. None: the slot is gone with the
    whole node, and as many claims as it had `rooms`, the first by number, count as begun. `how` says for a
    person how it died (`signal 9 (SIGKILL)`). `max_deliveries` of 0 is no limit.

    In one room only the last can have been running: the ones before had ended and were not settled yet. They
    run again too, but no death is counted against them.
    """
    in_order = sorted(claims, key=lambda claim: claim.number)
    if begun is None:
        begun = {claim.number for claim in in_order[:rooms]}
    elif rooms == 1 and begun:
        begun = {max(begun)}
    return [
        _judge_begun(claim, max_deliveries, how, fail)
        if claim.begun or claim.number in begun
        else Outcome(claim.number, Fate.GIVEN_BACK)
        for claim in in_order
    ]


def _judge_begun(claim: Claim, max_deliveries: int, how: str, fail: Fail) -> Outcome:
    if claim.begun:
        return fail(claim, lost_error(how), "")
    lives = claim.deliveries + 1
    if not killed_too_often(lives, max_deliveries):
        return Outcome(claim.number, Fate.LOST, reason=how)
    error = WorkerLostError(death_note(lives, (*claim.deaths, how)))
    return fail(claim, error, f"WorkerLostError: {error}")


def killed_too_often(lives: int, max_deliveries: int) -> bool:
    """Whether a message that cost so many children may cost no further one."""
    return 0 < max_deliveries <= lives


def lost_error(how: str) -> WorkerLostError:
    return WorkerLostError(f"Worker exited prematurely: {how}.")


def words_of_death(code: int) -> str:
    """How a process died, by its exit code."""
    if code >= 0:
        return f"exitcode {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def death_note(lives: int, deaths: Sequence[str]) -> str:
    """Why a message is a dead letter: how many died over it, and how, as far as that is known."""
    note = f"{lives} worker process{'es' if lives != 1 else ''} died while running this task"
    if not deaths:
        return note
    return f"{note}{': ' if len(deaths) == lives else '; the last of them: '}{'; '.join(deaths)}"
