"""A result backend of a user's own, as one writes it for Celery."""

from __future__ import annotations

from typing import Any

from celeriac.compat.backends.custom import KeyValueStoreBackend


class Shelf(KeyValueStoreBackend):
    """Keeps all in this process; while it is `away` nobody reaches it."""

    kept: dict[bytes, Any] = {}
    away = False
    subpolling_interval = 0.01

    def get(self, key: bytes) -> Any:
        if Shelf.away:
            raise ConnectionError("the shelf is away")
        return self.kept.get(key)

    def set(self, key: bytes, value: Any) -> None:
        self.kept[key] = value

    def delete(self, key: bytes) -> None:
        self.kept.pop(key, None)
