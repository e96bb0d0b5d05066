"""The repr of any value for people to read: bounded in length and depth, and no object can break it."""

from __future__ import annotations

from typing import Any

#: Characters; Celery's `argsrepr` of the same calls is as long.
LIMIT = 1024

#: Containers inside containers that are still opened, as in Celery.
LEVELS = 3

#: Types whose repr is cheap, unless they are long.
SCALARS = frozenset({int, float, bool, type(None), str})

#: Above this, Python may refuse to write an int in decimal, and takes long.
_WIDEST_INT_BITS = 8192


def safe_repr(value: Any, limit: int = LIMIT, levels: int = LEVELS) -> str:
    """`repr(value)`, cut at `limit` characters and `levels` of nesting, whatever its objects' reprs do."""
    pen = _Pen(limit)
    try:
        pen.write(value, levels)
    except _Full:
        return "".join(pen.parts)[: limit - 3] + "..."
    except (Exception, SystemExit):
        # A container that another thread changes while we look, or one deeper than the stack.
        return f"<{type_name(value)}>"
    return "".join(pen.parts)


def storable(text: str) -> str:
    r"""The text as every store can keep it: half of a surrogate pair, which has no bytes, as \udcff."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def type_name(value: Any) -> str:
    """`module.Class` of a value (`Class` for builtins); no metaclass has a say in it."""
    kind = type(value)
    module, name = module_of(kind), name_of(kind)
    return name if module in (None, "builtins") else f"{module}.{name}"


def first_line(error: BaseException) -> str:
    """What an error says, on one line and not too long; its type where it says nothing or breaks."""
    try:
        return (str(error).splitlines() or [type_name(error)])[0][:300]
    except Exception:
        return type_name(error)


def name_of(kind: type) -> str:
    name: str = _qualname(kind)
    return name


def module_of(kind: type) -> str | None:
    try:
        module = _module(kind)
    except (Exception, SystemExit):
        return None
    return module if isinstance(module, str) else None


# Read through `type` itself: a metaclass may answer `kind.__qualname__` with anything, or raise.
_qualname = type.__dict__["__qualname__"].__get__
_module = type.__dict__["__module__"].__get__


class _Full(Exception):
    """There is no more room."""


class _Pen:
    """Writes reprs until the room is used up."""

    __slots__ = ("parts", "room")

    def __init__(self, limit: int) -> None:
        self.parts: list[str] = []
        self.room = limit

    def put(self, text: str) -> None:
        self.parts.append(text)
        self.room -= len(text)
        if self.room < 0:
            raise _Full

    def write(self, value: Any, levels: int) -> None:
        kind = type(value)
        if kind is str or kind is bytes:
            self.put(repr(value[: self.room + 1]))
        elif kind is tuple or kind is list:
            self._items("(" if kind is tuple else "[", value, ")" if kind is tuple else "]", levels)
        elif kind is dict:
            self._pairs(value, levels)
        elif (kind is set or kind is frozenset) and value:
            name = "frozenset(" if kind is frozenset else ""
            self._items(name + "{", value, "})" if name else "}", levels)
        elif kind is int and value.bit_length() > _WIDEST_INT_BITS:
            self.put(f"<int of {value.bit_length()} bits>")
        else:
            self.put(self._of_object(value))

    def _items(self, opening: str, items: Any, closing: str, levels: int) -> None:
        self.put(opening)
        if items and levels <= 0:
            self.put("...")
        else:
            for place, item in enumerate(items):
                if place:
                    self.put(", ")
                self.write(item, levels - 1)
            if type(items) is tuple and len(items) == 1:
                self.put(",")
        self.put(closing)

    def _pairs(self, pairs: dict[Any, Any], levels: int) -> None:
        self.put("{")
        if pairs and levels <= 0:
            self.put("...")
        else:
            for place, (key, item) in enumerate(pairs.items()):
                if place:
                    self.put(", ")
                self.write(key, levels - 1)
                self.put(": ")
                self.write(item, levels - 1)
        self.put("}")

    def _of_object(self, value: Any) -> str:
        try:
            # The slice is str's own: a repr may return a subclass of str with ideas of its own.
            return str.__getitem__(repr(value), slice(0, self.room + 1))
        except (Exception, SystemExit):
            return f"<{type_name(value)}: its repr() raises>"
