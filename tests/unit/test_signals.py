"""Signals: who hears, who is forgotten, and that nobody breaks what he listens to."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest

from celeriac import signals
from celeriac.signals import Signal


@pytest.fixture
def signal() -> Signal:
    return Signal(("what",), name="something")


def test_send_gives_what_each_receiver_returned(signal: Signal) -> None:
    def hear(sender: Any, what: str, **kwargs: Any) -> str:
        assert kwargs["signal"] is signal
        return f"{sender} {what}"

    signal.connect(hear)
    assert signal.send("me", what="now") == [(hear, "me now")]
    assert signal.send_robust("me", what="now") == [(hear, "me now")]


def test_without_receivers_there_is_nothing_to_ask(signal: Signal) -> None:
    assert not signal.receivers
    assert signal.send("me", what="now") == []
    assert not signal.has_listeners()


def test_connect_is_a_decorator_bare_and_with_a_sender(signal: Signal) -> None:
    @signal.connect
    def everyone(**kwargs: Any) -> str:
        return "everyone"

    @signal.connect(sender="ann")
    def only_ann(**kwargs: Any) -> str:
        return "ann"

    assert [answer for _, answer in signal.send("ann")] == ["everyone", "ann"]
    assert [answer for _, answer in signal.send("bob")] == ["everyone"]
    assert signal.has_listeners("bob")


def test_a_sender_may_be_any_object(signal: Signal) -> None:
    class Sender:
        pass

    first, second = Sender(), Sender()

    def hear(**kwargs: Any) -> None: ...

    signal.connect(hear, sender=first)
    assert signal.has_listeners(first)
    assert not signal.has_listeners(second)
    assert len(signal.send(first)) == 1


def test_a_lazy_proxy_hears_its_task(signal: Signal) -> None:
    class Task:
        pass

    class Proxy:
        def __init__(self, task: Task) -> None:
            self.task = task

        def __eq__(self, other: object) -> bool:
            return other is self.task

        __hash__ = object.__hash__

    task = Task()
    proxy = Proxy(task)

    @signal.connect(sender=proxy)
    def hear(**kwargs: Any) -> None: ...

    assert signal.has_listeners(task)


def test_connecting_twice_calls_once(signal: Signal) -> None:
    calls = []

    def hear(**kwargs: Any) -> None:
        calls.append(1)

    signal.connect(hear)
    signal.connect(hear)
    signal.send("me")
    assert calls == [1]


def test_a_dispatch_uid_makes_one_of_many(signal: Signal) -> None:
    def make(answer: int) -> Any:
        def hear(**kwargs: Any) -> int:
            return answer

        return hear

    first, second = make(1), make(2)
    signal.connect(first, dispatch_uid="mine")
    signal.connect(second, dispatch_uid="mine")
    assert [answer for _, answer in signal.send("me")] == [1]
    assert signal.disconnect(dispatch_uid="mine")
    assert not signal.receivers


def test_disconnect_wants_the_same_sender(signal: Signal) -> None:
    def hear(**kwargs: Any) -> None: ...

    signal.connect(hear, sender="ann")
    assert not signal.disconnect(hear)
    assert signal.disconnect(hear, sender="ann")
    assert not signal.disconnect(hear, sender="ann")
    assert not signal.receivers


def test_a_receiver_that_nobody_holds_is_forgotten(signal: Signal) -> None:
    def hear(**kwargs: Any) -> None: ...

    signal.connect(hear)
    del hear
    gc.collect()
    assert not signal.has_listeners()
    assert signal.send("me") == []
    assert not signal.receivers


def test_a_strong_receiver_stays(signal: Signal) -> None:
    signal.connect(lambda **kwargs: "here", weak=False)
    gc.collect()
    assert [answer for _, answer in signal.send("me")] == ["here"]


def test_methods_are_held_by_their_object(signal: Signal) -> None:
    class Listener:
        def hear(self, **kwargs: Any) -> str:
            return "heard"

    listener = Listener()
    signal.connect(listener.hear)
    signal.connect(listener.hear)
    gc.collect()
    assert [answer for _, answer in signal.send("me")] == ["heard"]
    assert signal.disconnect(listener.hear)
    signal.connect(listener.hear)
    del listener
    gc.collect()
    assert signal.send("me") == []


def test_an_error_of_a_receiver_is_logged_and_goes_no_further(
    signal: Signal, caplog: pytest.LogCaptureFixture
) -> None:
    class HostileError(Exception):
        def __repr__(self) -> str:
            raise RuntimeError

    def break_down(**kwargs: Any) -> None:
        raise HostileError

    def hear(**kwargs: Any) -> str:
        return "heard"

    signal.connect(break_down)
    signal.connect(hear)
    with caplog.at_level(logging.ERROR):
        (_, error), (_, answer) = signal.send("me")
    assert isinstance(error, HostileError)
    assert answer == "heard"
    assert "break_down of signal something raised HostileError" in caplog.text


def test_an_order_to_stop_passes_through(signal: Signal) -> None:
    def stop(**kwargs: Any) -> None:
        raise SystemExit(3)

    signal.connect(stop)
    with pytest.raises(SystemExit):
        signal.send("me")


def test_a_receiver_must_take_keyword_arguments(signal: Signal) -> None:
    def narrow(sender: Any) -> None: ...

    with pytest.raises(ValueError, match="narrow must accept keyword arguments"):
        signal.connect(narrow)
    with pytest.raises(TypeError, match="callable"):
        signal.connect(3)  # type: ignore[call-overload]


def test_a_receiver_may_leave_while_the_signal_is_sent(signal: Signal) -> None:
    def once(**kwargs: Any) -> None:
        signal.disconnect(once)

    signal.connect(once)
    assert len(signal.send("me")) == 1
    assert signal.send("me") == []


def test_every_signal_knows_its_name() -> None:
    found = {name: thing for name, thing in vars(signals).items() if isinstance(thing, Signal)}
    assert len(found) == 34
    assert all(thing.name == name for name, thing in found.items())
    assert signals.task_success.providing_args == {"result", "runtime"}
