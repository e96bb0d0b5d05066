"""docs/internals.md is kept true: every file that it names is there."""

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
