"""Stamps: headers that are put on every task of a workflow, by one who visits them all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from celeriac.canvas.group import group


class StampingVisitor(ABC):
    """Says what each signature is stamped with: `workflow.stamp(visitor=Mine())`.

    class Mine(StampingVisitor):
        def on_signature(self, sig, **headers):
            return {"monitoring_id": uuid()}

    What a method returns is put on the signature, and for the methods of a start on all inside of it. With
    `stamped_headers` in it only the names in that list are stamps. `headers` are the stamps from outside.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Stamps of one task."""

    def on_group_start(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Stamps of all tasks of a group."""
        return {}

    def on_group_end(self, sig: Any, **headers: Any) -> None:  # noqa: B027 - may be left as it is
        """All of the group are stamped."""

    def on_chain_start(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Stamps of all steps of a chain."""
        return {}

    def on_chain_end(self, sig: Any, **headers: Any) -> None:  # noqa: B027 - may be left as it is
        """All of the chain are stamped."""

    def on_chord_header_start(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Stamps of all tasks of a chord's header; those of a group, unless it says otherwise."""
        header = sig.tasks if isinstance(sig.tasks, group) else group(sig.tasks, app=sig._app)
        return self.on_group_start(header, **headers)

    def on_chord_header_end(self, sig: Any, **headers: Any) -> None:  # noqa: B027 - may be left as it is
        """All of the header are stamped."""

    def on_chord_body(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Stamps of a chord's body."""
        return {}

    def on_callback(self, callback: Any, **headers: Any) -> dict[str, Any]:
        """Stamps of what is linked to a task."""
        return {}

    def on_errback(self, errback: Any, **headers: Any) -> dict[str, Any]:
        """Stamps of what is called when a task fails."""
        return {}
