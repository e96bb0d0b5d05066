"""`celery.contrib.testing.mocks`: messages of tasks as a test makes them by hand.

Nothing reads them but the test and what it hands them to; true messages are run by `app.testing()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self
from unittest.mock import MagicMock, Mock

from celeriac.app import Celery
from celeriac.canvas import Signature
from celeriac.clock import to_datetime
from celeriac.wire.codecs import json_text
from celeriac.wire.ids import new_id

__all__ = ["ContextMock", "TaskMessage", "TaskMessage1", "task_message_from_sig"]


def TaskMessage(
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Any = None,
    errbacks: Any = None,
    chain: Any = None,
    shadow: str | None = None,
    utc: bool | None = None,
    **options: Any,
) -> Any:
    """A message of protocol 2; options are headers."""
    id = id or new_id()
    embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain}
    headers = {"id": id, "task": name, "shadow": shadow, **options}
    return _message(f"TaskMessage-{id}", headers, (args, kwargs or {}, embed))


def TaskMessage1(
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Any = None,
    errbacks: Any = None,
    chain: Any = None,
    **options: Any,
) -> Any:
    """A message of protocol 1; options stand in its body, as all else."""
    id = id or new_id()
    called = {"task": name, "id": id, "args": args, "kwargs": kwargs or {}}
    return _message(
        f"TaskMessage-{id}", {}, {**called, "callbacks": callbacks, "errbacks": errbacks, **options}
    )


def task_message_from_sig(
    app: Celery,
    sig: Signature,
    utc: bool = True,
    TaskMessage: Callable[..., Any] = TaskMessage,  # noqa: N803 - Celery's name
) -> Any:
    """The message of a signature, which gets an id by that."""
    sig.freeze()
    options = dict(sig.options)
    countdown, eta, expires = (options.pop(word, None) for word in ("countdown", "eta", "expires"))
    due = eta if countdown is None else countdown
    return TaskMessage(
        sig.task,
        id=sig.id,
        args=sig.args,
        kwargs=sig.kwargs,
        callbacks=_several(options.pop("link", None)),
        errbacks=_several(options.pop("link_error", None)),
        eta=_moment(app, due),
        expires=_moment(app, expires),
        utc=utc,
        **options,
    )


class ContextMock(MagicMock):
    """A mock that gives itself to `with`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def _message(name: str, headers: dict[str, Any], payload: Any) -> Any:
    message = Mock(name=name, content_type="application/json", content_encoding="utf-8")
    message.headers, message.payload, message.body = headers, payload, json_text(payload)
    return message


def _several(signatures: Any) -> list[Any] | None:
    if signatures is None:
        return None
    return list(signatures) if isinstance(signatures, list | tuple) else [signatures]


def _moment(app: Celery, moment: Any) -> str | None:
    return None if moment is None else to_datetime(moment, app.time()).isoformat()
