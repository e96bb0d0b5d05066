"""The repr of arguments for logs and monitors."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.wire.saferepr import LIMIT, safe_repr, type_name

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20)
)
flat = (
    st.lists(scalars, max_size=4)
    | st.tuples(scalars)
    | st.dictionaries(st.text(max_size=5), scalars, max_size=4)
)


@given(st.tuples(scalars, flat))
def test_small_plain_values_are_shown_as_python_shows_them(value: Any) -> None:
    assert safe_repr(value) == repr(value)


class One(NamedTuple):
    a: int


@pytest.mark.parametrize("value", [(), [], {}, set(), frozenset(), {1}, frozenset({1}), (1,), One(1)])
def test_each_container_is_shown_as_python_shows_it(value: Any) -> None:
    assert safe_repr(value) == repr(value)


def test_what_lies_deeper_than_three_levels_is_left_out() -> None:
    assert safe_repr(([1, [2, {"a": 3}]],)) == "([1, [2, {...}]],)"


@pytest.mark.parametrize(
    "value", ["x" * 10_000_000, b"x" * 10_000_000, list(range(100_000)), {"a": "x" * 5000}]
)
def test_what_is_long_is_cut(value: Any) -> None:
    shown = safe_repr(value)
    assert len(shown) == LIMIT
    assert shown.endswith("...")


def test_what_contains_itself_is_shown() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert safe_repr(circle) == "[[[[...]]]]"


def test_a_huge_number_is_told_by_its_size() -> None:
    assert safe_repr(2**100_000) == "<int of 100001 bits>"


class Raises:
    def __repr__(self) -> str:
        raise SystemExit


class NoText:
    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]


class Endless:
    def __repr__(self) -> str:
        return repr(self)


class OddText(str):
    def __getitem__(self, key: Any) -> str:
        raise RuntimeError

    def __len__(self) -> int:
        return -1  # noqa: PLE0303


class Odd:
    def __repr__(self) -> str:
        return OddText("odd" * 1000)


class Meta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise RuntimeError


class WithMeta(metaclass=Meta):
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("hostile", [Raises(), NoText(), Endless(), WithMeta()], ids=type_name)
def test_an_object_whose_repr_fails_is_told_by_its_class(hostile: Any) -> None:
    assert safe_repr([1, hostile]) == f"[1, <{type_name(hostile)}: its repr() raises>]"


def test_a_repr_that_is_a_strange_text_is_cut_all_the_same() -> None:
    assert len(safe_repr(Odd())) == LIMIT


def test_a_dict_that_changes_while_it_is_shown_is_told_by_its_class() -> None:
    class Grows:
        def __repr__(self) -> str:
            target[len(target)] = 1
            return "grows"

    target: dict[Any, Any] = {0: Grows(), 1: 2}
    assert safe_repr(target) == "<dict>"
