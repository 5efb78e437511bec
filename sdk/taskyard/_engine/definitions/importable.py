"""Which code lies in installed packages: it is named even where the rest of a task travels by value."""

import os
import sys
import sysconfig
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from taskyard_contract.code_references import function_at

OWN: Final = ("taskyard", "taskyard_api", "taskyard_contract", "taskyard_agent", "taskyard_controlplane")
"""The packages of Taskyard itself, wherever they lie."""


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


def _is_installed(module: ModuleType) -> bool:
    """Say whether workers with the same environment can import a module."""
    if module.__name__ == "__main__":
        return False
    if module.__name__.partition(".")[0] in OWN:
        return True
    path = getattr(module, "__file__", None)
    if not isinstance(path, str):
        return module.__name__ in sys.builtin_module_names
    return os.path.abspath(path).startswith(installed_roots())


@lru_cache(maxsize=1)
def installed_roots() -> tuple[str, ...]:
    """Return the directories of Python and of what is installed for it, each with a separator at its end."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({os.path.abspath(path) + os.sep for name in names if (path := sysconfig.get_path(name))})
