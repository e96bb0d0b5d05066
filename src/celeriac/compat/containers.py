"""`celery.utils.collections` and `celery.utils.objects`: dicts and objects that are read as each other."""

from __future__ import annotations

from collections import ChainMap, OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import nullcontext
from functools import partial
from typing import Any

__all__ = [
    "AttributeDict",
    "Bunch",
    "ChainMap",
    "DictAttribute",
    "FallbackContext",
    "OrderedDict",
    "force_mapping",
    "lpmerge",
]


class AttributeDict(dict[str, Any]):
    """A dict whose entries are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Bunch:
    """An object with these attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class DictAttribute(MutableMapping[str, Any]):
    """The attributes of an object, read and set as a dict."""

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self.obj, key)
        except AttributeError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self.obj, key, value)

    def __delitem__(self, key: str) -> None:
        delattr(self.obj, key)

    def __iter__(self) -> Iterator[str]:
        return (name for name in dir(self.obj) if not name.startswith("__"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def force_mapping(m: Any) -> Mapping[str, Any]:
    """A mapping as it is; any other object as one of its attributes."""
    return m if isinstance(m, Mapping) else DictAttribute(m)


def lpmerge(L: MutableMapping[str, Any], R: Mapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: N803 - Celery's names
    """Put the entries of R that are not None into L."""
    L.update({key: value for key, value in R.items() if value is not None})
    return L


class FallbackContext:
    """For `with`: what was provided, which stays open, or what `fallback(...)` opens."""

    def __init__(self, provided: Any, fallback: Any, *fb_args: Any, **fb_kwargs: Any) -> None:
        self.provided = provided
        self._made: Any = nullcontext(provided) if provided is not None else None
        self._make = partial(fallback, *fb_args, **fb_kwargs)

    def __enter__(self) -> Any:
        self._made = self._made or self._make()
        return self._made.__enter__()

    def __exit__(self, *error: object) -> Any:
        return self._made.__exit__(*error) if self._made is not None else None
