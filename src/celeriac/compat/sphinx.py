"""`celery.contrib.sphinx`: tasks in documentation that Sphinx makes, as functions that are marked `(task)`.

    extensions = ["sphinx.ext.autodoc", "celery.contrib.sphinx"]        # in conf.py

`automodule` shows them by itself, `.. autotask:: proj.tasks.add` shows one, and :py:task:`proj.tasks.add`
refers to it. `celery_task_prefix` is another mark.
"""

from __future__ import annotations

import inspect
from typing import Any

from celeriac.task import Task

try:
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.domains.python import PyFunction, PyXRefRole
    from sphinx.ext.autodoc import FunctionDocumenter
except ModuleNotFoundError as missing:
    raise ImportError("celery.contrib.sphinx is an extension of Sphinx: pip install sphinx") from missing

__all__ = ["TaskDirective", "TaskDocumenter", "setup"]

#: The setting of Sphinx 9 and later under which its documenters are classes.
_BY_CLASSES = "autodoc_use_legacy_class_based"


class TaskDocumenter(FunctionDocumenter):
    """Reads a task: its docstring, and the arguments that a call gives it."""

    objtype = "task"
    directivetype = "task"
    #: Asked before those of functions and data, to which a task looks like one of theirs.
    priority = FunctionDocumenter.priority + 10

    @classmethod
    def can_document_member(cls, member: Any, membername: str, isattr: bool, parent: Any) -> bool:
        return _is_declared(member)

    def format_args(self, **_: Any) -> str:
        # A bound task's function has lost its `self` by now.
        return str(inspect.signature(self.object.run))

    def document_members(self, all_members: bool = False) -> None:
        """It has none that a caller would ask for."""

    def check_module(self) -> bool:
        """Whether it was declared in the module that is shown, not only imported there."""
        return bool(self.options.imported_members) or self.get_attr(self.object, "__module__") == self.modname


class TaskDirective(PyFunction):
    """Writes it as a function, with the mark."""

    def get_signature_prefix(self, sig: str) -> list[nodes.Node]:
        return [nodes.Text(f"{self.config.celery_task_prefix} ")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    if _BY_CLASSES in app.config:
        app.config[_BY_CLASSES] = True
    app.add_config_value("celery_task_prefix", "(task)", "env")
    app.add_autodocumenter(TaskDocumenter)
    app.add_directive_to_domain("py", "task", TaskDirective)
    app.add_role_to_domain("py", "task", PyXRefRole())
    app.connect("autodoc-skip-member", _keep_tasks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _keep_tasks(app: Sphinx, kind: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """A task with a docstring is shown; that it is an object and no function is no reason to leave it out."""
    return False if _is_declared(member) and inspect.getdoc(member.run) else None


def _is_declared(member: Any) -> bool:
    return isinstance(member, Task) and hasattr(member, "__wrapped__")
