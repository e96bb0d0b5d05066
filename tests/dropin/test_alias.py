"""`celery` is celeriac under another name: the same objects, and honest about what is missing."""

from __future__ import annotations

import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from celeriac.compat.modules import MODULES
from celeriac.exceptions import Retry

DROPIN = Path(__file__).parents[2] / "dropin" / "src"
Run = Callable[..., subprocess.CompletedProcess[str]]


def check(python: Run, *lines: str) -> str:
    """Run the lines; they must succeed in silence but for what they print."""
    done = python("-W", "error", "-c", "\n".join(lines))
    assert done.returncode == 0, done.stderr
    return done.stdout


SAME = (
    "from celery import Celery as a; from celeriac import Celery as b",
    "from celery import shared_task as a; from celeriac import shared_task as b",
    "from celery import chain as a; from celeriac import chain as b",
    "from celery.app.task import Task as a; from celeriac.task import Task as b",
    "from celery.app.base import Celery as a; from celeriac import Celery as b",
    "from celery.app import shared_task as a; from celeriac import shared_task as b",
    "from celery.result import AsyncResult as a; from celeriac import AsyncResult as b",
    "from celery.exceptions import Retry as a; from celeriac.exceptions import Retry as b",
    "from celery.signals import task_prerun as a; from celeriac.signals import task_prerun as b",
    "from celery.states import READY_STATES as a; from celeriac.states import READY_STATES as b",
    "from celery.utils.log import get_task_logger as a; from celeriac.log import get_task_logger as b",
    "from celery.canvas import Signature as a; from celeriac.canvas import Signature as b",
    "import celery.exceptions as x; a = x.Reject; from celeriac.exceptions import Reject as b",
    "import celery, celery.result; a = celery.result.AsyncResult; from celeriac import AsyncResult as b",
    "from celery.app.log import TaskFormatter as a; from celeriac.log import TaskFormatter as b",
    "from celery.app.utils import Settings as a; from celeriac.config import Settings as b",
    "from celery.utils.dispatch import Signal as a; from celeriac.signals import Signal as b",
    "from celery.utils.abstract import CallableTask as a; from celeriac import Task as b",
    "from celery._state import connect_on_app_finalize as a; from celeriac.compat.state import *; b = a",
    "import celery; a = celery.states.SUCCESS; import celeriac.states; b = celeriac.states.SUCCESS",
)


def test_MOD_1_to_9_a_name_gives_the_very_same_object(python: Run) -> None:
    check(python, *(f"{line}; assert a is b, {line!r}" for line in SAME))


def test_the_names_that_programs_import_most_are_there(python: Run) -> None:
    check(
        python,
        "from celery import Celery, Task, shared_task, current_app, current_task",
        "from celery import chain, group, chord, signature",
        "from celery import Signature, subtask, maybe_signature, uuid, VERSION, version_info, __version__",
        "from celery.utils import uuid, gen_unique_id, cached_property, chunks, noop",
        "from celery.utils.nodenames import default_nodename, nodename, nodesplit, host_format, gethostname",
        "from celery.utils.log import get_task_logger, get_logger, task_logger",
        "from celery.app import app_or_default, default_app",
        "from celery._state import get_current_app, get_current_task, set_default_app, current_app",
        "from celery.local import Proxy, PromiseProxy, maybe_evaluate, try_import",
        "from celery.result import AsyncResult, EagerResult, allow_join_result",
        "from celery.app.task import Task, Context",
        "assert VERSION >= (5, 0), VERSION",
    )


MISSING = {
    "import celery.backends.database": "celery.backends.database: result stores are drivers, found by",
    "from celery import nothing_of_that_name": "celery.nothing_of_that_name yet; see docs/",
    "from celery.result import NothingOfThatName": "celery.result.NothingOfThatName yet; see docs/",
    "from celery.utils import nothing": "celery.utils.nothing yet; see docs/",
    "import celery.bin.worker": "celery.bin: the command line is celeriac's own: app.worker_main",
    "import celery.worker.consumer": "celery.worker.consumer: a worker is started by",
}


def test_MOD_1_to_9_what_is_missing_is_an_import_error_that_says_what_to_use(python: Run) -> None:
    said = check(
        python,
        f"for line in {list(MISSING)!r}:",
        "    try: exec(line)",
        "    except ImportError as error: print(error)",
    ).splitlines()
    for line, expected in zip(said, MISSING.values(), strict=True):
        assert line.startswith(f"celeriac does not offer {expected}")
        assert line.endswith("; see docs/celery-differences.md")


def test_hasattr_on_a_missing_name_is_false(python: Run) -> None:
    check(
        python,
        "import celery, celery.result",
        "assert not hasattr(celery, 'nope')",
        "assert not hasattr(celery.result, 'nope')",
    )


