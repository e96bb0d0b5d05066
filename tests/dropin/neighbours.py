"""What others have built on Celery, in an environment of its own, through the drop-in: `make neighbours`.

Its name keeps it out of `make test`: what it needs is downloaded. docs/packages.md tells what is found here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from celeriac import Celery
from services import PATIENCE, clean_environment

ROOT = Path(__file__).parents[2]
Run = Callable[[str], list[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    paths = (ROOT / "src", ROOT / "dropin" / "src", tmp_path)
    return clean_environment({"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONWARNINGS": "ignore"})


@pytest.fixture
def interpreter() -> str:
    found = ROOT / ".venv-neighbours" / "bin" / "python"
    assert found.exists(), "scripts/setup neighbours makes .venv-neighbours"
    return str(found)


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str], interpreter: str) -> Run:
    """Run a program with what others have built; the lines that it prints."""

    def run(program: str) -> list[str]:
        (tmp_path / "program.py").write_text(dedent(program))
        done = subprocess.run(
            [interpreter, "program.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 3,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


# --- one at a time ----------------------------------------------------------------------------------------


def test_celery_once_refuses_a_call_that_waits_already(run: Run, redis_db: str) -> None:
    assert run(f"""
        from celery import Celery
        from celery_once import AlreadyQueued, QueueOnce
        app = Celery("once", broker="memory://", backend="memory://")
        settings = {{"url": "{redis_db}", "default_timeout": 60}}
        app.conf.ONCE = {{"backend": "celery_once.backends.Redis", "settings": settings}}

        @app.task(name="slow", base=QueueOnce)
        def slow(number):
            return number

        with app.testing() as stepper:
            result = slow.delay(1)
            try:
                slow.delay(1)
            except AlreadyQueued:
                print("refused")
            stepper.run()
            print(result.get())
            slow.delay(1)
            stepper.run()
        """) == ["refused", "1"]


def test_celery_singleton_gives_the_result_of_the_call_that_waits(run: Run, redis_db: str) -> None:
    assert run(f"""
        from celery import Celery
        from celery_singleton import Singleton, clear_locks
        app = Celery("singleton", broker="memory://", backend="memory://")
        app.conf.singleton_backend_url = "{redis_db}"
        clear_locks(app)

        @app.task(name="slow", base=Singleton)
        def slow(number):
            return number

        with app.testing() as stepper:
            first, second = slow.delay(1), slow.delay(1)
            print(first.id == second.id)
            stepper.run()
            print(first.get(), slow.delay(1).id == first.id)
        """) == ["True", "1 False"]


def test_celery_heimdall_keeps_a_task_unique(run: Run, redis_db: str) -> None:
    assert run(f"""
        from celery import Celery
        from celery_heimdall import AlreadyQueuedError, HeimdallTask
        app = Celery("heimdall", broker="memory://", backend="{redis_db}")

        @app.task(name="slow", base=HeimdallTask, heimdall={{"unique": True, "unique_raises": True}})
        def slow(number):
            return number

        with app.testing() as stepper:
            result = slow.delay(1)
            try:
                slow.delay(1)
            except AlreadyQueuedError:
                print("refused")
            stepper.run()
            print(result.get())
        """) == ["refused", "1"]


# --- who watches ------------------------------------------------------------------------------------------


def test_celery_progress_shows_how_far_a_task_is(run: Run) -> None:
    assert run("""
        import django
        from django.conf import settings
        settings.configure(INSTALLED_APPS=[])
        django.setup()
        from celery import Celery
        from celery_progress.backend import Progress, ProgressRecorder
        app = Celery("progress", broker="memory://", backend="memory://")

        @app.task(name="work", bind=True)
        def work(self):
            ProgressRecorder(self).set_progress(3, 10, "rows")
            print(Progress(app.AsyncResult(self.request.id)).get_info()["progress"]["percent"])
            return "done"

        with app.testing() as stepper:
            result = work.delay()
            print(Progress(result).get_info()["state"])
            stepper.run()
            print(Progress(result).get_info()["result"])
        """) == ["PENDING", "30.0", "done"]


SENTRY = """
    import sentry_sdk
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.transport import Transport

    class Kept(Transport):
        def capture_envelope(self, envelope):
            for item in envelope.items:
                keep(item.headers["type"], item.payload.json)

    sentry_sdk.init(
        dsn="http://a@127.0.0.1:1/1", integrations=[CeleryIntegration()], traces_sample_rate=1.0,
        transport=Kept(),
    )
    """


def test_sentry_sees_calls_runs_and_errors_as_one_trace(run: Run) -> None:
    assert run(f"""
        seen = []
        keep = lambda kind, told: seen.append((kind, told))
        {SENTRY.replace(chr(10), chr(10) + "    ")}
        from celery import Celery
        app = Celery("watched", broker="memory://", backend="memory://")

        @app.task(name="fail")
        def fail():
            raise LookupError("no such thing")

        @app.task(name="outer")
        def outer():
            fail.delay()

        with app.testing() as stepper:
            with sentry_sdk.start_transaction(name="web"):
                outer.delay()
            stepper.run()
        sentry_sdk.flush()
        for kind, told in seen:
            raised = [one["type"] for one in told.get("exception", {{}}).get("values", ())]
            spans = [span["op"] for span in told.get("spans", ())]
            print(kind, told["transaction"], told["contexts"]["trace"].get("status"), raised, spans)
        print(len({{told["contexts"]["trace"]["trace_id"] for _, told in seen}}), "trace")
        """) == [
        "transaction web None [] ['queue.submit.celery']",
        "transaction outer ok [] ['queue.process', 'queue.submit.celery']",
        "event fail internal_error ['LookupError'] []",
        "transaction fail internal_error [] ['queue.process']",
        "1 trace",
    ]


def test_sentry_hears_of_an_error_in_a_process_of_a_worker(
    tmp_path: Path, environment: dict[str, str], interpreter: str
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    (tmp_path / "watched.py").write_text(
        dedent(f"""
            def keep(kind, told):
                with open("told", "a") as told_file:
                    print(kind, told["transaction"], file=told_file)
            {SENTRY.replace(chr(10), chr(10) + "        ")}
            from celery import Celery
            app = Celery("watched", broker="{url}", backend="{url}")

            @app.task(name="fail")
            def fail():
                raise LookupError("no such thing")
            """)
    )
    worker = subprocess.Popen(
        [interpreter, "-m", "celery", "-A", "watched", "worker", "-c", "1"], cwd=tmp_path, env=environment
    )
    try:
        with Celery("sender", broker=url, backend=url, set_as_current=False) as sender:
            sender.send_task("fail").get(timeout=PATIENCE, propagate=False)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "told").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "event fail" in (tmp_path / "told").read_text().splitlines()


def test_elastic_apm_sees_runs_and_errors(run: Run) -> None:
    assert run("""
        import elasticapm
        from celery import Celery
        from elasticapm.contrib.celery import register_exception_tracking, register_instrumentation
        client = elasticapm.Client(
            service_name="x", server_url="http://127.0.0.1:1", central_config=False, metrics_interval="0ms",
            cloud_provider=False, transport_class="elasticapm.transport.base.Transport",
        )
        seen = []
        client._transport.queue = lambda kind, told, flush=False: told and seen.append(
            (kind, told.get("name") or told.get("culprit"), told.get("outcome"))
        )
        register_instrumentation(client)
        register_exception_tracking(client)
        app = Celery("watched", broker="memory://", backend="memory://")

        @app.task(name="fail")
        def fail():
            raise LookupError("no such thing")

        with app.testing() as stepper:
            fail.delay()
            stepper.run()
        print(*seen, sep="\\n")
        """) == ["('error', '__main__.fail', None)", "('transaction', '__main__.fail', 'failure')"]


def test_ddtrace_sees_calls_and_runs(run: Run) -> None:
    assert run("""
        import os
        os.environ |= {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "0", "DD_REMOTE_CONFIGURATION_ENABLED": "0"}
        from ddtrace import patch
        patch(celery=True)
        from ddtrace.trace import TraceFilter, tracer
        seen = []

        class Kept(TraceFilter):
            def process_trace(self, trace):
                seen.extend((span.name, span.resource, span.error) for span in trace)

        tracer.configure(trace_processors=[Kept()])
        from celery import Celery
        app = Celery("watched", broker="memory://", backend="memory://")

        @app.task(name="fail")
        def fail():
            raise LookupError("no such thing")

        with app.testing() as stepper:
            fail.delay()
            stepper.run()
        print(*seen, sep="\\n")
        """) == ["('celery.apply', 'fail', 0)", "('celery.run', 'fail', 1)"]


# --- who keeps results ------------------------------------------------------------------------------------


SITE = {
    "site_settings.py": """
        import os
        SECRET_KEY = "x"
        USE_TZ = True
        INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_results", "shop"]
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db"}}
        CACHES = {"default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "cache",
        }}
        CELERY_BROKER_URL = "sqlite:///queue.db"
        CELERY_RESULT_BACKEND = os.environ["RESULTS"]
        CELERY_RESULT_EXTENDED = True
        CELERY_CACHE_BACKEND = "default"
        """,
    "site_app.py": """
        import os
        os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
        from celery import Celery
        app = Celery("site")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.autodiscover_tasks()
        """,
    "shop/__init__.py": "",
    "shop/tasks.py": """
        from celery import shared_task

        @shared_task
        def add(x, y):
            return x + y

        @shared_task
        def fail():
            raise LookupError("no such thing")

        @shared_task
        def total(values):
            return sum(values)
        """,
}


@pytest.mark.parametrize("backend", ["django-db", "django-cache"])
def test_django_celery_results_keeps_what_tasks_give(
    backend: str, run: Run, tmp_path: Path, environment: dict[str, str], interpreter: str
) -> None:
    for name, text in SITE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(dedent(text))
    environment["RESULTS"] = backend
    run("""
        import site_app, django
        django.setup()
        from django.core.management import call_command
        call_command("migrate", verbosity=0)
        """)
    worker = subprocess.Popen(
        [interpreter, "-m", "celery", "-A", "site_app", "worker", "-c", "2"], cwd=tmp_path, env=environment
    )
    try:
        lines = run("""
            import site_app, django
            django.setup()
            from celery import chord
            from shop.tasks import add, fail, total
            result = add.delay(1, 2)
            print(result.get(timeout=20))
            bad = fail.delay()
            print(repr(bad.get(timeout=20, propagate=False)), "no such thing" in bad.traceback)
            print(chord([add.s(1, 1), add.s(2, 2)])(total.s()).get(timeout=20))
            if site_app.app.conf.result_backend == "django-db":
                from django_celery_results.models import TaskResult
                kept = TaskResult.objects.get(task_id=result.id)
                print(kept.status, kept.result, kept.task_name, kept.task_args)
            again = site_app.app.AsyncResult(result.id)
            again.forget()
            print(again.state)
            """)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0
    kept = ['SUCCESS 3 shop.tasks.add "(1, 2)"'] if backend == "django-db" else []
    assert lines == ["3", "LookupError('no such thing') True", "6", *kept, "PENDING"]


# --- who writes it down -----------------------------------------------------------------------------------


def test_sphinx_shows_tasks_as_functions(run: Run, tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("extensions = ['sphinx.ext.autodoc', 'celery.contrib.sphinx']")
    (tmp_path / "index.rst").write_text(
        "Tasks\n=====\n\n.. automodule:: shown\n   :members:\n\n.. autotask:: shown.silent\n\n"
        "See :py:task:`shown.add`.\n"
    )
    (tmp_path / "shown.py").write_text(
        dedent('''
            """What can be called."""
            from celery import Celery
            app = Celery("shown", broker="memory://")

            @app.task
            def add(x: int, y: int = 2) -> int:
                """Add two numbers."""

            @app.task(bind=True)
            def bound(self, name):
                """Knows its request."""

            @app.task
            def silent(z): ...

            def plain(q):
                """No task."""
            ''')
    )
    assert run("""
        import sys
        from sphinx.cmd.build import main
        sys.path.insert(0, ".")
        assert main(["-q", "-W", "-b", "text", ".", "out"]) == 0
        print(*filter(None, open("out/index.txt").read().splitlines()), sep="\\n")
        """) == [
        "Tasks",
        "*****",
        "What can be called.",
        "(task) shown.add(x: int, y: int = 2) -> int",
        "   Add two numbers.",
        "(task) shown.bound(name)",
        "   Knows its request.",
        "shown.plain(q)",
        "   No task.",
        "(task) shown.silent(z)",
        'See "shown.add".',
    ]
