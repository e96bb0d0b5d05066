"""One message that calls a task many times: for every item, for every tuple of arguments, or in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from celeriac.canvas.group import group
from celeriac.canvas.signature import Signature, as_signature


class _Mapped(Signature):
    """It takes no value of the task before: its items are all it works on."""

    _task_name = ""

    def __init__(self, task: Any, it: Iterable[Any], app: Any = None, **options: Any) -> None:
        super().__init__(
            self._task_name,
            kwargs={"task": _signature_of(task), "it": it if isinstance(it, list) else list(it)},
            immutable=True,
            app=app,
            **options,
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        return cls(d["kwargs"]["task"], d["kwargs"]["it"], app=app, **d["options"])

    def _first(self) -> Signature | None:
        return as_signature(self.kwargs["task"])


@Signature.register_type()
class xmap(_Mapped):
    """Call the task for every item, in one message: `[task(x) for x in it]`."""

    _task_name = "celery.map"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}(x) for x in {self.kwargs['it']!r}]"


@Signature.register_type()
class xstarmap(_Mapped):
    """Call the task for every tuple of arguments, in one message: `[task(*x) for x in it]`."""

    _task_name = "celery.starmap"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}(*x) for x in {self.kwargs['it']!r}]"


@Signature.register_type()
class chunks(Signature):
    """Many calls cut into few messages: each works through `n` tuples of arguments."""

    def __init__(self, task: Any, it: Iterable[Any], n: int, app: Any = None, **options: Any) -> None:
        super().__init__(
            "celery.chunks",
            kwargs={"task": _signature_of(task), "it": it, "n": n},
            immutable=True,
            app=app,
            **options,
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> Signature:
        inside = d["kwargs"]
        return cls(inside["task"], inside["it"], inside["n"], app=app, **d["options"])

    def _first(self) -> Signature | None:
        return as_signature(self.kwargs["task"])

    def group(self) -> group:
        """The messages as a group; one after the other, if the items come from a generator."""
        task, n = self.kwargs["task"], self.kwargs["n"]
        return group(
            (xstarmap(task, part, app=self._app) for part in _parts(self.kwargs["it"], n)), app=self._app
        )

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        """Send all messages."""
        return self.group().apply_async(args, kwargs, route_name, **{**self.options, **options})

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Work through all of them here and now."""
        return self.group().apply(args, kwargs, **options)

    def __call__(self, **options: Any) -> Any:
        return self.apply_async(**options)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Any = None) -> Any:
        """Cut and send at once."""
        return cls(task, it, n, app=app)()


def _parts(it: Iterable[Any], n: int) -> Iterator[list[Any]]:
    items = iter(it)
    while part := list(islice(items, n)):
        yield part


def _signature_of(task: Any) -> Signature:
    return as_signature(task) if isinstance(task, dict) else Signature(task)
