"""EXC: the exceptions of Celery by their names and bases, and that they are what the code raises."""

from __future__ import annotations

import builtins
import pickle
import warnings
from typing import Any

import pytest

from celeriac import Celery, exceptions
from celeriac.exceptions import CeleryError, Reject, Retry

#: Name -> the bases that programs catch it by.
FAMILY = {
    "AlwaysEagerIgnored": "CeleryWarning",
    "DuplicateNodenameWarning": "CeleryWarning",
    "DuplicateTaskNameWarning": "CeleryWarning",
    "FixupWarning": "CeleryWarning",
    "NotConfigured": "CeleryWarning",
    "SecurityWarning": "CeleryWarning",
    "ImproperlyConfigured": "CeleryError",
    "SecurityError": "CeleryError",
    "TaskPredicate": "CeleryError",
    "Ignore": "TaskPredicate",
    "Reject": "TaskPredicate",
    "Retry": "TaskPredicate",
    "TaskError": "CeleryError",
    "QueueNotFound": "TaskError KeyError",
    "IncompleteStream": "TaskError",
    "NotRegistered": "TaskError KeyError",
    "AlreadyRegistered": "TaskError",
    "TimeoutError": "TaskError",
    "MaxRetriesExceededError": "TaskError",
    "TaskRevokedError": "TaskError",
    "InvalidTaskError": "TaskError",
    "ChordError": "TaskError",
    "BackendGetMetaError": "BackendError",
    "BackendStoreError": "BackendError",
    "WorkerShutdown": "SystemExit",
    "WorkerTerminate": "SystemExit",
    "CPendingDeprecationWarning": "PendingDeprecationWarning",
    "CDeprecationWarning": "DeprecationWarning",
    "CeleryWarning": "UserWarning",
    "OperationalError": "Exception",
    "SoftTimeLimitExceeded": "Exception",
    "TimeLimitExceeded": "Exception",
    "WorkerLostError": "Exception",
    "Terminated": "Exception",
    "CeleryCommandException": "Exception",
}


@pytest.mark.parametrize("name", FAMILY)
def test_EXC_1_to_4_each_is_caught_by_its_bases_and_pickles(name: str) -> None:
    kind = getattr(exceptions, name)
    for base in FAMILY[name].split():
        assert issubclass(kind, getattr(exceptions, base, None) or getattr(builtins, base))
    again = pickle.loads(pickle.dumps(kind("why")))
    assert (type(again), str(again)) == (kind, str(kind("why")))


def test_EXC_3_aliases_are_the_same_classes() -> None:
    assert exceptions.RetryTaskError is Retry
    assert exceptions.SystemTerminate is exceptions.WorkerTerminate
    with pytest.raises(ValueError, match="x"):
        exceptions.reraise(ValueError, ValueError("x"))


def test_EXC_4_texts() -> None:
    assert str(Retry("again", when=5)) == "again"
    assert str(Retry(exc=ValueError("x"), when=5)) == "Retry in 5s: ValueError('x')"
    assert "never registered" in repr(exceptions.NotRegistered("proj.add"))
    assert str(Reject("bad", requeue=True)) == "reject requeue=True: bad"
    error = exceptions.CeleryCommandException("broken", 3)
    assert (error.exit_code, str(error)) == (3, "broken")


def test_EXC_2_they_are_what_is_raised(app: Celery) -> None:
    def caught(kind: type[BaseException], do: Any, *args: Any, **kwargs: Any) -> None:
        with pytest.raises(kind) as error:
            do(*args, **kwargs)
        assert isinstance(error.value, CeleryError)

    @app.task(bind=True, max_retries=0)
    def once(self: Any) -> None:
        self.retry()

    caught(exceptions.ImproperlyConfigured, Celery, task_serialiser="json")
    caught(exceptions.NotRegistered, app.tasks.__getitem__, "nope")
    caught(exceptions.TimeoutError, app.AsyncResult("unknown").get, timeout=0.01)
    caught(exceptions.MaxRetriesExceededError, once.apply, throw=True)
    app.conf.task_create_missing_queues = False
    caught(exceptions.QueueNotFound, once.apply_async, queue="elsewhere")
    result = app.AsyncResult("revoked")
    result.revoke()
    caught(exceptions.TaskRevokedError, result.get, timeout=5)


def test_EXC_1_warnings_are_given(app: Celery) -> None:
    app.conf.task_always_eager = True
    with pytest.warns(exceptions.AlwaysEagerIgnored):
        app.send_task("proj.add")
    app.task(name="one")(lambda: 1)

    def other() -> None: ...

    with pytest.warns(exceptions.DuplicateTaskNameWarning, match="the first"):
        app.task(name="one")(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        app.task(name="two")(other)
