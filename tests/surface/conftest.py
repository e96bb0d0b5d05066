"""Fixtures of the tests that are named by the ids of Celery's public surface (`pytest -k TSK_13`)."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from celeriac import Celery, current


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app whose messages and results lie in this process, in a store of its own."""
    url = f"memory://{uuid4().hex}"
    with Celery("proj", broker=url, backend=url) as app:
        yield app


@pytest.fixture(autouse=True)
def _no_shared_task_is_left() -> Iterator[None]:
    """What one test shares with all apps is none of the next one's."""
    before = list(current.shared)
    yield
    current.shared[:] = before
