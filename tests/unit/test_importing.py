"""What is told of modules that cannot be imported."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from celeriac.importing import told


@pytest.mark.parametrize(
    ("asking", "each_other"),
    [
        ("from half_shop import app", True),
        ("import half_shop; half_shop.app", True),
        ("from half_shop import app as theirs; theirs.task", True),
        ("import half_shop; half_shop.begun.app", False),
        ("from celeriac import nothing_of_that_name", False),
        ("1 / 0", False),
    ],
)
def test_modules_that_import_each_other_are_told_so_on_every_python(
    asking: str, each_other: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "half_shop.py").write_text("begun = object()\nimport half_tasks\napp = 1\n")
    (tmp_path / "half_tasks.py").write_text(asking)
    with pytest.raises((ImportError, AttributeError, ZeroDivisionError)) as caught:
        import_module("half_shop")
    sys.modules.pop("half_tasks", None)
    assert ("two modules import each other" in told("half_shop", caught.value)) is each_other
