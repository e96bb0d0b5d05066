"""`celery.utils.functional`: small functions over values, lists and functions."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, islice, zip_longest
from typing import Any, TypeVar

from celeriac.compat.utils import chunks, noop

__all__ = [
    "LRUCache",
    "arity_greater",
    "chunks",
    "dictfilter",
    "evaluate_promises",
    "first",
    "firstmethod",
    "fun_accepts_kwargs",
    "fun_takes_argument",
    "is_list",
    "is_numeric_value",
    "lazy",
    "lookahead",
    "maybe",
    "maybe_evaluate",
    "maybe_list",
    "memoize",
    "mlazy",
    "noop",
    "padlist",
    "pass1",
    "regen",
    "seq_concat_item",
    "seq_concat_seq",
    "uniq",
]

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


def is_list(obj: Any, scalars: tuple[type, ...] = (Mapping, str), iters: Any = (Iterable,)) -> bool:
    """Something to go through that is no text and no mapping."""
    return isinstance(obj, iters) and not isinstance(obj, scalars or ())


def maybe_list(obj: Any, scalars: tuple[type, ...] = (Mapping, str)) -> Any:
    """Itself if it is a list or None; else a list of it alone."""
    return obj if obj is None or is_list(obj, scalars) else [obj]


def maybe(typ: Callable[[Any], T], val: Any) -> T | None:
    return None if val is None else typ(val)


def first(predicate: Callable[[T], Any] | None, it: Iterable[T]) -> T | None:
    """The first that fits; without a predicate the first that is not None."""
    fits = predicate or (lambda item: item is not None)
    return next((item for item in it if fits(item)), None)


def firstmethod(method: str, on_call: Any = None) -> Callable[..., Any]:
    """A function that asks each of some objects for this method, until one answers."""

    def ask(it: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        for one in it:
            asked = getattr(maybe_evaluate(one), method, None)
            if asked is None:
                continue
            answer = on_call(asked, *args, **kwargs) if on_call else asked(*args, **kwargs)
            if answer is not None:
                return answer
        return None

    return ask


def uniq(it: Iterable[T]) -> Iterator[T]:
    """Each once, in the order in which they come first."""
    return iter(dict.fromkeys(it))


def padlist(container: Iterable[T], size: int, default: T | None = None) -> list[T | None]:
    """The first `size` of them, filled up where there are fewer."""
    return list(islice(chain(container, (default for _ in range(size))), size))


def lookahead(it: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Each with the one after it; after the last comes None."""
    items = list(it)
    return zip_longest(items, items[1:])


def dictfilter(d: Mapping[str, Any] | None = None, **kw: Any) -> dict[str, Any]:
    """Without the entries that are None."""
    both = {**(d or {}), **kw}
    return {key: value for key, value in both.items() if value is not None}


def pass1(arg: T, *args: Any, **kwargs: Any) -> T:
    return arg


def is_numeric_value(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def seq_concat_item(seq: Any, item: Any) -> Any:
    """A list or tuple with one more, of its own kind."""
    return type(seq)([*seq, item])


def seq_concat_seq(a: Any, b: Any) -> Any:
    """Both, of the kind of the longer one (else of the first)."""
    return type(b if len(b) > len(a) else a)([*a, *b])


def arity_greater(fun: Callable[..., Any], n: int) -> bool:
    """Whether it takes more than n positional arguments."""
    spec = inspect.getfullargspec(fun)
    return bool(spec.varargs) or len(spec.args) > n


def fun_takes_argument(name: str, fun: Callable[..., Any], position: int | None = None) -> Any:
    """Whether it can be called with this argument, by name or at its position."""
    spec = inspect.getfullargspec(fun)
    at_position = position is not None and len(spec.args) >= position
    return spec.varkw or spec.varargs or at_position or name in (*spec.args, *spec.kwonlyargs)


def fun_accepts_kwargs(fun: Callable[..., Any]) -> bool:
    return any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(fun).parameters.values()
    )


class lazy:
    """A call to be made later: `lazy(fun, 1)()`."""

    def __init__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._fun = fun
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        return self.evaluate()

    def evaluate(self) -> Any:
        return self._fun(*self._args, **self._kwargs)

    def __repr__(self) -> str:
        return repr(self())


class mlazy(lazy):
    """The same, made once."""

    evaluated = False
    _value: Any = None

    def evaluate(self) -> Any:
        if not self.evaluated:
            self._value, self.evaluated = super().evaluate(), True
        return self._value


def maybe_evaluate(value: Any) -> Any:
    return value.evaluate() if isinstance(value, lazy) else value


def evaluate_promises(it: Iterable[Any]) -> Iterator[Any]:
    return map(maybe_evaluate, it)


def regen(it: Any) -> Any:
    """Something that can be gone through more than once."""
    return it if isinstance(it, list | tuple) or not isinstance(it, Iterable) else list(it)


def memoize(maxsize: int | None = None, keyfun: Any = None, Cache: Any = None) -> Any:  # noqa: N803 - Celery's name
    """Decorator: remembers what it returned for the same arguments."""
    return lru_cache(maxsize)


class LRUCache(OrderedDict[K, V]):
    """A dict of at most `limit` entries: who was not looked at for longest goes."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit

    def __getitem__(self, key: K) -> V:
        value = super().__getitem__(key)
        self.move_to_end(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while self.limit and len(self) > self.limit:
            del self[next(iter(self))]

    def incr(self, key: Any, delta: int = 1) -> int:
        changed: Any = int(self.pop(key)) + delta  # type: ignore[call-overload]
        self[key] = changed
        return int(changed)
