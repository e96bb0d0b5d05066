"""docs/internals.md is kept true: every file that it names is there, and it names every folder."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_file_that_the_page_names_exists() -> None:
    text = (ROOT / "docs/internals.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests/)?[\w/]+\.(?:py|lua))`", text))
    assert len(named) > 25
    missing = {
        name for name in named if not any((base / name).exists() for base in (ROOT, ROOT / "src/celeriac"))
    }
    assert not missing


def test_every_folder_of_the_source_is_named() -> None:
    text = (ROOT / "docs/internals.md").read_text(encoding="utf-8")
    source = ROOT / "src/celeriac"
    # A folder of files, which is no package where they are no Python.
    folders = {file.parent for file in source.rglob("*") if file.suffix in (".py", ".lua")} - {source}
    names = {str(folder.relative_to(source)) for folder in folders} - {"drivers"}
    assert len(names) > 10
    assert not {name for name in names if f"`{name}/`" not in text}
