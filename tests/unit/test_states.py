"""States and their weight."""

from __future__ import annotations

import pytest

from celeriac import states
from celeriac.states import state


def test_the_sets_are_those_that_users_know() -> None:
    assert frozenset({"SUCCESS", "FAILURE", "REVOKED"}) == states.READY_STATES
    assert frozenset({"PENDING", "RECEIVED", "STARTED", "REJECTED", "RETRY"}) == states.UNREADY_STATES
    assert frozenset({"RETRY", "FAILURE", "REVOKED"}) == states.EXCEPTION_STATES
    assert frozenset({"FAILURE", "REVOKED"}) == states.PROPAGATE_STATES
    assert states.READY_STATES | {"PENDING", "RECEIVED", "STARTED", "RETRY"} == states.ALL_STATES


@pytest.mark.parametrize(
    ("heavy", "light"),
    [
        ("SUCCESS", "FAILURE"),
        ("FAILURE", "MY_OWN"),
        ("MY_OWN", "REVOKED"),
        ("REVOKED", "STARTED"),
        ("STARTED", "RECEIVED"),
        ("RECEIVED", "REJECTED"),
        ("REJECTED", "RETRY"),
        ("RETRY", "PENDING"),
    ],
)
def test_a_state_compares_by_weight(heavy: str, light: str) -> None:
    assert state(heavy) > state(light)
    assert state(heavy) >= light
    assert state(light) < heavy
    assert state(light) <= state(heavy)
    assert not state(light) > state(heavy)


def test_states_of_users_weigh_the_same() -> None:
    assert not state("ONE") > state("TWO")
    assert state("ONE") >= state("TWO")
    assert states.precedence("ONE") == states.precedence(None) == states.NONE_PRECEDENCE


def test_a_state_is_still_a_text() -> None:
    assert state("SUCCESS") == "SUCCESS"
    assert {state("SUCCESS"): 1}["SUCCESS"] == 1
