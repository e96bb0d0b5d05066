"""A scheduler answers ping while it ticks, and is silent once it is stuck."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest

from celeriac import Celery
from celeriac.beat.service import Beat
from stand import until


@pytest.fixture
def beat() -> Iterator[Beat]:
    with Celery("pinged", broker=f"memory://{uuid4().hex}", set_as_current=False) as app:
        app.conf.beat_enable_remote_control = True
        beat = Beat(app, hostname="celerybeat@here")
        thread = threading.Thread(target=beat.start)
        thread.start()
        yield beat
        beat.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_BEA_7_a_scheduler_answers_ping_under_its_name(beat: Beat) -> None:
    ping = beat.app.control.inspect(["celerybeat@here"], timeout=0.3).ping
    assert until(ping) == {"celerybeat@here": {"ok": "pong"}}
    assert not beat.app.control.inspect(["celerybeat@elsewhere"], timeout=0.1).ping()
    assert not beat.app.control.inspect(["celerybeat@here"], timeout=0.1).stats(), "it answers nothing else"


def test_BEA_7_a_scheduler_that_does_not_tick_answers_nothing(beat: Beat) -> None:
    until(beat.app.control.inspect(["celerybeat@here"], timeout=0.3).ping)
    beat.app.conf.beat_remote_control_max_tick_age = 1e-9
    assert not beat.app.control.inspect(["celerybeat@here"], timeout=0.2).ping()