def test_MOD_1_to_9_every_path_of_the_table_can_be_imported(python: Run) -> None:
    # The deepest first, so that none is there only because of another.
    paths = sorted(MODULES.keys() - {"celery.contrib.sphinx"}, key=lambda path: (-path.count("."), path))
    check(
        python,
        "import sys",
        *(f"import {path}; from {path} import *" for path in paths),
        f"twice = [path for path in {paths!r} if type(sys.modules[path]).__name__ != 'Alias']",
        "assert not twice, twice",
    )


def test_pickles_with_the_old_paths_become_our_classes(python: Run) -> None:
    old = pickle.dumps(Retry("again"), protocol=0).replace(b"celeriac.exceptions", b"celery.exceptions")
    assert b"celery.exceptions" in old
    check(
        python,
        "import pickle, celeriac.exceptions as e",
        f"error = pickle.loads({old!r})",
        "assert type(error) is e.Retry, type(error)",
        "assert error.message == 'again'",
    )


def test_patching_by_the_old_path_takes_effect(python: Run) -> None:
    check(
        python,
        "from unittest import mock",
        "import celery.states, celeriac.states",
        "before = celeriac.states.SUCCESS",
        "with mock.patch('celery.states.SUCCESS', 'patched'):",
        "    assert celeriac.states.SUCCESS == celery.states.SUCCESS == 'patched'",
        "assert celeriac.states.SUCCESS == celery.states.SUCCESS == before",
    )


def test_importing_submodules_leaves_our_own_modules_as_they_are(python: Run) -> None:
    check(
        python,
        "import celery.app.task, celery.utils.log, celery.utils.nodenames, sys",
        "import celeriac.compat.app, celeriac.compat.utils",
        "assert not hasattr(celeriac.compat.app, 'task')",
        "assert not hasattr(celeriac.compat.utils, 'nodenames')",
        "assert not [name for name in vars(sys.modules['celeriac.compat.utils']) if name == 'log']",
    )


def test_the_command_runs_as_a_module(python: Run) -> None:
    done = python("-m", "celery", "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("celeriac ")


def test_installed_twice_it_finds_once(python: Run) -> None:
    check(
        python,
        "import celery, sys",
        "from celeriac.compat import modules",
        "modules.install()",
        "assert sum(type(finder).__name__ == 'NameFinder' for finder in sys.meta_path) == 3",
    )


def test_it_refuses_to_live_beside_the_real_celery(python: Run, tmp_path: Path) -> None:
    (tmp_path / "site" / "celery-5.7.0.dist-info").mkdir(parents=True)
    done = python("-c", "import celery", also=tmp_path / "site")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "Two distributions own the import name 'celery'" in last
    assert str(tmp_path / "site" / "celery-5.7.0.dist-info") in last
    assert "pip uninstall -y celery celeriac-celery" in last


def test_it_refuses_to_live_among_the_real_celerys_files(python: Run, tmp_path: Path) -> None:
    shutil.copytree(DROPIN / "celery", tmp_path / "site" / "celery")
    (tmp_path / "site" / "celery" / "app").mkdir()
    done = python("-c", "import celery", path=tmp_path / "site")
    assert done.returncode == 1
    assert "Two distributions own the import name 'celery'" in done.stderr


def test_its_own_metadata_is_not_taken_for_the_real_celerys(python: Run, tmp_path: Path) -> None:
    (tmp_path / "site" / "celeriac_celery-0.1.0.dist-info").mkdir(parents=True)
    assert python("-c", "import celery", also=tmp_path / "site").returncode == 0


def test_MOD_9_kombus_names_are_there_without_kombu(python: Run) -> None:
    check(
        python,
        "import celery",
        "from kombu import Exchange, Queue, binding",
        "from kombu.common import Broadcast",
        "from kombu.exceptions import OperationalError",
        "from kombu.serialization import register",
        "from kombu.utils.json import dumps, loads, register_type",
        "from kombu.utils.functional import maybe_list",
        "from kombu.utils.imports import symbol_by_name",
        "class Money: pass",
        "register_type(Money, 'money', lambda money: 7, lambda number: Money())",
        "assert type(loads(dumps({'price': Money()}))['price']) is Money",
        "import kombu.common",
        "from celery.exceptions import OperationalError as ours",
        "assert OperationalError is ours",
        "app = celery.Celery('p', task_queues=[Queue('a', Exchange('x', type='topic'), routing_key='a.#')])",
        "assert app.router.route('t', options={'exchange': 'x', 'routing_key': 'a.b'}).queue == 'a'",
    )
    done = python("-c", "import celery, kombu.pools")
    assert "celeriac does not offer kombu.pools yet" in done.stderr


def test_a_kombu_that_is_installed_is_not_shadowed(python: Run, tmp_path: Path) -> None:
    package = tmp_path / "site" / "kombu"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("Queue = 'the true one'")
    check(
        lambda *arguments: python(*arguments, also=tmp_path / "site"),
        "import celery, kombu",
        "assert kombu.Queue == 'the true one'",
        "try: import kombu.common",
        "except ModuleNotFoundError as error: assert 'celeriac' not in str(error)",
        "else: raise AssertionError",
    )
