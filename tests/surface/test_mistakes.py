"""Mistakes that people make with task queues, again and again: each is one clear error that names cause and
cure, within five seconds.

The ids U1 to U10 are kinds of trouble that users have told of: silent success, unregistered tasks, settings,
defaults that hurt, who listens, what is refused, guarantees, the command line, tests unlike production,
coroutines.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from celeriac import Celery, Task, chain, checking, group, shared_task
from celeriac.signals import Signal
from services import clean_environment

#: Seconds. An error that comes later is one that somebody has stopped waiting for.
PATIENCE = 15.0


class World:
    """An app in memory, with a few tasks, and a folder."""

    def __init__(self, folder: Path) -> None:
        url = f"memory://{uuid4().hex}"
        self.folder = folder
        self.app = Celery("shop", broker=url, backend=url)
        self.add = self.app.task(name="shop.add")(add)


def add(x: int, y: int) -> int:
    return x + y


class Mistake(NamedTuple):
    """What is done, and what the error must say: the cause first, then the cure."""

    do: Callable[[World], object]
    cause: str
    cure: str


MISTAKES: dict[str, Mistake] = {}


def mistake(cause: str, cure: str) -> Callable[[Callable[[World], object]], Callable[[World], object]]:
    def note(do: Callable[[World], object]) -> Callable[[World], object]:
        MISTAKES[do.__name__] = Mistake(do, cause, cure)
        return do

    return note


# --- U1: silent success ----------------------------------------------------------------------------------


@mistake("Results are off for this app", r"Set result_backend, as in Celery\(\.\.\., backend=")
def U1_asking_for_a_result_without_a_backend(world: World) -> object:
    return Celery("shop", broker="memory://").task(add).delay(1, 2).get(timeout=1)


@mistake("no result of task .* within 0.1 s", "it may still run")
def U1_waiting_for_an_id_that_nobody_sent(world: World) -> object:
    return world.app.AsyncResult("never-sent").get(timeout=0.1)


@mistake("get\\(\\) got an unexpected keyword argument 'timout'", "timout")
def U1_a_mistyped_timeout_which_would_wait_for_ever(world: World) -> object:
    return world.add.delay(1, 2).get(timout=0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@mistake("nothing waits that could bring it", "was it sent by this app")
def U1_waiting_in_a_test_for_an_id_that_nobody_sent(world: World) -> object:
    with world.app.testing():
        return world.app.AsyncResult("never-sent").get()


@mistake("the result of task .* is an object", "json cannot carry; return plain data")
def U1_returning_what_cannot_be_written_down(world: World) -> object:
    pay = world.app.task(name="shop.pay")(object)
    with world.app.testing():
        return pay.delay().get()


@mistake("get\\(\\) inside a task can wait for ever", "Use a chain or a callback")
def U1_waiting_for_a_task_inside_a_task(world: World) -> object:
    outer = world.app.task(name="shop.outer")(lambda: world.add.delay(1, 2).get())
    with world.app.testing():
        return outer.delay().get()


@mistake("queue 'mial' is not in task_queues \\('mail'\\)", "task_create_missing_queues is off: declare it")
def U1_sending_to_a_queue_that_nobody_serves(world: World) -> object:
    world.app.conf.update(task_queues=["mail"], task_create_missing_queues=False)
    return world.add.apply_async((1, 2), queue="mial")


@mistake("shop.add goes there, but task_queues does not declare it", "-Q celery serves it")
def U1_declaring_queues_without_the_default_one(world: World) -> object:
    return check(world, task_queues=["mail"])


# --- U2: tasks that are not registered -------------------------------------------------------------------


@mistake("NotRegistered: 'shop.ad'", "did you mean 'shop.add'")
def U2_mistyping_the_name_of_a_task(world: World) -> object:
    return world.app.tasks["shop.ad"]


@mistake("NotRegistered: 'billing.pay'", r"is the module that declares it imported \(include,")
def U2_running_a_task_whose_module_is_not_imported(world: World) -> object:
    return world.app.signature("billing.pay").apply()


@mistake("No module named 'no_such_library'", "The module 'broken_tasks' failed while it was imported")
def U2_a_module_of_tasks_that_cannot_be_imported(world: World) -> object:
    (world.folder / "broken_tasks.py").write_text("import no_such_library\n")
    return check(world, include=["broken_tasks"])


@mistake("two modules import each other", r"declaring its tasks with @shared_task")
def U2_modules_that_import_each_other(world: World) -> object:
    (world.folder / "tasks.py").write_text("from shop import app, later\n")
    (world.folder / "shop.py").write_text(
        "import tasks\nfrom celeriac import Celery\napp = later = Celery('shop')\n"
    )
    return command(world, "-A", "shop", "check")


@mistake("There is no module 'taks'", "which imports or include names")
def U2_mistyping_a_module_in_include(world: World) -> object:
    return check(world, include=["taks"])


@mistake("two functions are declared as task 'shop.add'; the first", "give one of them another name=")
def U2_two_tasks_of_one_name(world: World) -> object:
    def other() -> None: ...

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return world.app.task(name="shop.add")(other)


@mistake("this app has autofinalize=False", r"call app\.finalize\(\) first")
def U2_using_an_app_that_is_not_finished(world: World) -> object:
    return Celery("shop", autofinalize=False).tasks


@mistake("task shop.empty", r"defines no run\(\): what it does stands there")
def U2_a_class_without_run(world: World) -> object:
    return world.app.register_task(type("Empty", (Task,), {"name": "shop.empty"}))()


@mistake(r"app\.task\(\) takes one function, .* not 'shop.mail'", r"@app\.task\(name='...'\)")
def U2_giving_a_name_where_a_function_belongs(world: World) -> object:
    return world.app.task("shop.mail")  # type: ignore[call-overload]


@mistake("shop.add is a task already", "one of the two decorators is enough")
def U2_declaring_a_task_twice(world: World) -> object:
    return shared_task(world.add)


@mistake("missing a required argument: 'x'", "declare it with bind=True")
def U2_forgetting_bind(world: World) -> object:
    def work(self: Any, x: int) -> None: ...

    return world.app.task(name="shop.work")(work).delay(1)


# --- U3: settings ----------------------------------------------------------------------------------------


@mistake("unknown setting 'task_acks_lat'", "did you mean 'task_acks_late'")
def U3_mistyping_a_setting(world: World) -> object:
    return Celery("shop", task_acks_lat=True)


@mistake("no setting 'broker_ulr'", "did you mean 'broker_url'")
def U3_reading_a_mistyped_setting(world: World) -> object:
    return world.app.conf.broker_ulr


@mistake("worker_concurrency must be a whole number", "not 'many': Tasks at a time")
def U3_a_setting_of_a_wrong_type(world: World) -> object:
    world.app.conf.worker_concurrency = "many"
    return None


@mistake("old and new names of settings are mixed", "CELERY_ACKS_LATE -> task_acks_late")
def U3_mixing_old_and_new_names(world: World) -> object:
    world.app.config_from_object({"CELERY_ACKS_LATE": True, "task_default_queue": "mail"})
    return None


@mistake("No module named 'no_such_settings'", r"imported by config_from_object\('no_such_settings'\)")
def U3_a_module_of_settings_that_is_not_there(world: World) -> object:
    world.app.config_from_object("no_such_settings")
    return None


@mistake("no time zone 'Europe/Pariss'", "A name is like Europe/Paris")
def U3_a_time_zone_that_there_is_not(world: World) -> object:
    world.app.conf.timezone = "Europe/Pariss"
    return None


@mistake("rate_limit '10/d' is not understood", "'10/s', '100/m', '1000/h'")
def U3_a_rate_that_is_none(world: World) -> object:
    return world.app.task(name="shop.rated", rate_limit="10/d")(add)


@mistake("tasks have no option 'max_retrys'", "did you mean 'max_retries'")
def U3_mistyping_an_option_of_a_task(world: World) -> object:
    return world.app.task(name="shop.retried", max_retrys=3)(add)


@mistake("not 'ConnectionError'", r"as in autoretry_for=\(ConnectionError,\)")
def U3_naming_an_exception_as_text(world: World) -> object:
    return world.app.task(name="shop.retried", autoretry_for="ConnectionError")(add)


@mistake("max_retries of task shop.retried", "is a number or None, not '3'")
def U3_a_number_given_as_text(world: World) -> object:
    return world.app.task(name="shop.retried", max_retries="3")(add)


@mistake("task_routes: 'shop.router:nowhere' cannot be imported", "No module named 'shop")
def U3_a_router_that_cannot_be_imported(world: World) -> object:
    return Celery("x", broker="memory://", task_routes="shop.router:nowhere").send_task("shop.add")


@mistake("'pickle' is written but not read", "Add 'pickle' to accept_content")
def U3_a_serializer_that_workers_refuse(world: World) -> object:
    return check(world, task_serializer="pickle")


@mistake("worker_prefetch_multiplier: has no effect here", "claim by expected time")
def U3_a_setting_that_has_no_effect(world: World) -> object:
    return check(world, worker_prefetch_multiplier=1)


@mistake("visibility_timeout has no effect here", "worker_lease")
def U3_setting_a_visibility_timeout(world: World) -> object:
    return check(world, broker_transport_options={"visibility_timeout": 60})


# --- U4: defaults that hurt: no deadlines, no limits -----------------------------------------------------


@mistake(
    "cannot connect to Redis at redis://127.0.0.1:1/0", "Connection refused: does a Redis server run there"
)
def U4_a_broker_that_is_not_there(world: World) -> object:
    return Celery("shop", broker="redis://127.0.0.1:1/0").send_task("shop.add", (1, 2))


@mistake(
    "cannot connect to Redis at redis://127.0.0.1:1/0", "Connection refused: does a Redis server run there"
)
def U4_results_that_are_not_there(world: World) -> object:
    return Celery("shop", broker="memory://", backend="redis://127.0.0.1:1/0").AsyncResult("x").get()


@mistake(r"No driver for amqp://", "known are memory://, redis://")
def U4_a_broker_of_a_kind_that_is_not_built(world: World) -> object:
    return Celery("shop", broker="amqp://guest@localhost//").broker


@mistake("a URL without a scheme", r"as in redis://localhost:6379/0")
def U4_an_address_that_is_no_url(world: World) -> object:
    return Celery("shop", broker="localhost:6379").broker


@mistake("The folder .*missing of .* does not exist", "create it \\(mkdir -p")
def U4_a_file_in_a_folder_that_is_not_there(world: World) -> object:
    return Celery("shop", broker=f"sqlite:///{world.folder}/missing/store.db").send_task("shop.add")


@mistake("soft_time_limit", "must be less than or equal to time_limit")
def U4_a_soft_limit_after_the_hard_one(world: World) -> object:
    return world.add.apply_async((1, 2), soft_time_limit=60, time_limit=30)


@mistake("comes after the hard one", "soft_time_limit must be less than or equal")
def U4_limits_that_contradict_each_other_in_settings(world: World) -> object:
    return check(world, task_soft_time_limit=60, task_time_limit=30)


# --- U5, U6, U7: receivers; what a worker refuses; what is guaranteed ------------------------------------


@mistake("must accept keyword arguments", r"\(\*\*kwargs\)")
def U5_a_receiver_without_keyword_arguments(world: World) -> object:
    return Signal(name="mine").connect(lambda sender: None, weak=False)


@mistake("application/x-python-serialize", "accept_content")
def U6_a_message_whose_serializer_is_not_accepted(world: World) -> object:
    with world.app.testing(throw=True) as stepper:
        world.add.apply_async((1, 2), serializer="pickle")
        stepper.run()
    return None


@mistake("MaxRetriesExceededError", r"Can't retry shop\.again\[.*\] args")
def U7_retrying_more_often_than_allowed(world: World) -> object:
    again = world.app.task(name="shop.again", bind=True, max_retries=0)(lambda self: self.retry())
    with world.app.testing():
        return again.delay().get()


@mistake("a signature is needed here, not 3", r"add\.s\(1, 2\)")
def U7_a_chain_of_values_that_were_worked_out_at_once(world: World) -> object:
    return chain(world.add(1, 2), world.add.s(4))


@mistake("a signature is needed here, not 1", r"add\.s\(1, 2\)")
def U7_a_group_of_plain_values(world: World) -> object:
    return group(1, 2)


@mistake("a signature is needed here, not the task itself", r"write add\.s\(")
def U7_a_group_of_a_task_and_no_call(world: World) -> object:
    return group(world.add)


@mistake("a signature is needed here, not a result", r"add\.s\(1, 2\)")
def U7_a_chain_of_what_was_sent_already(world: World) -> object:
    return chain(world.add.delay(1, 2), world.add.s(4))


# --- U8: the command line --------------------------------------------------------------------------------


@mistake("There is no module 'shp'", "--workdir FOLDER")
def U8_a_module_that_is_not_there(world: World) -> object:
    return command(world, "-A", "shp", "worker")


@mistake("There is no module", "-A takes the name of a module, not a file: -A shop")
def U8_naming_the_file_of_the_app(world: World) -> object:
    return command(world, "-A", "./shop.py", "worker")


@mistake("it holds no Celery app", "name that one: -A module")
def U8_a_module_without_an_app(world: World) -> object:
    (world.folder / "bare.py").write_text("")
    return command(world, "-A", "bare", "worker")


@mistake("-A is a global option", "stands before the command")
def U8_an_option_behind_the_command(world: World) -> object:
    return command(world, "worker", "-A", "shop")


@mistake("eventlet is not offered", "use -P gevent")
def U8_a_pool_that_there_is_not(world: World) -> object:
    return command(world, "-A", "shop", "worker", "-P", "eventlet")


@mistake("the name of a task is a text", "not None")
def U8_sending_a_task_whose_name_is_not_there(world: World) -> object:
    return world.app.send_task(None, (1, 2))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- U9: tests unlike production -------------------------------------------------------------------------


@mistake("argument 1 of shop.add is a _thread.lock", "pass plain data or set serializer=")
def U9_an_argument_that_cannot_travel(world: World) -> object:
    return world.add.delay(threading.Lock(), 1)


@mistake("argument 1 of shop.add is a _thread.lock", "json cannot carry; pass plain data")
def U9_an_argument_that_cannot_travel_in_eager_mode_either(world: World) -> object:
    world.app.conf.task_always_eager = True
    return world.add.delay(threading.Lock(), 1)


@mistake("too many positional arguments", r"shop\.add\(x, y\)")
def U9_too_many_arguments(world: World) -> object:
    return world.add.delay(1, 2, 3)


@mistake("missing a required argument: 'y'", r"shop\.add\(x, y\)")
def U9_an_argument_that_there_is_not(world: World) -> object:
    return world.add.delay(1, z=2)


@mistake("not str", "args must be a tuple or list")
def U9_a_text_as_arguments(world: World) -> object:
    return world.add.apply_async("ab")


@mistake("not list", "kwargs must be a dict of arguments by name")
def U9_a_list_as_named_arguments(world: World) -> object:
    return world.add.apply_async((1, 2), ["x"])  # type: ignore[arg-type]


@mistake("no option 'countdwon'", "did you mean 'countdown'")
def U9_mistyping_an_option_of_a_call(world: World) -> object:
    return world.add.apply_async((1, 2), countdwon=5)


@mistake("'tomorrow' is no time", "give seconds from now as a number, a timedelta, a datetime")
def U9_a_time_that_is_none(world: World) -> object:
    return world.add.apply_async((1, 2), eta="tomorrow")


@mistake("link takes signatures", r"as in link=note\.s\(\)")
def U9_linking_a_task_and_not_its_signature(world: World) -> object:
    return world.add.apply_async((1, 2), link=world.add)


@mistake("there is no serializer 'jsno'", "known are json, msgpack, pickle, yaml")
def U9_a_serializer_that_there_is_not(world: World) -> object:
    return world.add.apply_async((1, 2), serializer="jsno")


@mistake("task_always_eager has no effect on send_task", "only a name is known")
def U9_sending_by_name_in_eager_mode(world: World) -> object:
    world.app.conf.task_always_eager = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return world.app.send_task("shop.add", (1, 2))


@mistake("task_always_eager is on", r"app\.testing\(\) takes its place: unset it")
def U9_eager_mode_beside_testing(world: World) -> object:
    world.app.conf.task_always_eager = True
    with world.app.testing():
        return None


@mistake("100 tasks ran and there is no end", r"with step\(\) or advance\(\)")
def U9_a_test_of_a_task_without_end(world: World) -> object:
    from celeriac.testing import stepper

    again = world.app.task(name="shop.again", bind=True, max_retries=None)(lambda self: self.retry())
    before, stepper.MOST = stepper.MOST, 100
    try:
        with world.app.testing() as steps:
            again.delay()
            return steps.finish()
    finally:
        stepper.MOST = before


# --- U10: coroutines -------------------------------------------------------------------------------------


@mistake("Results are off for this app", "Set result_backend")
def U10_awaiting_a_result_without_a_backend(world: World) -> object:
    async def wait() -> object:
        task = Celery("shop", broker="memory://").task(add)
        return await (await task.adelay(1, 2))

    return asyncio.run(wait())


@mistake("cannot connect to Redis", "Connection refused: does a Redis server run there")
def U10_awaiting_a_broker_that_is_not_there(world: World) -> object:
    async def send() -> object:
        return await Celery("shop", broker="redis://127.0.0.1:1/0").task(add).adelay(1, 2)

    return asyncio.run(send())


# --- how they are tried ----------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "shop.py").write_text(
        "from celeriac import Celery\n"
        "app = Celery('shop', broker='sqlite:///store.db', backend='sqlite:///store.db')\n"
        "@app.task\n"
        "def add(x, y):\n"
        "    return x + y\n"
    )
    return World(tmp_path)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_cause_and_cure(name: str, world: World) -> None:
    known = MISTAKES[name]
    began = time.monotonic()
    said = told(known.do, world)
    took = time.monotonic() - began
    assert re.search(known.cause, said), said
    assert re.search(known.cure, said), said
    assert took < PATIENCE


def test_the_table_holds_forty_mistakes_and_all_kinds() -> None:
    assert len(MISTAKES) >= 40
    assert {name.partition("_")[0] for name in MISTAKES} == {f"U{n}" for n in range(1, 11)}


def told(do: Callable[[World], object], world: World) -> str:
    """What a person reads: the error with its notes, or what the command printed."""
    try:
        answer = do(world)
    except Exception as error:
        return "".join(traceback.format_exception_only(error))
    assert isinstance(answer, str), f"nothing was said, but {answer!r} came back"
    return answer


def command(world: World, *arguments: str) -> str:
    """What the command says that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", *arguments],
        cwd=world.folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode != 0, done.stdout
    return done.stderr + done.stdout


def check(world: World, **settings: Any) -> str:
    """What `celeriac check` says of the app with these settings."""
    world.app.conf.update(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(world.folder)
        found = [*checking.import_all(world.app), *checking.findings(world.app)]
    return "\n".join(f"{finding.about}: {finding.says}" for finding in found)
