"""Which code lies in installed packages: it is named even where the rest of a task travels by value."""

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from taskyard._data.identity.installed import OWN, installed_roots
from taskyard_contract.code_references import function_at


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
