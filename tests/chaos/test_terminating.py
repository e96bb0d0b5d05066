"""Row 11: a task that is terminated at about the time at which it ends, and its neighbours."""

from __future__ import annotations

import random

import pytest

from chaos.stage import Opened
from chaos.terminating import race

#: The trial "Terminations race" of the long run has the 2,000.
COUNT = 25


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_who_is_terminated_while_it_ends_is_revoked_or_has_succeeded_and_nobody_else_is_hit(
    opened: Opened, pool: str
) -> None:
    assert race(opened("redis"), random.Random(11), COUNT, pool, "-c", "1").total() == COUNT
