"""The code of tasks on its way to workers.

Invariant: a worker needs nothing of this process's directory. Code that lies in installed packages travels
as a reference, everything else (a script, its own modules, a notebook) travels by value.
"""

import hashlib
import os
import sys
import sysconfig
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from taskyard._network.session.session import Session
from taskyard._network.session.templates import Template
from taskyard.exceptions import NotPicklable, PayloadTooLarge
from taskyard_api.v1 import template_pb2
from taskyard_contract import pickling
from taskyard_contract.states import RunKind

if TYPE_CHECKING:
    from taskyard.tasks import Task

INLINE_CODE_BYTES: Final = 1024 * 1024
_OWN: Final = ("taskyard", "taskyard_api", "taskyard_contract", "taskyard_agent", "taskyard_controlplane")


def task_template(
    task: "Task[..., Any]", tags: frozenset[str], log_prints: bool, session: Session
) -> Template:
    """Make the template of a task's runs, with the code that workers load."""
    message = plain_template(task, tags)
    code = _pickled_body(task, log_prints)
    if len(code) > session.max_payload_bytes:
        raise PayloadTooLarge(
            f"the code of '{task.name}' takes {len(code):,} bytes, the server takes at most "
            f"{session.max_payload_bytes:,}; it probably refers to a large global variable: pass that as an "
            "argument, or load it inside the task",
            limit=session.max_payload_bytes,
        )
    message.code.blob_digest = hashlib.sha256(code).digest()
    if len(code) > INLINE_CODE_BYTES:
        session.client().upload(code)
        return Template(message)
    return Template(message, code)


def plain_template(task: "Task[..., Any]", tags: frozenset[str]) -> template_pb2.RunTemplate:
    """Write what the runs of a task have in common, without its code."""
    settings = task.settings
    return template_pb2.RunTemplate(
        kind=RunKind.TASK,  # type: ignore[arg-type]  # the enums are numerically equal
        name=settings.name,
        task_key=task.task_key,
        version=settings.version or "",
        queue=settings.queue,
        priority=settings.priority,
        tags=sorted(settings.tags | tags),
        encoding=pickling.ENCODING,
        retry=template_pb2.RetryPolicy(
            max_retries=settings.retries,
            delays_ms=settings.retry_delays_ms,
            jitter_factor=settings.retry_jitter_factor,
        ),
        timeout_ms=settings.timeout_ms,
        cache_expiration_ms=settings.cache_expiration_ms,
        refresh_cache=bool(settings.refresh_cache),
    )


def _pickled_body(task: "Task[..., Any]", log_prints: bool) -> bytes:
    from taskyard._engine.execution.task_body import TaskBody

    _register_user_modules(task.fn)
    try:
        return pickling.dumps_by_value(TaskBody(task, log_prints))
    except Exception as error:  # pickling runs foreign code, which may raise anything
        raise NotPicklable(
            f"the code of '{task.name}' cannot be sent to a worker ({error}); it probably refers to a global "
            "variable or a closure that cannot be pickled: make that inside the task, or use "
            "ThreadPoolTaskRunner, which keeps code in this process"
        ) from error


def reference_of(fn: Callable[..., Any]) -> str | None:
    """Return ``module:qualname`` of a function that every worker can import, otherwise None."""
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    qualname: str = getattr(fn, "__qualname__", "<none>")
    if module is None or "<" in qualname or not _is_installed(module):
        return None
    try:
        found = function_at(f"{module.__name__}:{qualname}")
    except (ImportError, AttributeError):
        return None
    return f"{module.__name__}:{qualname}" if found is fn else None


def function_at(reference: str) -> Callable[..., Any]:
    """Return the function that a reference names, taken out of its task if it is decorated.

    Raises:
        ImportError: The module is not installed here.
        AttributeError: The module has no such function.
    """
    import importlib

    module_name, _, qualname = reference.partition(":")
    value: Any = importlib.import_module(module_name)
    for part in qualname.split("."):
        # Out of the class itself, because a descriptor would answer with something bound.
        value = vars(value)[part] if isinstance(value, type) and part in vars(value) else getattr(value, part)
    while hasattr(value, "fn"):
        value = value.fn
    function: Callable[..., Any] = getattr(value, "__func__", value)
    return function


def _register_user_modules(fn: Callable[..., Any]) -> None:
    """Make the modules of the user's own program travel by value, with the task's own among them."""
    own_module = sys.modules.get(getattr(fn, "__module__", None) or "")
    roots = {_directory(module) for module in (own_module, sys.modules.get("__main__")) if module is not None}
    roots.discard("")
    for name, module in list(sys.modules.items()):
        if name == "__main__" or name.partition(".")[0] in _OWN:
            continue
        if _lies_under(module, roots) and not _is_installed(module):
            pickling.register_by_value(name)


def _lies_under(module: ModuleType, roots: set[str]) -> bool:
    directory = _directory(module)
    return bool(directory) and any(directory == root or directory.startswith(root + os.sep) for root in roots)


def _directory(module: ModuleType) -> str:
    path = getattr(module, "__file__", None)
    return os.path.dirname(os.path.abspath(path)) if isinstance(path, str) else ""


def _is_installed(module: ModuleType) -> bool:
    """Say whether workers with the same environment can import a module."""
    if module.__name__ == "__main__":
        return False
    if module.__name__.partition(".")[0] in _OWN:
        return True
    path = getattr(module, "__file__", None)
    if not isinstance(path, str):
        return module.__name__ in sys.builtin_module_names
    return os.path.abspath(path).startswith(_installed_roots())


@lru_cache(maxsize=1)
def _installed_roots() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({os.path.abspath(path) + os.sep for name in names if (path := sysconfig.get_path(name))})
