"""The true executable, from the outside: what it prints where, and how it exits."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import celeriac
from celeriac import Celery
from celeriac.cli import events
from celeriac.cli.invocation import Invocation
from celeriac.cli.program import COMMANDS, program
from celeriac.cli.remote import say_how_many
from celeriac.drivers.opening import open_broker, open_results
from celeriac.message import Fate, Outcome, Result
from celeriac.wire.result import encode_result
from services import clean_environment

Run = Callable[..., subprocess.CompletedProcess[str]]


# --- the frame --------------------------------------------------------------------------------------------


def test_the_version_is_one_line(run: Run) -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"celeriac {celeriac.__version__}\n")


def test_the_version_is_there_before_one_looks(run: Run) -> None:
    def seconds() -> float:
        before = os.times()
        run("--version")
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    # 0.15 s is the aim on a quiet machine; seconds of CPU, which a loaded one does not stretch as much.
    assert min(seconds() for _ in range(3)) < 0.6


def test_without_a_command_it_shows_them_all(run: Run) -> None:
    done = run()
    assert done.returncode == 0
    for command in ("worker", "queue", "dead", "purge", "call", "result", "report"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "worker",
        "queue list",
        "queue peek",
        "queue purge",
        "dead list",
        "dead replay",
        "purge",
        "call",
        "result",
    ],
)
def test_every_command_explains_itself_without_an_app(run: Run, command: str) -> None:
    done = run("-A", "nowhere", *command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nope", "No such command 'nope'"),
        ("--bogus", "No such option"),
        ("worker --bogus", "No such option"),
        (
            "worker -A main",
            "-A is a global option and stands before the command: python -m celeriac -A ... worker",
        ),
        ("queue list -b x://", "-b is a global option and stands before the command"),
        ("queue list --app=main", "--app is a global option and stands before the command"),
        ("-A nowhere report", "There is no module 'nowhere'"),
        ("-A main.nothing report", "it has no 'nothing'"),
        ("--workdir nowhere report", "'nowhere' does not exist"),
        ("-A main worker -P eventlet", "use -P gevent"),
        ("-A main worker -P bogus", "take prefork, threads, gevent, asyncio or solo"),
        ("-A main worker -c 0", "give 1 or more"),
        ("-A main worker -l LOUD", "'LOUD' is not one of DEBUG, INFO"),
        ("-A main worker word", "has the form group.name=value"),
        ("-A main worker task.tme_limit=3", "did you mean 'task_time_limit'"),
        ("-A main worker -n w@%q", "%q in 'w@%q' stands for nothing"),
        ("-A main worker -D", "add -f FILE"),
        ("-A main worker --uid nobody_of_this_name", "--uid"),
        ("-A main worker --umask 9", "octal"),
        ("-A main worker --time-limit 0", "--time-limit"),
        ("worker --pool-start-method spawn", "add -A"),
        ("-A main call add -a 1", "JSON, but no array"),
        ("-A main call add --eta tomorrow", "ISO 8601"),
        ("-A main result", "Missing argument 'TASK_ID'"),
        ("-A main dead replay", "or give --all"),
        ("-A main queue peek", "Missing argument 'NAME'"),
    ],
)
def test_wrong_usage_is_told_in_one_place_with_exit_code_2(run: Run, line: str, said: str) -> None:
    done = run(*line.split())
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_app_that_cannot_be_imported_shows_the_users_line(run: Run, project: Path) -> None:
    (project / "broken.py").write_text("import os\nimport thing_that_is_not_there\n")
    done = run("-A", "broken", "worker")
    assert done.returncode == 2
    assert "Unable to load celery application." in done.stderr
    assert f'File "{project}/broken.py", line 2, in <module>' in done.stderr
    assert "ModuleNotFoundError: No module named 'thing_that_is_not_there'" in done.stderr
    assert "site-packages" not in done.stderr


def test_the_environment_speaks_for_options_that_are_not_given(run: Run) -> None:
    assert (
        json.loads(run("report", "--json", environ={"CELERY_APP": "main"}).stdout)["app"] == "main from main"
    )
    assert json.loads(run("report", "--json", environ={"APP": "main"}).stdout)["app"] == "main from main"
    done = run("report", environ={"APP": "nowhere"})
    assert done.returncode == 2
    assert "came from CELERY_APP or APP in the environment" in done.stderr
    assert run("-A", "main", "worker", environ={"CELERY_WORKER_CONCURRENCY": "0"}).returncode == 2


def test_the_working_directory_may_be_named(
    run: Run, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = run("--workdir", str(project), "-A", "main", "report", "--json", cwd=elsewhere)
    assert json.loads(done.stdout)["app"] == "main from main"


def test_the_broker_of_the_command_line_wins(run: Run) -> None:
    done = run("-A", "main", "-b", "sqlite:///other.db", "report", "--json")
    facts = json.loads(done.stdout)
    assert (facts["broker"], facts["results"]) == ("sqlite:///other.db", "sqlite:///shop.db")


@pytest.mark.parametrize("line", ["queue list", "call add", "purge -f"])
def test_an_unreachable_server_is_one_line_and_exit_code_1(run: Run, line: str) -> None:
    done = run("-b", "redis://127.0.0.1:1/0", *line.split())
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stderr.startswith("Error: ")
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_scheme_lists_the_known_ones(run: Run) -> None:
    done = run("-b", "kafka://x", "queue", "list")
    assert done.returncode == 1
    assert "sqlite://" in done.stderr


# --- queues -----------------------------------------------------------------------------------------------


def test_what_is_called_waits_and_can_be_seen_counted_and_removed(run: Run) -> None:
    first = run("-A", "main", "call", "main.add", "-a", "[1, 2]").stdout.strip()
    second = run("-A", "main", "call", "main.add", "-k", '{"x": "ü", "y": null}').stdout.strip()
    later = run("-A", "main", "call", "main.add", "--countdown", "3600").stdout.strip()
    assert len({first, second, later}) == 3

    (counts,) = json.loads(run("-A", "main", "queue", "list", "--json").stdout)
    assert counts == {"queue": "celery", "ready": 2, "delayed": 1, "claimed": 0, "dead": 0, "paused": None}

    seen = json.loads(run("-A", "main", "queue", "peek", "celery", "-n", "100", "--json").stdout)
    assert [(row["id"], row["name"]) for row in seen] == [(first, "main.add"), (second, "main.add")]
    assert (seen[0]["args"], seen[0]["kwargs"]) == ("(1, 2)", "{}")
    assert seen[1]["kwargs"] == "{'x': 'ü', 'y': None}"
    assert (seen[0]["eta"], seen[0]["retries"]) == (None, 0)
    assert 0 <= seen[0]["age"] < 60

    lines = run("-A", "main", "queue", "peek", "celery", "-n", "1").stdout.splitlines()
    assert lines[0].split() == ["id", "name", "args", "kwargs", "eta", "retries", "age"]
    assert [line.split()[0] for line in lines[1:]] == [first]

    assert run("-A", "main", "purge", "-f").stdout == "Purged 3 messages from 1 known task queue.\n"
    assert run("-A", "main", "purge", "-f").stdout == "No messages purged from 1 known task queue.\n"
    assert run("-A", "main", "queue", "peek", "celery").stdout == "Nothing waits in celery.\n"


def test_a_purge_asks_first_and_no_is_no(run: Run) -> None:
    run("-A", "main", "call", "main.add", "--queue", "odd name/ü")
    refused = run("-A", "main", "queue", "purge", "odd name/ü", said="n\n")
    assert refused.returncode == 1
    assert "There is no undo" in refused.stderr
    assert run("-A", "main", "queue", "purge", "odd name/ü").returncode == 1
    agreed = run("-A", "main", "queue", "purge", "odd name/ü", "--json", said="y\n")
    assert json.loads(agreed.stdout) == {"odd name/ü": 1}


def test_a_purge_keeps_to_the_named_queues(run: Run) -> None:
    for queue in ("a", "b", "c"):
        run("-A", "main", "call", "main.add", "--queue", queue)
    assert json.loads(run("-A", "main", "purge", "-f", "-Q", "a", "--json").stdout) == {"a": 1}
    assert json.loads(run("-A", "main", "purge", "-f", "-X", "c", "--json").stdout) == {"b": 1, "celery": 0}


def test_a_message_cannot_write_on_the_terminal(run: Run) -> None:
    run("-A", "main", "call", "main.add", "-a", json.dumps(["\x1b[2J\nfaked"]))
    shown = run("-A", "main", "queue", "peek", "celery").stdout
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 2


def test_bytes_that_are_no_task_are_shown_as_such(run: Run, project: Path) -> None:
    broker = open_broker(f"sqlite:///{project}/shop.db")
    broker.publish([celeriac.message.Message(id="x", queue="celery", payload=b"\xff\x00")])
    broker.close()
    (row,) = json.loads(run("-A", "main", "queue", "peek", "celery", "--json").stdout)
    assert row["name"].startswith("(no task message: 2 bytes")


def test_redis_shows_the_same(run: Run, redis_db: str) -> None:
    first, second = (run("-b", redis_db, "call", "any.task", "-a", f"[{n}]").stdout.strip() for n in (1, 2))
    (counts,) = json.loads(run("-b", redis_db, "queue", "list", "--json").stdout)
    assert counts == {"queue": "celery", "ready": 2, "delayed": 0, "claimed": 0, "dead": 0, "paused": None}
    seen = json.loads(run("-b", redis_db, "queue", "peek", "celery", "--json").stdout)
    assert [(row["id"], row["name"], row["args"]) for row in seen] == [
        (first, "any.task", "(1,)"),
        (second, "any.task", "(2,)"),
    ]


def test_a_person_sees_a_table_with_whole_ids(run: Run, project: Path) -> None:
    task_id = run("-A", "main", "call", "main.add", "-a", "[1, 2]").stdout.strip()
    shown = at_a_terminal(["-A", "main", "queue", "peek", "celery"], project)
    assert "┏" in shown
    assert "main.add" in shown
    assert task_id in shown


def test_where_a_table_would_cut_an_id_each_cell_has_a_line(run: Run, project: Path) -> None:
    task_id = run("-A", "main", "call", "main.add", "-a", "[1, 2]").stdout.strip()
    shown = at_a_terminal(["-A", "main", "queue", "peek", "celery"], project, columns=80)
    assert re.match(rf"id +{task_id}\r\nname +main\.add\r\n", shown)


@pytest.mark.parametrize(("term", "painted"), [("xterm", True), ("dumb", False)])
def test_events_are_painted_only_where_the_cursor_can_be_moved(
    monkeypatch: pytest.MonkeyPatch, term: str, painted: bool
) -> None:
    ours, theirs = pty.openpty()
    with open(ours), open(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("TERM", term)
        assert events.can_be_painted() is painted


def at_a_terminal(arguments: list[str], cwd: Path, columns: int = 200) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "celeriac", *arguments],
        cwd=cwd,
        env=clean_environment({"COLUMNS": str(columns), "TERM": "xterm"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not read:
            break
        shown += read
    os.close(ours)
    assert process.wait(30) == 0, shown
    return shown.decode()


# --- dead letters -----------------------------------------------------------------------------------------


def test_dead_letters_are_listed_with_their_reason_and_replayed(run: Run, project: Path) -> None:
    task_id = run("-A", "main", "call", "main.add", "-a", "[1, 2]").stdout.strip()
    broker = open_broker(f"sqlite:///{project}/shop.db")
    broker.consume(["celery"])
    broker.enlist("owner", "node", 30)
    (claim,) = broker.turn("owner", [], 1)
    broker.turn("owner", [Outcome(claim.number, Fate.DEAD, id=task_id, reason="it killed three workers")], 0)
    broker.close()
    results = open_results(f"sqlite:///{project}/shop.db")
    results.save([Result(task_id, b"its FAILURE")])

    (letter,) = json.loads(run("-A", "main", "dead", "list", "--json").stdout)
    assert (letter["id"], letter["queue"], letter["name"]) == (task_id, "celery", "main.add")
    assert (letter["args"], letter["reason"]) == ("(1, 2)", "it killed three workers")
    assert "it killed three workers" in run("-A", "main", "dead", "list").stdout

    unknown = run("-A", "main", "dead", "replay", "unknown")
    assert (unknown.returncode, unknown.stdout) == (1, "Replayed 0 dead letters.\n")
    assert results.load([task_id]) == [b"its FAILURE"]
    assert run("-A", "main", "dead", "replay", task_id).stdout == "Replayed 1 dead letter.\n"
    assert results.load([task_id]) == [None], "who asks waits for the new run"
    results.close()
    assert run("-A", "main", "dead", "list").stdout == "No dead letters.\n"
    (row,) = json.loads(run("-A", "main", "queue", "peek", "celery", "--json").stdout)
    assert row["id"] == task_id
    assert run("-A", "main", "dead", "replay", "--all").stdout == "Replayed 0 dead letters.\n"


# --- results ----------------------------------------------------------------------------------------------


@pytest.fixture
def save(project: Path) -> Callable[..., None]:
    """Store a result as a worker would."""

    def save(task_id: str, status: str, result: object, traceback: str | None = None) -> None:
        store = open_results(f"sqlite:///{project}/shop.db")
        payload = encode_result(
            task_id=task_id,
            status=status,
            result=result,
            traceback=traceback,
            date_done="2026-01-01T00:00:00+00:00",
        )
        store.save([Result(task_id, payload)])
        store.close()

    return save


def test_a_result_is_printed(run: Run, save: Callable[..., None]) -> None:
    save("id-1", "SUCCESS", {"a": [1, "ü"]})
    done = run("-A", "main", "result", "id-1")
    assert (done.returncode, done.stdout) == (0, "{'a': [1, 'ü']}\n")
    facts = json.loads(run("-A", "main", "result", "id-1", "--json").stdout)
    assert facts == {"id": "id-1", "state": "SUCCESS", "result": {"a": [1, "ü"]}}


def test_a_failure_is_told_and_exits_with_1(run: Run, save: Callable[..., None]) -> None:
    save("id-2", "FAILURE", ValueError("no such thing"), traceback="Traceback ...")
    done = run("-A", "main", "result", "id-2")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "FAILURE: ValueError: no such thing\n"
    shown = run("-A", "main", "result", "id-2", "--traceback")
    assert (shown.returncode, shown.stdout) == (0, "Traceback ...\n")
    facts = json.loads(run("-A", "main", "result", "id-2", "--json").stdout)
    assert facts["state"] == "FAILURE"
    assert "no such thing" in facts["error"]


def test_a_result_that_does_not_come_is_waited_for_only_so_long(run: Run) -> None:
    done = run("-A", "main", "result", "unknown", "--timeout", "0.2")
    assert done.returncode == 1
    assert done.stderr == "Error: no result of unknown within 0.2 s; its state is PENDING.\n"
    done = run("-A", "main", "result", "unknown", "--strict")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: nothing will come of task unknown: ")


# --- report -----------------------------------------------------------------------------------------------


def test_a_report_tells_what_matters_and_no_secret(run: Run, project: Path) -> None:
    (project / "secret.py").write_text(
        "from celeriac import Celery\n"
        "app = Celery('secret', broker='redis://me:hunter2@example.org/0', task_default_queue='mail',\n"
        "             redis_password='hunter3', my_api_key='hunter4')\n"
    )
    done = run("-A", "secret", "report")
    assert done.returncode == 0, done.stderr
    assert f"celeriac:{celeriac.__version__}" in done.stdout
    assert "task_default_queue = 'mail'" in done.stdout
    assert "example.org" in done.stdout
    assert "hunter" not in done.stdout
    assert "hunter" not in run("-A", "secret", "report", "--json").stdout


def test_the_list_of_commands_says_whole_sentences_and_imports_none_of_them() -> None:
    context = click.Context(program, info_name="celeriac")
    assert isinstance(program, click.Group)
    for name in COMMANDS:
        command = program.get_command(context, name)
        if isinstance(command, click.Group):
            cut = [one for one in command.commands.values() if one.get_short_help_str(60).endswith("...")]
            assert not cut, name
    assert max(len(said) for _, said in COMMANDS.values()) <= 54
    asked = "import sys; from celeriac.cli.program import program; program(['--help'], standalone_mode=False)"
    shown = subprocess.run(
        [sys.executable, "-c", f"{asked}; print(*sorted(sys.modules))"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    listed, imported = shown.rstrip().rsplit("\n", 1)
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert not {name for name in imported.split() if name.startswith(("celeriac.cli.w", "celeriac.worker.c"))}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("graph", "graph is a command of Celery that celeriac does not offer: there are no bootsteps"),
        ("amqp", "there is no AMQP inside"),
        ("flower", "pip install flower 'celery[redis]'"),
        ("inspct", "No such command 'inspct': did you mean inspect?"),
        ("wurst", "No such command 'wurst'; --help lists them."),
    ],
)
def test_a_command_that_is_not_there_is_told_with_what_to_do(name: str, says: str) -> None:
    done = CliRunner().invoke(program, [name])
    assert (done.exit_code, says in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("worker -I no_such_tasks", 1, "No module named 'no_such_tasks'\n(imported since imports, include"),
        ("beat", 1, "SystemExit: 3\n(imported since imports, include or autodiscover_tasks names 'ending'"),
        ("worker -f /dev/null/x.log", 1, "the log file /dev/null/x.log cannot be written: Not a directory"),
        ("worker --pidfile no/x.pid", 1, "there is no folder no: make it (mkdir -p no)"),
        ("worker -D -f no/x.log", 2, "-f no/x.log: there is no folder no: make it (mkdir -p no)"),
        ("call add --queue=", 2, "Invalid value for '--queue': the name of a queue is empty."),
        ("control revoke", 2, "revoke needs more: revoke [id1 [id2"),
        ("control terminate TERM", 2, "terminate needs more: terminate <signal> [id1"),
        ("inspect query_task", 2, "query_task needs more: query_task [id1"),
        ("inspect active ID more", 2, "active takes no further argument 'ID': active"),
    ],
)
def test_a_mistake_of_the_users_is_told_without_our_own_lines(
    project: Path, monkeypatch: pytest.MonkeyPatch, words: str, code: int, says: str
) -> None:
    (project / "ending.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(project)
    app = Celery("main", set_as_current=False, include=["ending"] if words == "beat" else [])
    done = CliRunner().invoke(program, ["-q", *words.split()], obj=app)
    assert (done.exit_code, says in done.stderr) == (code, True), (done.exit_code, done.stderr)
    assert "src/celeriac" not in done.stderr


def test_workers_of_one_name_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    pong = {"ok": "pong"}
    say_how_many(Invocation(), [{"w@here": pong}, {"v@here": pong}], as_json=False)
    assert capsys.readouterr() == ("\n2 nodes online.\n", "")
    say_how_many(Invocation(), [{"w@here": pong}, {"w@here": pong}], as_json=True)
    assert "Several workers are called w@here" in capsys.readouterr().err
