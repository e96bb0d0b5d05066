"""DJG: an app beside the code of a site that Django runs, through the drop-in."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from celeriac import Celery, signals
from celeriac.compat import django as compat_django
from celeriac.exceptions import FixupWarning
from celeriac.worker.instance import Worker
from celeriac.worker.options import WorkerOptions

FILES = {
    "proj/__init__.py": "from .celery import app as celery_app",
    "proj/celery.py": """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
app = Celery("proj")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
""",
    "proj/settings.py": """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CELERY_BROKER_URL = CELERY_RESULT_BACKEND = "memory://"
CELERY_TASK_DEFAULT_QUEUE = "site"
""",
    "shop/__init__.py": "",
    "shop/checks.py": """
from django.core.checks import Warning, register

@register
def look(app_configs, **kwargs):
    return [Warning("shelves are empty", id="shop.W1")]
""",
    "shop/models.py": """
from django.db import models
from . import checks

class Order(models.Model):
    paid = models.BooleanField(default=False)
""",
    "shop/tasks.py": """
from celery import shared_task
from .models import Order

@shared_task
def pay(pk):
    return Order.objects.filter(pk=pk).update(paid=True)

@shared_task
async def is_paid(pk):
    return await Order.objects.filter(pk=pk, paid=True).aexists()
""",
    "program.py": """
import logging, sys
from proj import celery_app as app
from django.apps import apps
assert not apps.ready, "models are imported when tasks are, not before"
app.import_modules()
from celery import signals
from celeriac.worker.instance import Worker
from celeriac.worker.options import WorkerOptions
from django.core.cache import cache
from django.db import connection, connections, transaction
from shop.models import Order
from shop.tasks import is_paid, pay

with connection.schema_editor() as editor:
    editor.create_model(Order)
order = Order.objects.create()
print(app.conf.task_default_queue, sorted(name for name in app.tasks if name.startswith("shop.")))
with app.testing() as stepper:
    with transaction.atomic():
        print(pay.delay_on_commit(order.pk), stepper.waiting())
    print(len(stepper.waiting()))
    try:
        with transaction.atomic():
            pay.apply_async_on_commit((order.pk,), countdown=5)
            raise OSError
    except OSError:
        print(len(stepper.waiting()))
    stepper.run()
    order.refresh_from_db()
    print(order.paid)
    connection.ensure_connection()
    pay.delay(order.pk)
    stepper.run()
    print("open" if connection.connection else "closed")
    result = is_paid.delay(order.pk)
    stepper.run()
    print(result.get())
worker = Worker(app, WorkerOptions(hostname="w1@here"))
connection.ensure_connection()
signals.worker_before_create_process.send(worker)
print("open" if connection.connection else "closed")
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
signals.worker_init.send(worker)
""",
}


def test_DJG_1_and_2_a_site_has_its_tasks_found_its_connections_kept_and_its_calls_sent_on_commit(
    python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = python("program.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "site ['shop.tasks.is_paid', 'shop.tasks.pay']",
        "None []",
        "1",
        "1",
        "True",
        "closed",
        "True",
        "closed",
        "WARNING ?: (shop.W1) shelves are empty",
    ], done.stderr


def test_DJG_1_settings_without_django_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("proj", set_as_current=False)
    assert app.site is None
    assert compat_django.fixup(app, "NOT_SET_AT_ALL") is None
    monkeypatch.setenv("SITE", "proj.settings")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.warns(FixupWarning, match="pip install django"):
        assert compat_django.fixup(app, "SITE") is None


def test_DJG_1_an_app_may_stay_away_from_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "proj.settings")
    assert Celery("proj", fixups=[], set_as_current=False).site is None
    assert Celery("proj", set_as_current=False).site is not None


def test_DJG_1_an_app_without_a_site_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Another one in this process may have a site, and Django may be loaded, but not set up."""
    importlib.import_module("django.db")
    importlib.import_module("django.core.cache")
    other = Celery("other", set_as_current=False)
    site = compat_django.Site(other)
    app = Celery("proj", broker="memory://", backend="memory://", set_as_current=False)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    with app.testing() as stepper:
        result = add.delay(1, 2)
        stepper.run()
        assert result.get() == 3
    worker = Worker(app, WorkerOptions(hostname="w1@here"))
    signals.worker_init.send(worker)
    signals.worker_before_create_process.send(worker)
    assert site
    assert "raised" not in caplog.text
