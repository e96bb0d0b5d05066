"""The door between a child and the store keeps the order of what passes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.drivers.opening import open_broker
from celeriac.message import Message
from celeriac.ports import Broker
from celeriac.worker.intake import Intake


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = open_broker("memory://intake")
    broker.consume(["q"])
    broker.enlist("owner", "node", 30.0)
    yield broker
    broker.close()


def test_what_goes_back_unbegun_comes_again_in_its_old_order(broker: Broker) -> None:
    broker.publish([Message(str(number), "q", b"%d" % number) for number in range(6)])
    intake = Intake(broker, "owner", lost=lambda _: None, found=lambda: None)
    assert intake.turn(5)
    first = intake.take()
    assert first is not None
    assert first.payload == b"0"
    intake.give_back()
    assert intake.take() is None
    assert intake.turn(9)
    again = [claim.payload for claim in iter(intake.take, None)]
    assert again == [b"1", b"2", b"3", b"4", b"5"]
