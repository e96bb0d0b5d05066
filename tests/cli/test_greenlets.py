"""Whether the standard library is patched is decided before anything is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from celeriac.cli.greenlets import asks_for_gevent


@pytest.mark.parametrize(
    "line",
    [
        "-A main worker -P gevent",
        "-A main worker -Pgevent -l info",
        "worker --pool gevent",
        "worker --pool=gevent",
        "worker -P prefork -P gevent",
    ],
)
def test_a_gevent_worker_is_recognised(line: str) -> None:
    assert asks_for_gevent(line.split(), {})


@pytest.mark.parametrize(
    "line",
    ["-A main worker", "worker -P prefork", "-A gevent worker", "queue peek gevent", "worker -n gevent", ""],
)
def test_nothing_else_is(line: str) -> None:
    assert not asks_for_gevent(line.split(), {})


def test_the_environment_asks_too_but_the_command_line_wins() -> None:
    environ = {"CELERY_WORKER_POOL": "gevent"}
    assert asks_for_gevent(["worker"], environ)
    assert not asks_for_gevent(["worker", "-P", "prefork"], environ)
    assert not asks_for_gevent(["report"], environ)


def test_the_standard_library_is_patched_before_the_app_is_imported() -> None:
    code = (
        "from celeriac.cli.greenlets import patch_if_asked, is_patched\n"
        "print(is_patched())\n"
        "patch_if_asked(['worker', '-P', 'gevent'], {})\n"
        "import socket, gevent.socket\n"
        "print(is_patched(), socket.socket is gevent.socket.socket)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert shown.stdout.split() == ["False", "True", "True"]


def test_a_missing_gevent_is_one_line_with_the_command() -> None:
    code = (
        "import sys\n"
        "sys.modules['gevent'] = None\n"
        "from celeriac.cli.greenlets import patch_if_asked\n"
        "patch_if_asked(['worker', '-P', 'gevent'], {})\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert shown.returncode == 1
    assert len(shown.stderr.strip().splitlines()) == 1
    assert "pip install 'celeriac[gevent]'" in shown.stderr
