"""Exceptions as plain data and back, whatever their classes do: {"exc_type", "exc_message", "exc_module"}.

Encoding never raises. Decoding imports nothing, and makes instances of exception classes only.
"""

from __future__ import annotations

import builtins
import pickle
import sys
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

from celeriac import exceptions
from celeriac.wire.codecs import PICKLE_PROTOCOL, codec_named
from celeriac.wire.saferepr import module_of, name_of, safe_repr


def encode_exception(exc: BaseException, serializer: str = "json") -> dict[str, Any]:
    """Its class and its arguments; an argument that the serializer cannot carry becomes its repr."""
    kind = type(exc)
    module, name = module_of(kind), name_of(kind)
    if module == _OURS:
        name = _CELERYS_NAMES.get(name, name)
        module = _CELERYS_MODULES.get(name, "celery.exceptions")
    dumps = codec_named(serializer).dumps
    return {
        "exc_type": _sound(name),
        "exc_message": [_carried(argument, dumps) for argument in _args_of(exc)],
        "exc_module": module if module is None else _sound(module),
    }


def decode_exception(meta: Any) -> BaseException:
    """The exception again. A class that is not loaded here, or does not take its own arguments back, is
    replaced by one of the same name, a `ForeignError`."""
    if _is_exception_class(type(meta)):
        error: BaseException = meta
        return error
    if not isinstance(meta, Mapping):
        return ForeignError(safe_repr(meta))
    name, module, message = meta.get("exc_type"), meta.get("exc_module"), meta.get("exc_message", "")
    if not isinstance(name, str) or not name:
        return ForeignError(message if isinstance(message, str) else safe_repr(message))
    args = tuple(message) if isinstance(message, list | tuple) else (message,)
    module = module if isinstance(module, str) else None
    kind = _class_named(name, module)
    rebuilt = _construct(kind, args) if kind is not None else None
    return rebuilt if rebuilt is not None else _foreign_class(name, module)(*args)


def pickled(exc: BaseException) -> BaseException | dict[str, Any]:
    """The exception itself if it survives pickling there and back, else its plain data."""
    try:
        again = pickle.loads(pickle.dumps(exc, protocol=PICKLE_PROTOCOL))
    except (Exception, SystemExit):
        return encode_exception(exc)
    return exc if type(again) is type(exc) else encode_exception(exc)


class ForeignError(Exception):
    """Stands for an exception whose own class cannot be had here; a subclass of this bears its name."""

    def __reduce__(self) -> tuple[Any, ...]:
        kind = type(self)
        if kind is ForeignError:
            return (ForeignError, self.args)
        return (_foreign_error, (kind.__qualname__, kind.__module__, self.args))


# --- in detail --------------------------------------------------------------------------------------------

_OURS = exceptions.__name__

#: Where Celery's own programs look for the classes that are not in celery.exceptions.
_CELERYS_MODULES = {
    **dict.fromkeys(
        ("SoftTimeLimitExceeded", "TimeLimitExceeded", "WorkerLostError", "Terminated"), "billiard.exceptions"
    ),
    **dict.fromkeys(
        ("OperationalError", "EncodeError", "DecodeError", "ContentDisallowed"), "kombu.exceptions"
    ),
    "Fenced": _OURS,
}
_CELERYS_NAMES = {"CeleriacError": "CeleryError", "CeleriacWarning": "CeleryWarning"}

#: Modules whose exceptions are ours under the same name.
_THEIRS = frozenset({"celery.exceptions", "billiard.exceptions", "billiard.einfo", "kombu.exceptions"})

# Read through the type that has them: a class may hide its arguments, or itself, behind a property.
_args = BaseException.__dict__["args"].__get__
_namespace = type.__dict__["__dict__"].__get__
_ancestry = type.__dict__["__mro__"].__get__


def _args_of(exc: BaseException) -> tuple[Any, ...]:
    args: tuple[Any, ...] = _args(exc)
    return args


def _sound(name: str) -> str:
    # A name may come as any text; zero bytes and lone surrogates make no class and fit not every codec.
    return name.replace("\0", "").encode("utf-8", "replace").decode()


def _carried(argument: Any, dumps: Any) -> Any:
    if type(argument) in _ALWAYS_CARRIED:
        return argument
    try:
        dumps(argument)
    except (Exception, SystemExit):
        return safe_repr(argument)
    return argument


_ALWAYS_CARRIED = frozenset({str, bool, float, type(None)})


def _class_named(name: str, module: str | None) -> type[BaseException] | None:
    if module in _THEIRS or module == _OURS:
        ours = vars(exceptions).get(name)
        if _is_exception_class(ours):
            return ours
    found: Any = builtins if module is None else sys.modules.get(module)
    # Read from the namespaces: a module's or a class's __getattr__ may import or run whatever it likes.
    for part in name.split("."):
        if isinstance(found, ModuleType):
            found = vars(found).get(part)
        elif issubclass(type(found), type):
            found = _namespace(found).get(part)
        else:
            return None
    return found if _is_exception_class(found) else None


def _is_exception_class(found: Any) -> bool:
    # By identity: a metaclass may define `==`.
    return issubclass(type(found), type) and any(one is BaseException for one in _ancestry(found))


def _construct(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException | None:
    try:
        made = kind(*args)
    except (Exception, SystemExit, GeneratorExit):
        return None
    return made if _is_exception_class(type(made)) else None


@lru_cache(maxsize=1024)
def _foreign_class(name: str, module: str | None) -> type[ForeignError]:
    name = _sound(name) or "Unnamed"
    short = name.rpartition(".")[2] or name
    return type(short, (ForeignError,), {"__module__": module or "builtins", "__qualname__": name})


def _foreign_error(name: str, module: str, args: tuple[Any, ...]) -> ForeignError:
    return _foreign_class(name, module)(*args)
