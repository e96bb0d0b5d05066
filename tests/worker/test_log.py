"""What lines look like, where they go, and that stopping puts everything back."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from celeriac import request, signals
from celeriac.config import Settings
from celeriac.exceptions import ImproperlyConfigured
from celeriac.log import get_task_logger
from celeriac.request import Request
from celeriac.worker import printed
from celeriac.worker.log import WorkerLogging, expand, level_number, name_process

NODE = "w1@host.example.org"


@pytest.fixture
def log_of(tmp_path: Path) -> Iterator[Callable[..., Log]]:
    """Starts logging as a worker does, to a file; all is stopped after the test."""
    started: list[WorkerLogging] = []

    def start(conf: dict[str, Any] | None = None, **options: Any) -> Log:
        path = tmp_path / "worker.log"
        options.setdefault("logfile", str(path))
        options.setdefault("loglevel", "INFO")
        started.append(WorkerLogging(Settings(conf or {}, environ={}), NODE, **options))
        started[-1].start()
        return Log(path, started[-1])

    yield start
    for logging_ in started:
        logging_.stop()


class Log:
    def __init__(self, path: Path, logging_: WorkerLogging) -> None:
        self.path = path
        self.logging = logging_

    @property
    def lines(self) -> list[str]:
        """The lines without their time."""
        text = self.path.read_text()
        return [re.sub(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: ", "[", line) for line in text.splitlines()]


@contextmanager
def running(task: str = "proj.add", task_id: str = "1234") -> Iterator[None]:
    request.push(Request(id=task_id, task=task))
    try:
        yield
    finally:
        if printed.unfinished:
            printed.finish_lines()
        request.pop()


def test_a_line_has_the_form_that_operators_know(log_of: Callable[..., Log]) -> None:
    log = log_of()
    logging.getLogger("celery.app.trace").info("Task %s[%s] received", "proj.add", "1234")
    assert re.fullmatch(
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: INFO/MainProcess\] Task proj.add\[1234\] received\n",
        log.path.read_text(),
    )


def test_lines_below_the_level_are_not_written(log_of: Callable[..., Log]) -> None:
    log = log_of(loglevel="warning")
    logging.getLogger("celery.worker").info("unheard")
    logging.getLogger("celery.worker").warning("heard")
    assert log.lines == ["[WARNING/MainProcess] heard"]


def test_a_childs_lines_carry_its_name(log_of: Callable[..., Log]) -> None:
    log = log_of()
    before = multiprocessing.current_process().name
    try:
        log.logging.enter_child("ForkPoolWorker-7", 7)
        logging.getLogger("celery").info("here")
    finally:
        name_process(before)
    assert log.lines == ["[INFO/ForkPoolWorker-7] here"]


def test_a_child_has_its_own_file_where_the_name_says_so(log_of: Callable[..., Log], tmp_path: Path) -> None:
    log = log_of(logfile=str(tmp_path / "%n%I.log"))
    logging.getLogger("celery").info("of the main process")
    before = multiprocessing.current_process().name
    try:
        log.logging.enter_child("ForkPoolWorker-2", 2)
        logging.getLogger("celery").info("of the child")
        get_task_logger("proj.child").info("of its task")
    finally:
        name_process(before)
    assert "of the main process" in (tmp_path / "w1.log").read_text()
    child = (tmp_path / "w1-2.log").read_text()
    assert "of the child" in child
    assert "of its task" in child
    assert "child" not in (tmp_path / "w1.log").read_text()


def test_a_log_file_that_is_away_costs_nobody_more_than_its_lines(
    log_of: Callable[..., Log], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, gone = tmp_path / "logs", tmp_path / "gone"
    folder.mkdir()
    log = log_of(logfile=str(folder / "w%I.log"))
    logger, before = logging.getLogger("celery"), multiprocessing.current_process().name
    folder.rename(gone)
    try:
        logger.info("of the main process")
        log.logging.enter_child("ForkPoolWorker-2", 2)
        logger.info("of a child")
    finally:
        name_process(before)
    shown = capsys.readouterr().err
    assert "of the main process" in shown
    assert "of a child" in shown
    assert f"{folder / 'w.log'} cannot be written: No such file or directory" in shown
    gone.rename(folder)
    logger.info("again")
    assert (folder / "w-2.log").read_text().endswith("again\n")


# --- task loggers -----------------------------------------------------------------------------------------


def test_a_task_logger_names_the_running_task(log_of: Callable[..., Log]) -> None:
    log = log_of()
    with running():
        get_task_logger("proj.tasks").info("inside %d", 1)
    get_task_logger("proj.tasks").info("outside")
    assert log.lines == [
        "[INFO/MainProcess] proj.add[1234]: inside 1",
        "[INFO/MainProcess] ???[???]: outside",
    ]


def test_a_task_logger_stays_one_when_its_package_gets_a_logger_later(log_of: Callable[..., Log]) -> None:
    log = log_of()
    logger = get_task_logger("late.package.tasks")
    logging.getLogger("late.package").setLevel(logging.DEBUG)
    with running():
        logger.info("still")
    assert log.lines == ["[INFO/MainProcess] proj.add[1234]: still"]


def test_a_task_logger_keeps_the_name_and_level_of_its_module(log_of: Callable[..., Log]) -> None:
    log = log_of()
    logging.getLogger("proj.quiet").setLevel(logging.ERROR)
    logger = get_task_logger("proj.quiet")
    assert logger.name == "proj.quiet"
    logger.warning("unheard")
    assert log.lines == []


def test_the_workers_own_loggers_are_no_task_loggers() -> None:
    with pytest.raises(RuntimeError, match="get_task_logger"):
        get_task_logger("celery.task")


# --- what tasks print -------------------------------------------------------------------------------------


def test_what_is_printed_becomes_a_warning(log_of: Callable[..., Log]) -> None:
    log = log_of()
    print("hello")
    print("to stderr", file=sys.stderr)
    assert log.lines == ["[WARNING/MainProcess] hello", "[WARNING/MainProcess] to stderr"]


def test_the_level_of_printed_lines_is_a_setting(log_of: Callable[..., Log]) -> None:
    log = log_of({"worker_redirect_stdouts_level": "info"})
    print("hello")
    assert log.lines == ["[INFO/MainProcess] hello"]


def test_printing_can_be_left_alone(log_of: Callable[..., Log], capsys: pytest.CaptureFixture[str]) -> None:
    log = log_of({"worker_redirect_stdouts": False})
    print("hello")
    assert capsys.readouterr().out == "hello\n"
    assert log.lines == []


def test_pieces_of_a_line_are_joined(log_of: Callable[..., Log]) -> None:
    log = log_of()
    print("a", "b", end="")
    assert log.lines == []
    print("c")
    assert log.lines == ["[WARNING/MainProcess] a bc"]


def test_one_print_of_many_lines_is_one_record_and_empty_ones_are_none(log_of: Callable[..., Log]) -> None:
    log = log_of()
    print()
    print("x\ny")
    assert log.lines == ["[WARNING/MainProcess] x", "y"]


def test_a_begun_line_is_shown_when_asked_for_and_when_its_task_ends(log_of: Callable[..., Log]) -> None:
    log = log_of()
    print("half", end="", flush=True)
    assert log.lines == ["[WARNING/MainProcess] half"]
    with running():
        sys.stderr.write("no newline")
    assert log.lines[1:] == ["[WARNING/MainProcess] no newline"]
    assert not printed.unfinished


def test_lines_of_two_tasks_do_not_mix(log_of: Callable[..., Log]) -> None:
    log = log_of()
    turns = threading.Barrier(2, timeout=10)

    def task(name: str) -> None:
        with running(task_id=name):
            for piece in (name, name, "\n"):
                turns.wait()
                print(piece, end="")

    threads = [threading.Thread(target=task, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(log.lines) == ["[WARNING/MainProcess] aa", "[WARNING/MainProcess] bb"]


def test_a_handler_that_prints_does_not_go_in_circles(
    log_of: Callable[..., Log], capsys: pytest.CaptureFixture[str]
) -> None:
    log = log_of()

    class Chatty(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("handling", record.getMessage())

    handler = Chatty()
    logging.getLogger("celery.redirected").addHandler(handler)
    try:
        print("hello")
    finally:
        logging.getLogger("celery.redirected").removeHandler(handler)
    assert capsys.readouterr().out == "handling hello\n"
    assert log.lines == ["[WARNING/MainProcess] hello"]


def test_printed_streams_answer_what_programs_ask(log_of: Callable[..., Log], tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as real, redirect_stdout(real):
        log = log_of()
        assert not sys.stdout.isatty()
        assert sys.stdout.fileno() == real.fileno()
        assert sys.stdout.writable()
        assert sys.stdout.encoding
        assert sys.stdout.buffer is real.buffer
        sys.stdout.writelines(["one\n", "two\n"])
        sys.stdout.close()
        print("three")
        with pytest.raises(TypeError, match="must be str"):
            sys.stdout.write(b"bytes")  # type: ignore[arg-type]
        assert [line.split()[-1] for line in log.lines] == ["one", "two", "three"]
        log.logging.stop()
        assert sys.stdout is real


# --- JSON -------------------------------------------------------------------------------------------------


def test_json_is_one_object_a_line(log_of: Callable[..., Log]) -> None:
    log = log_of(log_format="json")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("celery.app.trace").exception(
            "Task %(name)s[%(id)s] failed",
            {"name": "proj.add", "id": "1"},
            extra={"data": {"name": "proj.add", "id": "1", "odd": {1, 2}}},
        )
    with running():
        get_task_logger("proj.tasks").info("inside\nof it")
    first, second = (json.loads(line) for line in log.path.read_text().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first.pop("time"))
    assert "ValueError: no" in first.pop("exception")
    assert first == {
        "level": "ERROR",
        "logger": "celery.app.trace",
        "process": "MainProcess",
        "message": "Task proj.add[1] failed",
        "task_id": "1",
        "task_name": "proj.add",
        "data": {"name": "proj.add", "id": "1", "odd": "{1, 2}"},
    }
    assert (second["message"], second["task_id"]) == ("inside\nof it", "1234")


def test_json_survives_data_of_any_shape(log_of: Callable[..., Log]) -> None:
    log = log_of({"worker_log_json": True})
    circle: dict[Any, Any] = {(1, 2): "key"}
    circle["self"] = circle
    logging.getLogger("celery").warning("lone \ud800 surrogate", extra={"data": circle})
    (line,) = log.path.read_text().splitlines()
    assert json.loads(line)["level"] == "WARNING"


# --- the root logger, signals, stopping -------------------------------------------------------------------


def test_the_root_logger_is_taken_by_default_and_given_back(log_of: Callable[..., Log]) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    log = log_of()
    logging.getLogger("some.library").info("heard")
    assert log.lines == ["[INFO/MainProcess] heard"]
    log.logging.stop()
    log.logging.stop()
    assert (root.handlers, root.level) == before


def test_without_hijacking_the_root_logger_is_not_touched(log_of: Callable[..., Log]) -> None:
    root = logging.getLogger()
    users = logging.StreamHandler(io.StringIO())
    root.addHandler(users)
    before = (list(root.handlers), root.level)
    try:
        log = log_of({"worker_hijack_root_logger": False})
        assert (root.handlers, root.level) == before
        logging.getLogger("celery.app.trace").info("to the user's handlers")
        assert users.stream.getvalue() == "to the user's handlers\n"
        assert not log.path.exists()
    finally:
        root.removeHandler(users)


def test_without_hijacking_and_without_root_handlers_our_lines_are_still_seen(
    log_of: Callable[..., Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    log = log_of({"worker_hijack_root_logger": False})
    logging.getLogger("celery.app.trace").info("seen")
    with running():
        get_task_logger("proj.tasks").info("once")
    assert root.handlers == []
    assert log.lines == ["[INFO/MainProcess] seen", "[INFO/MainProcess] proj.add[1234]: once"]


def test_a_receiver_of_setup_logging_takes_over(log_of: Callable[..., Log]) -> None:
    heard: list[dict[str, Any]] = []

    def take_over(**named: Any) -> None:
        heard.append(named)

    root = logging.getLogger()
    before = list(root.handlers)
    signals.setup_logging.connect(take_over)
    try:
        log = log_of()
    finally:
        signals.setup_logging.disconnect(take_over)
    assert heard[0]["loglevel"] == logging.INFO
    assert root.handlers == before
    assert not isinstance(sys.stdout, printed.Printed)
    assert not log.path.exists()


def test_after_setup_logger_and_after_setup_task_logger_are_told(log_of: Callable[..., Log]) -> None:
    heard: list[str] = []

    def root_is_set_up(logger: logging.Logger, **_: Any) -> None:
        heard.append(logger.name)

    signals.after_setup_logger.connect(root_is_set_up)
    signals.after_setup_task_logger.connect(root_is_set_up)
    try:
        log_of()
    finally:
        signals.after_setup_logger.disconnect(root_is_set_up)
        signals.after_setup_task_logger.disconnect(root_is_set_up)
    assert heard == ["root", "celery.task"]


def test_stopping_before_the_start_is_no_error() -> None:
    WorkerLogging(Settings(environ={}), NODE).stop()


# --- colours, levels, names -------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_on(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    own = WorkerLogging(Settings({"worker_redirect_stdouts": False}, environ={}), NODE, **options)
    own.start()
    logging.getLogger("celery").error("red")
    own.stop()
    return stream.getvalue()


def test_colours_are_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert shown_on(Terminal(), monkeypatch).endswith("\x1b[31mred\x1b[0m\n")
    assert "\x1b" not in shown_on(io.StringIO(), monkeypatch)
    assert "\x1b" not in shown_on(Terminal(), monkeypatch, no_color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown_on(Terminal(), monkeypatch)


def test_levels_have_names_and_numbers() -> None:
    assert level_number("debug") == logging.DEBUG
    assert level_number("FATAL") == logging.CRITICAL
    assert level_number(30) == logging.WARNING
    with pytest.raises(ImproperlyConfigured, match="no log level 'LOUD'"):
        level_number("LOUD")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("%n.log", "w1.log"),
        ("%h-%d.log", "host.example.org-example.org.log"),
        ("%p-%i.log", "w1@host.example.org-3.log"),
        ("%n%I.log", "w1-3.log"),
        ("100%%%x%", "100%%x%"),
    ],
)
def test_the_log_files_name_is_expanded(path: str, expected: str) -> None:
    assert expand(path, NODE, 3) == expected


def test_the_main_process_has_no_number() -> None:
    assert expand("%n%I.log", NODE, 0) == "w1.log"
