"""The commands beside worker and queues, through the true executable: multi, migrate, shell and others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from celeriac import Celery
from celeriac.cli.logtool import Entry, event_of
from celeriac.cli.nodes import nodes, read
from celeriac.cli.upgrade import renamed
from celeriac.drivers.opening import open_broker
from celeriac.message import Depth, Message
from services import clean_environment
from stand import alive, until

Run = Callable[..., subprocess.CompletedProcess[str]]

# --- multi ------------------------------------------------------------------------------------------------

FILES = ("--pidfile=%n.pid", "--logfile=%n%I.log")


@pytest.fixture
def cluster(run: Run, project: Path) -> Iterator[Run]:
    yield run
    run("multi", "kill", "w1", "w2", "--pidfile=%n.pid")


def test_CLI_2_multi_starts_restarts_and_stops_nodes_in_the_background(cluster: Run, project: Path) -> None:
    started = cluster("-A", "main", "multi", "start", "w1", "w2", "-c", "1", "-l", "info", *FILES)
    assert started.returncode == 0, started.stderr
    assert [line.partition("@")[0] for line in started.stdout.splitlines()[1:]] == ["\t> w1", "\t> w2"]
    first = pids(project)
    assert all(alive(pid) for pid in first.values())
    restarted = cluster("multi", "restart", "w1", "-A", "main", "-c", "1", "-l", "info", *FILES)
    assert restarted.returncode == 0, restarted.stderr
    second = pids(project)
    assert (second["w1"] != first["w1"], second["w2"]) == (True, first["w2"])
    until(lambda: "ready." in (project / "w1.log").read_text())
    stopped = cluster("multi", "stopwait", "w1", "w2", "nobody", "--pidfile=%n.pid")
    assert "nobody@" in stopped.stdout
    assert ": DOWN" in stopped.stdout
    assert pids(project) == {}
    assert not any(alive(pid) for pid in second.values())


def test_CLI_2_multi_stops_what_a_pidfile_names_and_nothing_else(run: Run, tmp_path: Path) -> None:
    for name, left in (("own", os.getpid()), ("all", -1), ("much", 10**30)):
        (tmp_path / f"{name}.pid").write_text(str(left))
    files = f"--pidfile={tmp_path}/%n.pid"
    stopped = run("multi", "stop", "all", "much", files)
    assert stopped.stdout.count(": DOWN") == 2, stopped.stderr
    refused = run("multi", "stop", "own", "-99", files)
    assert refused.returncode == 2
    assert "-99: there is no signal of this number" in refused.stderr


def test_CLI_2_multi_shows_what_it_would_start_and_says_what_fails(run: Run) -> None:
    shown = run("multi", "show", "2", "-A", "main", "-c", "4", "-c:1", "8", *FILES, "--", "task.time_limit=4")
    one, two = shown.stdout.splitlines()
    assert " -A main worker --detach -n celery1@" in one
    assert one.endswith(" -c 4 --pidfile=%n.pid --logfile=%n%I.log -c 8 task.time_limit=4")
    assert two.endswith(" -c 4 --pidfile=%n.pid --logfile=%n%I.log task.time_limit=4")
    failed = run("multi", "start", "w1", "-A", "nowhere", *FILES)
    assert failed.returncode == 1
    assert "There is no module 'nowhere'" in failed.stderr
    assert "w1@" in failed.stderr
    assert "FAILED" in failed.stderr


def pids(folder: Path) -> dict[str, int]:
    return {path.stem: int(path.read_text()) for path in folder.glob("w?.pid")}


FLAGS, VALUED = {"-E", "--purge", "--quiet"}, {"-c", "-Q", "-A", "--logfile", "--prefix", "--suffix"}
OWN = {"--prefix", "--suffix", "--quiet"}


def taken_apart(line: str, own: set[str] = OWN) -> dict[str, list[tuple[str, str | None]]]:
    said = read(line.split(), FLAGS, VALUED)
    return {node.name: list(node.options) for node in nodes(said, said.words, own, "h")}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("start a b", {"a@h": [], "b@h": []}),
        ("start a@x", {"a@x": []}),
        ("start 2 --suffix x --prefix p", {"pcelery1@x": [], "pcelery2@x": []}),
        ("start a -E -c 3 --purge", {"a@h": [("-E", None), ("-c", "3"), ("--purge", None)]}),
        ("start a -c3 --logfile x.log", {"a@h": [("-c", "3"), ("--logfile", "x.log")]}),
        ("start a b -c:a 3 -c 1", {"a@h": [("-c", "1"), ("-c", "3")], "b@h": [("-c", "1")]}),
        ("start 3 -Q:1,3 x", {"celery1@h": [("-Q", "x")], "celery2@h": [], "celery3@h": [("-Q", "x")]}),
        ("start 3 -Q:2-3 x", {"celery1@h": [], "celery2@h": [("-Q", "x")], "celery3@h": [("-Q", "x")]}),
        ("stop -9 a", {"a@h": [("-9", None)]}),
        ("stop a -TERM --mine=4", {"a@h": [("-TERM", None), ("--mine", "4")]}),
    ],
)
def test_CLI_2_multi_takes_its_line_apart(
    line: str, expected: dict[str, list[tuple[str, str | None]]]
) -> None:
    assert taken_apart(line) == expected


def test_CLI_2_an_option_for_a_node_that_is_not_there_is_refused() -> None:
    with pytest.raises(click.UsageError, match="no node 'c' among a@h, b@h"):
        taken_apart("start a b -c:c 3")


# --- moving and looking -----------------------------------------------------------------------------------


def test_CLI_7_migrate_copies_or_moves_between_brokers_in_order(run: Run, project: Path) -> None:
    source, there = (f"sqlite:///{project}/{name}.db" for name in ("source", "there"))
    broker, other = open_broker(source), open_broker(there)
    for word in "abcd":
        payload = json.dumps({"word": word}).encode()
        broker.publish([Message(word, "mail" if word == "d" else "celery", payload)])
    with Celery("client", broker=source, set_as_current=False) as client:
        client.send_task("later", task_id="later", countdown=3600)
        client.control.pause("celery")

    copied = run("migrate", source, there, "-Q", "celery", "-n", "2")
    assert copied.stdout == "Copied 2 messages.\n", copied.stderr
    assert broker.depth(["celery"])["celery"] == Depth(ready=3, delayed=1)
    assert other.purge("celery") == 2
    assert run("migrate", source, there).stdout == "Copied 5 messages.\n"
    assert (
        broker.depth(["celery"])["celery"] == other.depth(["celery"])["celery"] == Depth(ready=3, delayed=1)
    )
    assert other.purge("celery") + other.purge("mail") == 5

    only = run("migrate", source, there, "-a", "-T", "later", "--json")
    assert json.loads(only.stdout) == {"migrated": 1, "put back": 0, "held by stock workers": 0}
    moved = run("migrate", source, there, "-a")
    assert moved.stdout == "Moved 4 messages.\n", moved.stderr
    assert [json.loads(payload)["word"] for payload in other.peek("celery", 9)] == ["a", "b", "c"]
    ((eta, _),) = other.delayed("celery", 9)
    assert 3500 < eta - time.time() < 3600
    assert (broker.queues(), other.depth(["mail"])["mail"].ready) == ([], 1)
    assert run("migrate", source, there, "-F").returncode == 2
    assert "the same broker" in run("migrate", source, source).stderr
    broker.close()
    other.close()


def test_CLI_7_list_bindings_and_the_shell_know_the_app(run: Run) -> None:
    listed = run("-A", "main", "list", "bindings", "--json")
    assert json.loads(listed.stdout) == [{"queue": "celery", "exchange": "celery", "routing_key": "celery"}]
    said = run("-A", "main", "shell", said="print(app.main, add.run(1, 2), chain, celery is app)\n")
    assert said.stdout.startswith("main 3 <")
    assert said.stdout.endswith(" True\n")
    bare = run("-A", "main", "shell", "-T", said="print('add' in dir())\n")
    assert bare.stdout == "False\n"


# --- logs -------------------------------------------------------------------------------------------------

LOG = """printed before
[2026-01-31 08:30:00,001: INFO/MainProcess] Task shop.pay[1] received
[2026-01-31 08:30:00,101: INFO/ForkPoolWorker-1] Task shop.pay[1] succeeded in 0.25s: 3
[2026-01-31 08:30:01,001: INFO/MainProcess] Task shop.pay[2] received
[2026-01-31 08:30:01,101: ERROR/ForkPoolWorker-1] Task shop.pay[2] raised unexpected: ValueError('no')
Traceback (most recent call last):
  File "shop.py", line 1, in pay
