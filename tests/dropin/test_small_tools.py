"""The small tools that only Celery's users know behave as they do there."""

from __future__ import annotations

import pytest

from celeriac.compat.local import PromiseProxy, Proxy, maybe_evaluate, try_import
from celeriac.compat.nodenames import (
    anon_nodename,
    default_nodename,
    gethostname,
    host_format,
    node_format,
    nodename,
    nodesplit,
)
from celeriac.compat.utils import LOG_LEVELS, chunks, noop, uuid


def test_node_names_are_split_and_joined() -> None:
    assert nodename("a", "b") == "a@b"
    assert nodesplit("a@b@c") == ("a", "b@c")
    assert nodesplit("b") == (None, "b")
    assert anon_nodename("h", "p").startswith("p")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("w1", "celery@w1"),
        ("w1@", "w1@HOST"),
        ("@x", "celery@x"),
        ("", "celery@HOST"),
        (None, "celery@HOST"),
    ],
)
def test_what_a_node_name_lacks_is_filled_in(given: str | None, name: str) -> None:
    assert default_nodename(given) == name.replace("HOST", gethostname())


def test_patterns_are_filled_in() -> None:
    assert host_format("%n|%h|%d|%i|%I|%%", "a.b.c") == "a|a.b.c|b.c|0||%"
    assert host_format("%n", "a.b.c", "N") == "N"
    assert node_format("%n|%h|%p", "w@a.b") == "w|a.b|w@a.b"
    with pytest.raises(ValueError, match="%q in '%q' stands for nothing"):
        host_format("%q")


def test_small_functions_do_as_they_say() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert noop(1, two=2) is None
    assert len(uuid()) == 36
    assert uuid() != uuid()
    assert (LOG_LEVELS["INFO"], LOG_LEVELS[20], LOG_LEVELS[50]) == (20, "INFO", "CRITICAL")


def test_a_proxy_behaves_as_what_it_stands_for() -> None:
    box: list[int] = [1, 2]
    proxy = Proxy(lambda: box)
    assert isinstance(proxy, list)
    assert proxy == [1, 2]
    assert len(proxy) == 2
    proxy.append(3)
    assert box == [1, 2, 3]
    assert proxy[-1] == 3
    assert list(proxy) == box
    assert repr(proxy) == "[1, 2, 3]"
    assert proxy * 1 == [1, 2, 3]
    assert [*proxy, 4] == [1, 2, 3, 4]
    assert not Proxy(lambda: None)


def test_a_proxy_asks_anew_and_a_promise_asks_once() -> None:
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return len(asked)

    proxy, promise = Proxy(ask), PromiseProxy(ask)
    assert (int(proxy), int(proxy)) == (1, 2)
    assert not promise.__evaluated__()
    assert (int(promise), int(promise), maybe_evaluate(promise)) == (3, 3, 3)
    assert promise.__evaluated__()
    assert maybe_evaluate(7) == 7


def test_a_module_that_is_not_there_is_the_default() -> None:
    assert try_import("json").loads("1") == 1
    assert try_import("no_module_of_this_name", 5) == 5
