"""The signature of one task, of which a type checker knows what the call will give: `add.s(1, 2)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from celeriac.canvas.signature import Signature
from celeriac.result import AsyncResult, EagerResult

R = TypeVar("R")


class TaskSignature(Signature, Generic[R]):
    """A signature in all it does. These lines say what its methods return; the methods are Signature's."""

    delay: Callable[..., AsyncResult[R]]
    apply_async: Callable[..., AsyncResult[R]]
    apply: Callable[..., EagerResult[R]]
    __call__: Callable[..., Any]
    clone: Callable[..., TaskSignature[R]]
    set: Callable[..., TaskSignature[R]]
    on_error: Callable[..., TaskSignature[R]]
    stamp: Callable[..., TaskSignature[R]]
