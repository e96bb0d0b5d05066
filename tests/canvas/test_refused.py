"""What is too large, or does not fit, in a workflow or a schedule: one clear error, and nobody waits."""

from __future__ import annotations

import json
import logging
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from celeriac import Celery, chord, group
from celeriac.canvas.publishing import messages_of
from celeriac.exceptions import ChordError, EncodeError
from celeriac.message import Depth, Message
from celeriac.wire.task import unpack

#: What no message may have more of in these tests, and twice that as text which nothing makes shorter.
MOST = 20_000
LARGE = os.urandom(MOST).hex()


class Shop(NamedTuple):
    """An app whose messages run when the test says so."""

    app: Celery
    part: Any
    total: Any
    tell: Any
    #: The errors that the errback heard of.
    told: list[BaseException]
    run: Any

    def depth(self) -> Depth:
        depth: Depth = self.app.broker.depth(["celery"])["celery"]
        return depth


@pytest.fixture
def shop() -> Iterator[Shop]:
    memory = f"memory://{uuid4().hex}"
    with Celery("shop", broker=memory, backend=memory, set_as_current=False, task_max_bytes=MOST) as app:
        told: list[BaseException] = []

        @app.task(name="shop.part")
        def part(value: Any) -> Any:
            return value

        @app.task(name="shop.total")
        def total(values: list[Any], more: str = "") -> int:
            return len(values)

        @app.task
        def tell(request: Any, error: BaseException, traceback: str) -> None:
            told.append(error)

        with app.testing() as running:
            yield Shop(app, part, total, tell, told, running)


@pytest.mark.parametrize("text", [LARGE, "x" * 2 * MOST], ids=["incompressible", "compressible"])
def test_a_chords_body_that_is_too_large_is_refused_where_it_is_sent(shop: Shop, text: str) -> None:
    with pytest.raises(
        EncodeError, match=r"more than task_max_bytes \(20000 bytes\); store the data elsewhere"
    ):
        chord([shop.part.s(1), shop.part.s(2)], shop.total.s(text)).delay()
    assert shop.depth() == Depth()


def test_a_body_that_a_worker_may_not_send_fails_and_its_members_do_not(shop: Shop) -> None:
    shop.app.conf.task_max_bytes = 10 * MOST  # as whoever sends it says
    body = shop.total.s("x" * 2 * MOST).on_error(shop.tell.s())
    waits = chord([shop.part.s(1), shop.part.s(2)], body).delay()
    shop.app.conf.task_max_bytes = MOST
    shop.run.finish()
    assert isinstance(waits.result, ChordError)
    assert "Callback error: EncodeError('the arguments of shop.total have" in str(waits.result)
    assert [one.state for one in shop.run.ran[:2]] == ["SUCCESS", "SUCCESS"]
    assert list(map(str, shop.told)) == [str(waits.result)]
    assert shop.depth() == Depth()


@pytest.mark.parametrize(
    "make",
    [
        lambda shop, wrong: chord([shop.part.s(1)], wrong),
        lambda shop, wrong: chord([shop.part.s(1)], wrong) | shop.part.s(),
        lambda shop, wrong: chord([shop.part.s(1)], wrong | shop.part.s()),
        lambda shop, wrong: chord([shop.part.s(1)], group(wrong, shop.part.s())),
        lambda shop, wrong: chord([chord([shop.part.s(1)], wrong), shop.part.s(2)], shop.total.s()),
        lambda shop, wrong: chord([shop.part.s(1)], chord([wrong], shop.total.s())),
    ],
    ids=["alone", "before another", "a chain", "a group", "a member of another", "another chord"],
)
def test_a_body_whose_arguments_do_not_fit_fails_and_so_does_all_that_follows(
    shop: Shop, make: Callable[[Shop, Any], Any]
) -> None:
    waits = make(shop, shop.total.s("one", "too many")).delay()
    shop.run.finish()
    for result in getattr(waits, "results", None) or [waits]:
        assert result.state == "FAILURE"
        assert "too many positional arguments" in str(result.result)
    assert {one.state for one in shop.run.ran} == {"SUCCESS"}
    assert shop.depth() == Depth()