ValueError: no
{"time": "2026-01-31T08:30:02.000+00:00", "level": "INFO", "message": "Task shop.mail[3] received"}
"""


def test_CLI_7_logtool_tells_what_became_of_tasks(run: Run, project: Path) -> None:
    (project / "w.log").write_text(LOG)
    stats = json.loads(run("logtool", "stats", "w.log", "--json").stdout)
    assert stats[0] == {
        "task": "shop.pay", "received": 2, "succeeded": 1, "failed": 1, "retried": 0, "revoked": 0,
        "seconds": 0.25, "mean": 0.25,
    }  # fmt: skip
    assert run("logtool", "incomplete", "w.log").stdout.splitlines()[1:] == [
        "3   shop.mail  2026-01-31T08:30:02.000+00:00"
    ]
    assert run("logtool", "traces", said=LOG).stdout.splitlines()[1:] == LOG.splitlines()[5:8]
    assert run("logtool", "debug", "w.log").stdout == "printed before\n"


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("Task a.b[1] retry: Retry in 1s", ("a.b", "1", "retried")),
        ("Discarding revoked task: a.b[1]", ("a.b", "1", "revoked")),
        ("Task a.b[1] raised expected: KeyError()", ("a.b", "1", "failed")),
        ("Task a.b[1] ignored", None),
        ("w1@h ready.", None),
    ],
)
def test_CLI_7_logtool_knows_the_lines_of_a_worker(text: str, event: tuple[str, str, str] | None) -> None:
    assert event_of(Entry("", "INFO", text, [])) == event


# --- settings, plugins, completion ------------------------------------------------------------------------


def test_CLI_7_upgrade_settings_renames_and_keeps_the_old_file(run: Run, project: Path) -> None:
    old = "BROKER_URL = 'redis://'\nCELERYD_CONCURRENCY = 4  # CELERYD_CONCURRENCY\nMINE = 1\n"
    (project / "settings.py").write_text(old)
    assert run("upgrade", "settings", "settings.py").stdout == "Changed 2 lines of settings.py.\n"
    assert (project / "settings.py").read_text() == (
        "broker_url = 'redis://'\nworker_concurrency = 4  # CELERYD_CONCURRENCY\nMINE = 1\n"
    )
    assert (project / "settings.py.orig").read_text() == old
    assert run("upgrade", "settings", "settings.py").stdout.startswith("Does not seem to require")
    assert renamed("CELERYD_CONCURRENCY = 4\n", django=True) == "CELERY_WORKER_CONCURRENCY = 4\n"


def test_CLI_8_other_packages_add_commands_and_a_broken_one_is_named(run: Run, project: Path) -> None:
    package = project / "plug-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[celery.commands]\nflowers = plug:flowers\nbroken = plug:nothing\n"
        "[celeriac.commands]\nours = plug:ours\n"
    )
    (project / "plug.py").write_text(
        "import click\n@click.command()\n@click.pass_context\ndef flowers(ctx):\n"
        "    click.echo(ctx.obj.app.main)\n@click.command()\ndef ours():\n    click.echo('hello')\n"
    )
    environ = {"PYTHONPATH": str(project)}
    assert run("-A", "main", "flowers", environ=environ).stdout == "main\n"
    assert run("ours", environ=environ).stdout == "hello\n"
    broken = run("broken", environ=environ)
    assert broken.returncode == 2
    assert "comes from the package plug (plug:nothing), which fails: AttributeError" in broken.stderr


def test_the_shell_completes_commands(run: Run) -> None:
    script = run("completion", "bash")
    assert "_CELERIAC_COMPLETE=bash_complete" in script.stdout
    environ = {"_CELERIAC_COMPLETE": "bash_complete", "COMP_WORDS": "celeriac mul", "COMP_CWORD": "1"}
    program = Path(sys.executable).with_name("celeriac")
    done = subprocess.run(
        [program], env=clean_environment() | environ, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout == "plain,multi\n", done.stderr
