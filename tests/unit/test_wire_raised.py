"""Exceptions there and back, and some two hundred classes that do their worst."""

from __future__ import annotations

import itertools
import json
import pickle
import sys
import types
from typing import Any

import pytest

from celeriac import exceptions
from celeriac.wire.raised import ForeignError, decode_exception, encode_exception
from celeriac.wire.result import encode_result


def there_and_back(error: BaseException) -> BaseException:
    return decode_exception(json.loads(json.dumps(encode_exception(error))))


class OfOurOwn(Exception):
    class Inner(Exception):
        pass


class TakesMore(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 7),
        KeyError("k"),
        OSError(2, "gone"),
        OfOurOwn("x"),
        OfOurOwn.Inner("y"),
        exceptions.NotRegistered("proj.x"),
        exceptions.MaxRetriesExceededError("m"),
        exceptions.WorkerLostError("w"),
        exceptions.Fenced("o"),
        exceptions.OperationalError("o"),
        exceptions.CeleriacError("c"),
        SystemExit(3),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ],
    ids=repr,
)
def test_an_exception_comes_back_with_its_class_and_arguments(error: BaseException) -> None:
    again = decode_exception(encode_exception(error))
    assert type(again) is type(error)
    assert again.args == error.args


@pytest.mark.parametrize(
    ("error", "module", "name"),
    [
        (exceptions.NotRegistered("x"), "celery.exceptions", "NotRegistered"),
        (exceptions.Retry("x"), "celery.exceptions", "Retry"),
        (exceptions.CeleriacError("x"), "celery.exceptions", "CeleryError"),
        (exceptions.WorkerLostError("x"), "billiard.exceptions", "WorkerLostError"),
        (exceptions.SoftTimeLimitExceeded("x"), "billiard.exceptions", "SoftTimeLimitExceeded"),
        (exceptions.ContentDisallowed("x"), "kombu.exceptions", "ContentDisallowed"),
        (exceptions.Fenced("x"), "celeriac.exceptions", "Fenced"),
        (ValueError("x"), "builtins", "ValueError"),
    ],
)
def test_our_exceptions_are_written_under_the_names_that_celery_finds(
    error: BaseException, module: str, name: str
) -> None:
    meta = encode_exception(error)
    assert (meta["exc_module"], meta["exc_type"]) == (module, name)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("celery.exceptions", "TaskRevokedError"),
        ("billiard.exceptions", "TimeLimitExceeded"),
        ("kombu.exceptions", "EncodeError"),
        ("celeriac.exceptions", "EncodeError"),
    ],
)
def test_celerys_exceptions_are_read_as_ours(module: str, name: str) -> None:
    error = decode_exception({"exc_type": name, "exc_module": module, "exc_message": ["x"]})
    assert type(error) is getattr(exceptions, name)


def test_an_exception_that_wants_other_arguments_keeps_its_name_and_message() -> None:
    error = there_and_back(TakesMore(1, 2))
    assert type(error).__name__ == "TakesMore"
    assert isinstance(error, ForeignError)
    assert str(error) == "1 and 2"


def test_a_stand_in_is_one_class_per_name_and_pickles() -> None:
    meta = {"exc_type": "Outer.Gone", "exc_module": "no.such", "exc_message": ["x", 1]}
    error = decode_exception(meta)
    assert type(error) is type(decode_exception(meta))
    assert (type(error).__name__, type(error).__qualname__, type(error).__module__) == (
        "Gone",
        "Outer.Gone",
        "no.such",
    )
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert again.args == ("x", 1)
    assert pickle.loads(pickle.dumps(ForeignError("f"))).args == ("f",)


@pytest.mark.parametrize(
    ("meta", "name"),
    [
        ({"exc_type": "system", "exc_module": "os", "exc_message": "false"}, "system"),
        ({"exc_type": "Popen", "exc_module": "subprocess", "exc_message": [["false"]]}, "Popen"),
        ({"exc_type": "exit", "exc_module": "builtins", "exc_message": []}, "exit"),
        ({"exc_type": "object", "exc_module": "builtins", "exc_message": []}, "object"),
        ({"exc_type": "type", "exc_module": "builtins", "exc_message": ["X"]}, "type"),
        ({"exc_type": "__class__.__base__", "exc_module": "os", "exc_message": []}, "__base__"),
        ({"exc_type": "ValueError.__init__", "exc_module": "builtins", "exc_message": []}, "__init__"),
        ({"exc_type": "A.<locals>.B", "exc_module": "builtins", "exc_message": []}, "<locals>"),
        ({"exc_type": "E\x00\ud800", "exc_module": "m\x00", "exc_message": ["x"]}, "E"),
        ({"exc_type": 5, "exc_message": ["x"]}, "ForeignError"),
        ({"exc_type": "", "exc_message": "x"}, "ForeignError"),
        ({"exc_type": "ValueError", "exc_module": ["os"], "exc_message": None}, "ValueError"),
        ({"exc_type": "E" * 10_000, "exc_module": "m" * 10_000}, "E"),
        ({}, "ForeignError"),
        ("text", "ForeignError"),
        (None, "ForeignError"),
        ([1, 2], "ForeignError"),
    ],
)
def test_only_exceptions_are_ever_made(meta: Any, name: str) -> None:
    error = decode_exception(meta)
    assert isinstance(error, BaseException)
    assert name in type(error).__qualname__


def test_nothing_is_imported_by_decoding() -> None:
    sys.modules.pop("this", None)
    before = set(sys.modules)
    decode_exception({"exc_type": "Error", "exc_module": "this", "exc_message": []})
    decode_exception({"exc_type": "this.Error", "exc_module": "celeriac", "exc_message": []})
    assert set(sys.modules) == before


