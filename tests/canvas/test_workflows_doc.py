"""docs/workflows.md is kept true: its blocks are one program, and they hold while a worker runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from canvas.test_random import until
from celeriac.testing.worker import start_worker

PAGE = Path(__file__).parents[2] / "docs" / "workflows.md"


def test_the_examples_of_the_page_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"memory://{uuid4().hex}"
    monkeypatch.setenv("CELERY_BROKER_URL", store)
    monkeypatch.setenv("CELERY_RESULT_BACKEND", store)
    text = PAGE.read_text(encoding="utf-8")
    begin, *blocks = [
        # Errors name lines of the page.
        compile("\n" * text.count("\n", 0, block.start(1)) + block[1], str(PAGE), "exec")
        for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]
    assert len(blocks) + 1 == text.count("```python") > 10
    program: Any = ModuleType("main")
    monkeypatch.setitem(sys.modules, "main", program)
    exec(begin, program.__dict__)
    with program.app, start_worker(program.app, concurrency=4):
        for block in blocks:
            exec(block, program.__dict__)
        until(lambda: len(program.seen) == 2)
    assert sorted(program.seen, key=str) == [4, "main.fail: no luck"]
