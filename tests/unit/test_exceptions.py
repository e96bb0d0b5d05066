"""Exceptions: their texts, their family, their way through pickle."""

from __future__ import annotations

import builtins
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from celeriac import exceptions
from celeriac.exceptions import (
    BackendGetMetaError,
    BackendStoreError,
    CeleriacError,
    CeleryCommandException,
    Fenced,
    Ignore,
    MaxRetriesExceededError,
    NotRegistered,
    QueueNotFound,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskPredicate,
    TimeLimitExceeded,
    WorkerLostError,
    WorkerTerminate,
    reraise,
)

NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)


class Hostile(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr for you")


def through_pickle(error: Any) -> Any:
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize(
    ("retry", "text"),
    [
        (Retry(), "Retry at None"),
        (Retry(when=5), "Retry in 5s"),
        (Retry(when=0.5), "Retry in 0.5s"),
        (Retry(exc=ValueError("x"), when=5), "Retry in 5s: ValueError('x')"),
        (Retry(exc=ValueError("x"), when=NEW_YEAR), "Retry at 2020-01-01 00:00:00+00:00: ValueError('x')"),
        (Retry("my words", exc=ValueError("x"), when=5), "my words"),
    ],
)
def test_a_retry_says_when_and_why(retry: Retry, text: str) -> None:
    assert str(retry) == text
    assert str(through_pickle(retry)) == text


def test_a_retry_keeps_everything_through_pickle() -> None:
    copy = through_pickle(Retry("m", ValueError("a"), NEW_YEAR, True, {"task": "t"}))
    assert (copy.message, repr(copy.exc), copy.when) == ("m", "ValueError('a')", NEW_YEAR)
    assert (copy.is_eager, copy.sig) == (True, {"task": "t"})


def test_a_retry_bears_an_exception_whose_repr_raises() -> None:
    assert "Hostile" in str(Retry(exc=Hostile(), when=1))
    assert "Hostile" in repr(Retry(exc=Hostile(), when=1))


def test_not_registered_tells_what_to_do() -> None:
    error = NotRegistered("shop.pay")
    assert repr(error) == "Task of kind 'shop.pay' never registered, please make sure it's imported."
    assert str(error) == "'shop.pay'"
    assert isinstance(error, KeyError)


def test_queue_not_found_reads_as_a_sentence_and_is_a_key_error() -> None:
    assert str(QueueNotFound("queue 'x' is unknown")) == "queue 'x' is unknown"
    assert isinstance(QueueNotFound(), KeyError)


def test_a_reject_says_its_reason() -> None:
    error = through_pickle(Reject("broken", requeue=True))
    assert (error.reason, error.requeue, str(error)) == ("broken", True, "reject requeue=True: broken")
    assert Reject().requeue is False


def test_time_limits_show_their_seconds_and_are_no_celeriac_errors() -> None:
    assert str(SoftTimeLimitExceeded(5)) == "SoftTimeLimitExceeded(5,)"
    assert str(TimeLimitExceeded()) == "TimeLimitExceeded()"
    assert not issubclass(SoftTimeLimitExceeded, CeleriacError)
    assert not issubclass(WorkerLostError, CeleriacError)


def test_a_timeout_is_also_caught_as_pythons_own() -> None:
    with pytest.raises(builtins.TimeoutError, match="too late"):
        raise exceptions.TimeoutError("too late")
    assert isinstance(through_pickle(exceptions.TimeoutError("x")), CeleriacError)


def test_extra_attributes_survive_pickle() -> None:
    tried = through_pickle(MaxRetriesExceededError("often", task_args=(1,), task_kwargs={"a": 2}))
    assert (str(tried), tried.task_args, tried.task_kwargs) == ("often", (1,), {"a": 2})
    read = through_pickle(BackendGetMetaError("gone", task_id="7"))
    assert repr(read) == "BackendGetMetaError('gone') task_id:7"
    written = through_pickle(BackendStoreError("gone", state="SUCCESS", task_id="7"))
    assert repr(written) == "BackendStoreError('gone') state:SUCCESS task_id:7"
    assert through_pickle(Fenced("owner-1")).owner == "owner-1"
    command = through_pickle(CeleryCommandException("no such app", 3))
    assert (str(command), command.exit_code) == ("no such app", 3)
    assert through_pickle(WorkerTerminate(1)).code == 1


def test_every_exception_survives_pickle_with_its_text() -> None:
    kinds = [
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type)
        and issubclass(kind, BaseException)
        and kind.__module__ == exceptions.__name__
    ]
    assert len(kinds) > 40
    for kind in kinds:
        error = kind("some words")
        copy = through_pickle(error)
        assert type(copy) is kind
        assert str(copy) == str(error)


def test_names_of_celery_are_the_same_classes() -> None:
    assert exceptions.CeleryError is CeleriacError
    assert exceptions.RetryTaskError is Retry
    assert exceptions.SystemTerminate is WorkerTerminate
    assert issubclass(Ignore, TaskPredicate)
    assert all(hasattr(exceptions, name) for name in exceptions.__all__)


def test_reraise_raises_the_value() -> None:
    error = ValueError("x")
    with pytest.raises(ValueError, match="x") as caught:
        reraise(ValueError, error)
    assert caught.value is error
    with pytest.raises(KeyError):
        reraise(KeyError, None)
