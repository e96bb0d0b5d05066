"""`celery.local`: objects that stand for others, looked up at each use."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["PromiseProxy", "Proxy", "maybe_evaluate", "try_import"]

#: The operators that Python looks up in the class, where __getattr__ is not asked.
_FORWARDED = """
    call getitem setitem delitem len iter next contains reversed enter exit aenter aexit await aiter anext
    eq ne lt le gt ge hash bool str repr format bytes int float complex index round
    add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift neg pos abs invert
    radd rsub rmul rtruediv rfloordiv rmod rdivmod rpow rmatmul rand ror rxor rlshift rrshift
"""


class Proxy:
    """Behaves as what `local()` returns, asked anew at each use."""

    __slots__ = ("__args", "__kwargs", "__local", "__name__", "__weakref__")

    def __init__(
        self,
        local: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        __doc__: str | None = None,
    ) -> None:
        object.__setattr__(self, "_Proxy__local", local)
        object.__setattr__(self, "_Proxy__args", args or ())
        object.__setattr__(self, "_Proxy__kwargs", kwargs or {})
        if name is not None:
            object.__setattr__(self, "__name__", name)

    def _get_current_object(self) -> Any:
        local = object.__getattribute__(self, "_Proxy__local")
        args = object.__getattribute__(self, "_Proxy__args")
        return local(*args, **object.__getattribute__(self, "_Proxy__kwargs"))

    @property  # type: ignore[misc]  # isinstance() asks an object for its class: answer for the other one
    def __class__(self) -> Any:
        return type(self._get_current_object())

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return self._get_current_object().__dict__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._get_current_object(), name)

    def __dir__(self) -> list[str]:
        return dir(self._get_current_object())

    def __reduce__(self) -> Any:
        return self._get_current_object().__reduce__()


def _forward(name: str) -> Callable[..., Any]:
    def operator(self: Proxy, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._get_current_object(), name)(*args, **kwargs)

    operator.__name__ = name
    return operator


for _name in _FORWARDED.split():
    setattr(Proxy, f"__{_name}__", _forward(f"__{_name}__"))


class PromiseProxy(Proxy):
    """Asks once, at the first use, and remembers the answer."""

    __slots__ = ("__value",)

    def _get_current_object(self) -> Any:
        try:
            return object.__getattribute__(self, "_PromiseProxy__value")
        except AttributeError:
            value = super()._get_current_object()
            object.__setattr__(self, "_PromiseProxy__value", value)
            return value

    def __evaluated__(self) -> bool:
        try:
            object.__getattribute__(self, "_PromiseProxy__value")
        except AttributeError:
            return False
        return True

    def __maybe_evaluate__(self) -> Any:
        return self._get_current_object()


def maybe_evaluate(obj: Any) -> Any:
    """What a promise stands for; any other object as it is."""
    return obj._get_current_object() if type(obj) is PromiseProxy else obj


def try_import(module: str, default: Any = None) -> Any:
    """The module, or `default` if it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        return default
