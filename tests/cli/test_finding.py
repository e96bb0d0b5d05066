"""-A finds the app that is meant, and says truly what went wrong if it does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac import Celery
from celeriac.worker.finding import AppNotFound, find_app

APP = "from celeriac import Celery\n{name} = Celery('{main}')\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and file.startswith(str(tmp_path)):
            del sys.modules[name]


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.mark.parametrize("name", ["app", "celery", "whatever"])
def test_a_modules_only_instance_is_found_by_any_name(name: str) -> None:
    write("shop1.py", APP.format(name=name, main="it"))
    assert find_app("shop1").main == "it"


def test_app_goes_before_celery_and_celery_before_others() -> None:
    write("three.py", "".join(APP.format(name=name, main=name) for name in ("other", "celery", "app")))
    write("two.py", "".join(APP.format(name=name, main=name) for name in ("other", "celery")))
    assert find_app("three").main == "app"
    assert find_app("two").main == "celery"


def test_an_app_of_another_framework_is_passed_over() -> None:
    write("web.py", "app = object()\n" + APP.format(name="celery", main="it"))
    assert find_app("web").main == "it"


@pytest.mark.parametrize("spec", ["named:second", "named.second"])
def test_an_attribute_may_be_named(spec: str) -> None:
    write("named.py", APP.format(name="app", main="first") + APP.format(name="second", main="second"))
    assert find_app(spec).main == "second"


def test_an_attribute_of_an_attribute_may_be_named() -> None:
    write("deep.py", APP.format(name="app", main="it") + "class Holder:\n    held = app\n")
    assert find_app("deep:Holder.held").main == "it"


@pytest.mark.parametrize("spec", ["proj", "proj.celery", "proj:celery", "proj.celery:app"])
def test_a_package_keeps_it_in_its_module_celery(spec: str) -> None:
    write("proj/__init__.py", "")
    write("proj/celery.py", APP.format(name="app", main="it"))
    assert find_app(spec).main == "it"


def test_a_package_may_hold_it_itself() -> None:
    write("pack/__init__.py", APP.format(name="app", main="it"))
    assert find_app("pack").main == "it"


def test_one_instance_under_two_names_is_one() -> None:
    write("twice.py", APP.format(name="one", main="it") + "two = one\n")
    assert isinstance(find_app("twice"), Celery)


def test_several_instances_are_told_with_the_cure() -> None:
    write("several.py", APP.format(name="one", main="1") + APP.format(name="two", main="2"))
    with pytest.raises(AppNotFound, match=r"-A several:one or -A several:two"):
        find_app("several")


def test_a_missing_module_is_told_with_the_folder(folder: Path) -> None:
    with pytest.raises(AppNotFound, match=rf"no module 'nowhere' in {folder}"):
        find_app("nowhere")


@pytest.mark.parametrize("spec", ["nowhere.at.all", "nowhere:app", "json.nowhere.app"])
def test_a_missing_parent_is_told_too(spec: str) -> None:
    with pytest.raises(AppNotFound, match="no module"):
        find_app(spec)


def test_a_file_name_is_answered_with_the_modules_name() -> None:
    with pytest.raises(AppNotFound, match=r"-A app\.main$"):
        find_app("./app/main.py")


@pytest.mark.parametrize("spec", ["", ".", ".main", ":app", "..", "a..b"])
def test_a_text_that_names_nothing_is_refused(spec: str) -> None:
    with pytest.raises(AppNotFound):
        find_app(spec)


def test_a_missing_attribute_is_told_with_what_is_there() -> None:
    write("have.py", APP.format(name="mine", main="it"))
    with pytest.raises(AppNotFound, match=r"no 'app'. It holds the app 'mine': -A have:mine"):
        find_app("have:app")


def test_an_attribute_that_is_no_app_is_told_with_its_type() -> None:
    write("wrong.py", "app = 3\n")
    with pytest.raises(
        AppNotFound, match="'app' of the module 'wrong' is no Celery app but of the type 'int'"
    ):
        find_app("wrong:app")


def test_a_module_without_an_app_is_told() -> None:
    write("none.py", "x = 1\n")
    with pytest.raises(AppNotFound, match=r"none\.py\) was imported, but it holds no Celery app"):
        find_app("none")


def test_an_import_error_inside_is_shown_with_the_users_line(folder: Path) -> None:
    write("broken.py", "import os\nimport thing_that_is_not_there\n")
    with pytest.raises(AppNotFound) as caught:
        find_app("broken")
    said = str(caught.value)
    assert f'File "{folder}/broken.py", line 2' in said
    assert "ModuleNotFoundError: No module named 'thing_that_is_not_there'" in said
    assert "importlib" not in said
    assert "celeriac" not in said


def test_an_import_error_in_a_submodule_named_like_ours_is_not_swallowed() -> None:
    write("pack2/__init__.py", "")
    write("pack2/celery.py", "import pack2.lost\n")
    with pytest.raises(AppNotFound, match=r"No module named 'pack2\.lost'"):
        find_app("pack2")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x = (\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
    ],
)
def test_whatever_fails_at_import_is_shown(text: str, error: str) -> None:
    write("failing.py", text)
    with pytest.raises(AppNotFound, match=error):
        find_app("failing")
