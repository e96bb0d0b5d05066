"""What somebody's own backend is a subclass of: it says how a result is stored, and the rest is here.

    class Shelf(KeyValueStoreBackend):
        def get(self, key): ...
        def set(self, key, value): ...
        def delete(self, key): ...

`result_backend` names it as "proj.shelf.Shelf", or by an entry point of the group celery.result_backends.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celeriac import states
from celeriac.app import Celery
from celeriac.compat import kombu_serialization
from celeriac.compat.backends.base import Backend, Meta
from celeriac.compat.state import get_current_task
from celeriac.result import result_from_tuple

__all__ = ["BaseBackend", "BaseDictBackend", "KeyValueStoreBackend", "get_current_task"]


class BaseBackend(Backend):
    """Asks its own methods that begin with an underscore, where the others ask the store of the app."""

    #: It is asked again and again; nobody tells.
    is_async = supports_native_join = supports_autoexpire = False
    #: Seconds between two questions.
    subpolling_interval = 0.5

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not say how a result is stored")

    def _get_task_meta_for(self, task_id: str) -> Meta:
        raise NotImplementedError(f"{type(self).__name__} does not say how a result is read")

    def _forget(self, task_id: str) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say how a result is forgotten")

    def _save_group(self, group_id: str, result: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not say how a group is stored")

    def _restore_group(self, group_id: str) -> Meta | None:
        raise NotImplementedError(f"{type(self).__name__} does not say how a group is read")

    def _delete_group(self, group_id: str) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say how a group is forgotten")

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        stored = self.encode_result(result, state)
        self._store_result(task_id, stored, state, traceback, request=request)
        return stored

    def get_task_meta(self, task_id: str, cache: bool = True) -> Meta:
        return self._get_task_meta_for(task_id)

    def task_result_exists(self, task_id: str) -> bool:
        return bool(self.get_state(task_id) != states.PENDING)

    def forget(self, task_id: str) -> None:
        self._forget(task_id)

    def save_group(self, group_id: str, result: Any) -> Any:
        return self._save_group(group_id, result)

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        meta = self._restore_group(group_id)
        return meta["result"] if meta else None

    def delete_group(self, group_id: str) -> None:
        self._delete_group(group_id)

    def _encode(self, data: Any) -> tuple[str, str, Any]:
        return kombu_serialization.dumps(data, self.serializer)


BaseDictBackend = BaseBackend


class KeyValueStoreBackend(BaseBackend):
    """Of a store that keeps values under keys: `get`, `set` and `delete` are all that it has to say."""

    task_keyprefix: Any = "celery-task-meta-"
    group_keyprefix: Any = "celery-taskset-meta-"
    implements_incr = False

    def __init__(self, app: Celery, *args: Any, **kwargs: Any) -> None:
        super().__init__(app, *args, **kwargs)

    def get(self, key: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement get(key)")

    def set(self, key: Any, value: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement set(key, value)")

    def delete(self, key: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement delete(key)")

    def get_key_for_task(self, task_id: str, key: str = "") -> bytes:
        return _bytes(self.task_keyprefix) + _bytes(f"{task_id}{key}")

    def get_key_for_group(self, group_id: str, key: str = "") -> bytes:
        return _bytes(self.group_keyprefix) + _bytes(f"{group_id}{key}")

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        over = state in states.READY_STATES
        meta = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": self.current_task_children(request) or [],
            "date_done": datetime.now(UTC).isoformat() if over else None,
            "task_id": task_id,
        }
        self.set(self.get_key_for_task(task_id), self.encode(meta))
        return result

    def _get_task_meta_for(self, task_id: str) -> Meta:
        stored = self.get(self.get_key_for_task(task_id))
        if not stored:
            return {"status": states.PENDING, "result": None}
        return self.meta_from_decoded(self.decode(stored))

    def _forget(self, task_id: str) -> None:
        self.delete(self.get_key_for_task(task_id))

    def _save_group(self, group_id: str, result: Any) -> Any:
        self.set(self.get_key_for_group(group_id), self.encode({"result": result.as_tuple()}))
        return result

    def _restore_group(self, group_id: str) -> Meta | None:
        stored = self.get(self.get_key_for_group(group_id))
        return {"result": result_from_tuple(self.decode(stored)["result"], self.app)} if stored else None

    def _delete_group(self, group_id: str) -> None:
        self.delete(self.get_key_for_group(group_id))


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
