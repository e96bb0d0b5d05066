"""The laws 5 and 6 of delivery: what happens to each claim of the dead."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from celeriac.message import Claim, Fate, Outcome
from celeriac.worker.lost import judge_lost


def fail(claim: Claim, error: BaseException, reason: str) -> Outcome:
    fate = Fate.DEAD if reason else Fate.ACKED
    return Outcome(claim.number, fate, reason=reason or repr(error))


def judged(
    *claims: Claim, begun: Collection[int] | None = (), rooms: int = 1, limit: int = 3
) -> list[Outcome]:
    return judge_lost(
        claims, begun=begun, rooms=rooms, max_deliveries=limit, how="signal 9 (SIGKILL)", fail=fail
    )


def claim(number: int, deliveries: int = 0, begun: bool = False) -> Claim:
    return Claim(number, "celery", b"anything, also no task at all", deliveries, begun)


def fates(outcomes: list[Outcome]) -> list[tuple[int, Fate]]:
    return [(outcome.number, outcome.fate) for outcome in outcomes]


def test_what_had_not_begun_is_given_back_uncounted() -> None:
    assert fates(judged(claim(1), claim(2))) == [(1, Fate.GIVEN_BACK), (2, Fate.GIVEN_BACK)]


def test_what_had_begun_is_lost_and_counted() -> None:
    assert fates(judged(claim(4), claim(5), claim(6), begun={4})) == [
        (4, Fate.LOST),
        (5, Fate.GIVEN_BACK),
        (6, Fate.GIVEN_BACK),
    ]


def test_what_had_ended_before_the_running_task_goes_back_uncounted() -> None:
    claims = [claim(4, deliveries=2), claim(5, begun=True), claim(6), claim(7)]
    assert fates(judged(*claims, begun={4, 5, 6}, rooms=1)) == [
        (4, Fate.GIVEN_BACK),
        (5, Fate.ACKED),
        (6, Fate.LOST),
        (7, Fate.GIVEN_BACK),
    ]
    assert fates(judged(*claims, begun={4, 5, 6}, rooms=3))[0] == (4, Fate.DEAD)


def test_what_was_acknowledged_early_fails_and_never_runs_again() -> None:
    (outcome,) = judged(claim(1, begun=True), begun={1})
    assert outcome.fate is Fate.ACKED
    assert "Worker exited prematurely: signal 9 (SIGKILL)." in outcome.reason


def test_an_early_acknowledgement_counts_even_if_the_slot_says_nothing() -> None:
    assert fates(judged(claim(1, begun=True))) == [(1, Fate.ACKED)]


@pytest.mark.parametrize(
    ("deliveries", "limit", "fate"),
    [
        (0, 3, Fate.LOST),
        (1, 3, Fate.LOST),
        (2, 3, Fate.DEAD),
        (3, 3, Fate.DEAD),
        (0, 1, Fate.DEAD),
        (99, 0, Fate.LOST),
    ],
)
def test_a_message_costs_at_most_so_many_lives(deliveries: int, limit: int, fate: Fate) -> None:
    assert fates(judged(claim(1, deliveries), begun={1}, limit=limit)) == [(1, fate)]


def test_the_reason_of_a_dead_letter_counts_the_lives_and_names_the_deaths_that_are_known() -> None:
    (outcome,) = judged(claim(1, deliveries=2), begun={1})
    assert outcome.reason == (
        "WorkerLostError: 3 worker processes died while running this task; the last of them: "
        "signal 9 (SIGKILL)"
    )


def test_of_a_node_whose_slots_are_gone_the_first_claims_count_as_begun() -> None:
    outcomes = judged(claim(9), claim(7), claim(8), begun=None, rooms=2)
    assert fates(outcomes) == [(7, Fate.LOST), (8, Fate.LOST), (9, Fate.GIVEN_BACK)]


def test_the_dead_may_hold_nothing() -> None:
    assert judged(begun=None) == []
