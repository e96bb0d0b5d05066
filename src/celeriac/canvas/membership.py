"""Members of a group that say nothing but their arguments: sent at the price of plain calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.canvas.signature import Call, Signature
from celeriac.message import Message
from celeriac.request import current
from celeriac.sending import plain_way
from celeriac.wire.form import MemberForm

#: What may be said of all members without making another envelope necessary.
_SAID_OF_ALL = frozenset(("chord", "group_id", "root_id", "parent_id", "task_id"))


class Membership:
    """What the members of one group have in common, while it is sent."""

    def __init__(self, app: Any, group_id: str, options: Mapping[str, Any]) -> None:
        self._app = app
        self._group_id = group_id
        self._options = options
        self._is_plain = app.passage is None and _SAID_OF_ALL.issuperset(options)
        #: By the name of the task: what its calls are filled into; None where each may differ.
        self._ways: dict[str, _Way | None] = {}

    def call(
        self, task: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], id: str, index: int
    ) -> Call | None:
        """The call of a single member with its message; None if it takes the long way."""
        own = task["options"]
        if not self._is_plain or not (not own or (len(own) == 1 and "task_id" in own)):
            return None
        name = task["task"]
        known = task._registered()
        try:
            way = self._ways[name]
        except KeyError:
            way = self._ways[name] = self._way(name, known)
        if way is None or way.known is not known:
            return None
        if task["immutable"]:
            args, kwargs = task["args"], task["kwargs"]
        else:
            args = (*args, *task["args"]) if args else task["args"]
            kwargs = {**task["kwargs"], **kwargs} if kwargs else task["kwargs"]
        try:
            payload = way.form.fill(args, kwargs, id, index, way.root_id or id, way.parent_id)
        except Exception:
            return None  # there it is said what cannot travel
        return Call(name, args, kwargs, {}, known, Message(id, way.queue, payload, way.priority))

    def _way(self, name: str, known: Any) -> _Way | None:
        plain = plain_way(self._app, name, known)
        parent = current()
        if plain is None or (parent is not None and plain.inherits_priority):
            return None
        try:
            form = plain.form.of_group(self._group_id, self._options.get("chord"))
        except Exception:
            return None
        said = self._options
        root_id = None if parent is None else parent.root_id or parent.id
        parent_id = None if parent is None else parent.id
        return _Way(
            known,
            form,
            plain.queue,
            plain.priority,
            said.get("root_id", root_id),
            said.get("parent_id", parent_id),
        )


class _Way:
    """Of all plain calls of one task within one group."""

    __slots__ = ("form", "known", "parent_id", "priority", "queue", "root_id")

    def __init__(
        self,
        known: Any,
        form: MemberForm,
        queue: str,
        priority: int,
        root_id: str | None,
        parent_id: str | None,
    ) -> None:
        self.known = known
        self.form = form
        self.queue = queue
        self.priority = priority
        self.root_id = root_id
        self.parent_id = parent_id
