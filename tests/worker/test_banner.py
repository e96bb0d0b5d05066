"""The text at the start of a worker, line for line."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from celeriac.worker.banner import Station, banner, say, show, shown_store, without_password


def station(**changes: object) -> Station:
    facts: dict[str, object] = {
        "nodename": "celery@host",
        "version": "0.1.0",
        "app_name": "proj",
        "app_id": 0x7FD106040750,
        "transport": "redis://127.0.0.1:6379/0",
        "results": "redis://127.0.0.1:6379/0",
        "concurrency": 2,
        "pool": "prefork",
        "started": "2026-11-22 23:24:45",
    }
    return Station(**{**facts, **changes})  # type: ignore[arg-type]


def lines(text: str) -> list[str]:
    """What stands to the right of the picture."""
    return [line[16:] if not line.startswith(("  . ", "[", " ---")) else line for line in text.splitlines()]


def test_every_line_has_celerys_shape() -> None:
    text = banner(station(queues=("celery", "high_priority")), ["proj.mul", "proj.add", "celery.chain"])
    shown = lines(text)
    assert " -------------- celery@host v0.1.0 (celeriac)" in shown
    assert any(line.endswith(" 2026-11-22 23:24:45") for line in shown)
    for line in (
        "[config]",
        ".> app:         proj:0x7fd106040750",
        ".> transport:   redis://127.0.0.1:6379/0",
        ".> results:     redis://127.0.0.1:6379/0",
        ".> concurrency: 2 (prefork)",
        ".> task events: OFF (enable -E to monitor tasks in this worker)",
        ".> celery           exchange=celery(direct) key=celery",
        ".> high_priority    exchange=high_priority(direct) key=high_priority",
    ):
        assert line in shown
    assert text.endswith("\n[tasks]\n  . proj.add\n  . proj.mul\n")


def test_the_list_of_tasks_is_shown_only_when_asked_for() -> None:
    assert "[tasks]" not in banner(station())


def test_the_guarantee_of_delivery_is_told() -> None:
    assert ".> delivery:    at least once (task_acks_late" in banner(station())
    assert ".> delivery:    at most once (task_acks_late=False" in banner(station(acks_late=False))


def test_results_that_are_off_and_events_that_are_on_are_told() -> None:
    shown = lines(banner(station(results=None, task_events=True)))
    assert ".> results:     disabled://" in shown
    assert ".> task events: ON" in shown


def test_the_embedded_default_is_told_with_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path.cwd() / "celeriac.db"
    assert f".> transport:   sqlite:///{path}\n" in banner(station(transport="sqlite:///celeriac.db"))
    assert shown_store("sqlite:////var/lib/my%20queue.db") == "sqlite:////var/lib/my queue.db"
    assert shown_store("sqlite://") == "sqlite://"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:6379/0", "redis://user:**@host:6379/0"),
        ("redis://:secret@host", "redis://:**@host"),
        ("redis://:secr@et@host", "redis://:**@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis+socket:///tmp/redis.sock", "redis+socket:///tmp/redis.sock"),
        ("memory://", "memory://"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_a_line_to_the_terminal_goes_past_the_log(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        say("worker: Warm shutdown (MainProcess)", stream)
    assert (tmp_path / "out").read_text() == "\nworker: Warm shutdown (MainProcess)\n"


def test_a_terminal_that_is_gone_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        say("worker: Warm shutdown (MainProcess)", stream)


def test_a_terminal_that_lacks_a_sign_is_shown_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "__stdout__", io.TextIOWrapper(written, encoding="ascii"))
    show(". größe")
    assert written.getvalue() == rb". gr\xf6\xdfe" + b"\n"
