"""The stores on which the tests of workflows and streams run."""

from __future__ import annotations

from uuid import uuid4

import pytest


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def store_of_its_own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an empty store for the tests of one file, in which a worker may live on."""
    if request.param == "redis":
        return str(request.getfixturevalue("module_redis").url)
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('store')}/store.db"
    return f"memory://{uuid4().hex}"