def test_values_that_are_together_too_large_for_a_body_fail_it_and_what_follows_and_are_kept(
    shop: Shop,
) -> None:
    body = shop.total.s().on_error(shop.tell.s())
    waits = (chord([shop.part.s("x" * (MOST // 2)) for _ in range(2)], body) | shop.part.s()).delay()
    shop.run.finish()
    for result in (waits, waits.parent):
        assert result.state == "FAILURE"
        assert "task_max_bytes allows 20000 bytes" in str(result.result)
    assert list(map(str, shop.told)) == [str(waits.result)]
    assert shop.depth() == Depth(dead=1)


@pytest.mark.parametrize("arguments", [f'["{LARGE}"]', "[" * 100_000 + "]" * 100_000], ids=["large", "deep"])
def test_what_follows_a_foreign_message_that_cannot_be_looked_at_hears_of_it(
    shop: Shop, arguments: str
) -> None:
    step = shop.part.s(1).on_error(shop.tell.s())
    step.freeze("the-step")
    shop.app.conf.task_max_bytes = 20 * MOST
    (sent, *_), waits = messages_of(shop.app, step | shop.part.s())
    embed = json.dumps(unpack(sent.payload).arguments({"json"})[2])
    body = f"[{arguments}, {{}}, {embed}]".encode()
    envelope = {**json.loads(sent.payload), "body": b64encode(body).decode()}
    shop.app.conf.task_max_bytes = MOST
    shop.app.broker.publish([Message("foreign", "celery", json.dumps(envelope).encode())])
    shop.run.finish()
    assert re.search("was not looked at|nested too deeply", str(waits.result))
    assert list(map(str, shop.told)) == [str(waits.result)]
    assert shop.depth() == Depth(dead=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda shop, wrong: wrong,
        lambda shop, wrong: wrong | shop.part.s() | shop.part.s(),
        lambda shop, wrong: shop.part.s(1) | wrong | shop.part.s(),
        lambda shop, wrong: wrong | chord([shop.part.s()], shop.part.s()),
        lambda shop, wrong: wrong | group(shop.part.s(), shop.part.s()),
    ],
    ids=["alone", "the first step", "a later step", "before a chord", "before a group"],
)
def test_a_member_in_a_serializer_that_the_worker_does_not_accept_fails_its_chord(
    shop: Shop, make: Callable[[Shop, Any], Any]
) -> None:
    member = make(shop, shop.part.si(1).set(serializer="pickle"))
    waits = chord([member, shop.part.s(2)], shop.total.s()).delay()
    shop.run.finish()
    assert isinstance(waits.result, ChordError)
    assert "ContentDisallowed" in str(waits.result)
    assert shop.depth() == Depth(dead=1)


def test_what_follows_a_message_that_became_too_large_hears_of_it(shop: Shop) -> None:
    shop.app.conf.task_max_bytes = 20 * MOST
    waits = (shop.part.s(LARGE).on_error(shop.tell.s()) | shop.part.s()).delay()
    body = chord([shop.part.s(LARGE), shop.part.s(1)], shop.total.s()).delay()
    shop.app.conf.task_max_bytes = MOST
    shop.run.finish()
    assert "task_max_bytes allows 20000 bytes" in str(waits.result)
    assert "task_max_bytes allows 20000 bytes" in str(body.result)
    assert list(map(str, shop.told)) == [str(waits.result)]
    assert shop.depth() == Depth(dead=2)


def test_what_a_task_tells_on_the_way_is_no_larger_than_its_result(shop: Shop) -> None:
    @shop.app.task(bind=True)
    def tells(self: Any) -> None:
        self.update_state(state="BUSY", meta=LARGE)

    @shop.app.task
    def yields() -> Iterator[str]:
        yield "small"
        yield LARGE

    for task in (tells, yields):
        result = task.delay()
        shop.run.finish()
        assert isinstance(result.result, EncodeError)
        assert "more than task_max_bytes (20000 bytes); store it elsewhere" in str(result.result)


def test_a_schedule_that_is_too_large_is_refused_where_it_is_added(shop: Shop) -> None:
    with pytest.raises(EncodeError, match=r"the periodic task 'large' has .* more than task_max_bytes"):
        shop.app.schedules.add("large", shop.part, 60.0, args=(LARGE,))
    shop.app.schedules.add("large", shop.part, 60.0, args=("small",))
    with pytest.raises(EncodeError, match="more than task_max_bytes"):
        shop.app.schedules.update("large", args=(LARGE,))
    assert shop.app.schedules.get("large").args == ("small",)


def test_a_schedules_message_that_is_too_large_is_left_out_and_the_next_ones_are_sent(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.app.conf.beat_schedule = {
        "large": {"task": "shop.part", "schedule": 60.0, "args": (LARGE,)},
        "small": {"task": "shop.part", "schedule": 60.0, "args": ("small",)},
    }
    with caplog.at_level(logging.ERROR, "celery.beat"):
        shop.run.advance(130)
    assert [one.value for one in shop.run.ran] == ["small", "small"]
    assert [one.what for one in shop.app.schedules.history("large")] == ["failed", "failed"]
    assert (
        "large is not sent, this occurrence is dropped: EncodeError: the arguments of shop.part"
        in caplog.text
    )
