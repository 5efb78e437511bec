"""Which code other processes can import, and which has to travel by value.

Invariant: a worker needs nothing of this process's directory. Code that lies in installed packages travels
as a reference, everything else (a script, its own modules, a notebook) travels by value.
"""

import os
import sys
import sysconfig
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from taskyard_contract import pickling
from taskyard_contract.code_references import function_at

_OWN: Final = ("taskyard", "taskyard_api", "taskyard_contract", "taskyard_agent", "taskyard_controlplane")


def reference_of(fn: Callable[..., Any]) -> str | None:
    """Return ``module:qualname`` of a function that every worker can import, otherwise None."""
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    qualname: str = getattr(fn, "__qualname__", "<none>")
    if module is None or "<" in qualname or not _is_installed(module):
        return None
    try:
        found = function_at(f"{module.__name__}:{qualname}")
    except (ImportError, AttributeError, TypeError, ValueError):
        return None
    return f"{module.__name__}:{qualname}" if found is fn else None


def register_user_modules(fn: Callable[..., Any]) -> None:
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
