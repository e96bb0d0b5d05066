"""The stores on which the tests of workers stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stand import DRIVERS, Stand


@pytest.fixture(params=DRIVERS)
def every_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store, once of each driver that several processes share."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_db"))
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    """On a file; a test of what differs between stores has a stand of its own."""
    with Stand(f"sqlite:///{tmp_path}/store.db", tmp_path) as stand:
        yield stand