def test_a_modules_getattr_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("lazy_module")
    asked: list[str] = []
    module.__getattr__ = asked.append  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_module", module)
    monkeypatch.setitem(sys.modules, "no_module", asked.append)  # type: ignore[arg-type]
    decode_exception({"exc_type": "Gone", "exc_module": "lazy_module", "exc_message": []})
    decode_exception({"exc_type": "Gone", "exc_module": "no_module", "exc_message": []})
    assert asked == []


# --- the worst --------------------------------------------------------------------------------------------


def raises(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("hostile")


def exits(*args: Any, **kwargs: Any) -> Any:
    raise SystemExit


def lies(*args: Any, **kwargs: Any) -> Any:
    return 5


def lies_empty(*args: Any, **kwargs: Any) -> Any:
    return None


def endless(*args: Any, **kwargs: Any) -> Any:
    return endless(*args, **kwargs)


METHODS = (
    "__repr__ __str__ __reduce__ __reduce_ex__ __getattribute__ __eq__ __hash__ __bool__ __len__ __iter__"
    " __getattr__ __dir__ __format__ __json__ __getstate__ __setstate__ __class__ args __dict__ __cause__"
    " __traceback__ with_traceback __sizeof__ __init_subclass__"
).split()


def hostile_classes() -> list[type[BaseException]]:
    classes = []
    for method, deed in itertools.product(METHODS, (raises, exits, lies, lies_empty, endless)):
        body = (
            property(deed)
            if method in ("args", "__class__", "__dict__", "__cause__", "__traceback__")
            else deed
        )
        classes.append(type(f"Bad_{deed.__name__}_{method}", (Exception,), {method: body}))
    for name, deed in itertools.product(
        ("__name__", "__module__", "__mro__", "__subclasscheck__", "__instancecheck__", "__dict__",
         "__call__", "__getattribute__", "__repr__", "__eq__", "__hash__"),
        (raises, exits, lies, lies_empty, endless),
    ):  # fmt: skip
        body = property(deed) if name in ("__name__", "__module__", "__mro__", "__dict__") else deed
        meta = type(f"Meta_{deed.__name__}_{name}", (type,), {name: body})
        classes.append(type.__call__(meta, f"Bad_{meta.__qualname__}", (Exception,), {}))
    modules = (5, None, b"x", "", "\ud800", "no\x00module", object(), [], "os")
    classes += [type("BadModule", (Exception,), {"__module__": module}) for module in modules]
    names = ("", "a.b.c", "<locals>", "\x00", "ž" * 5000, "x.<locals>.y")
    classes += [type("BadName", (Exception,), {"__qualname__": qualname}) for qualname in names]
    return classes


class NoRepr:
    __repr__ = __reduce__ = raises


def hostile_arguments() -> list[tuple[Any, ...]]:
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    return [
        (NoRepr(),), (circle,), (deep,), (object(),), (lambda: 0,), (10**5000,),
        (float("nan"),), ("\ud800",), (b"\xff",), ({(1,): 2},), ({NoRepr()},),
        (sys,), (type,), (NotImplemented,), (ValueError(NoRepr()),),
        ("x" * 1_000_000,), tuple(range(1000)), (OfOurOwn,), (iter([]),),
        ({"__type__": "x", "__value__": 1},), (),
    ]  # fmt: skip


def hostile_exceptions() -> list[BaseException]:
    errors: list[BaseException] = [Exception.__new__(kind) for kind in hostile_classes()]
    for error in errors:
        BaseException.__init__(error, "message", 1)
    for arguments in hostile_arguments():
        errors += [Exception(*arguments), KeyboardInterrupt(*arguments)]
    errors += [ExceptionGroup("many", [ValueError(NoRepr()), TakesMore(1, 2)])]
    return errors


HOSTILE = hostile_exceptions()


def test_there_are_two_hundred_of_them() -> None:
    count = len(HOSTILE)
    assert count >= 200


# Failures are told by number: pytest itself does not survive showing these objects.


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_every_hostile_exception_is_encoded_and_decoded(serializer: str) -> None:
    broken = {}
    for number, error in enumerate(HOSTILE):
        try:
            assert encode_result(task_id="i", status="FAILURE", result=error, serializer=serializer)
            meta = encode_exception(error, serializer)
            encode_result(task_id="i", status="FAILURE", result=meta, serializer=serializer)
            assert issubclass(type(decode_exception(meta)), BaseException)
        except BaseException as failure:
            broken[number] = type(failure).__name__
    assert broken == {}


def test_hostile_classes_that_are_found_here_do_not_break_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("hostile_module")
    monkeypatch.setitem(sys.modules, "hostile_module", module)
    broken = {}
    for number, kind in enumerate(hostile_classes()):
        module.__dict__["Bad"] = kind
        try:
            meta = {"exc_type": "Bad", "exc_module": "hostile_module", "exc_message": ["x"]}
            assert issubclass(type(decode_exception(meta)), BaseException)
        except BaseException as failure:
            broken[number] = type(failure).__name__
    assert broken == {}


@pytest.mark.parametrize("deed", [raises, exits, lies, endless])
@pytest.mark.parametrize("method", ["__init__", "__new__"])
def test_a_class_that_cannot_be_constructed_keeps_its_name(
    deed: Any, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("hostile_module")
    module.Bad = type("Bad", (Exception,), {method: deed})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hostile_module", module)
    error = decode_exception({"exc_type": "Bad", "exc_module": "hostile_module", "exc_message": ["why"]})
    assert type(error).__name__ == "Bad"
    assert error.args == ("why",)
