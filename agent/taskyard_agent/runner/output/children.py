"""Notices when a run is about to start another process, whatever it uses for that.

Invariant: what is put in the place of functions of the standard library calls them, with what it was given,
and adds nothing that a caller could see.
"""

import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_STARTERS: Final = (
    ("_posixsubprocess", "fork_exec"),
    ("subprocess", "_fork_exec"),
    ("os", "posix_spawn"),
    ("os", "posix_spawnp"),
    ("os", "system"),
)
"""What starts processes without a fork that Python hears of. The second is the first one, as imported."""


def notice(begins: Callable[[], None]) -> None:
    """Have `begins` called before this process starts another one."""
    os.register_at_fork(before=begins)
    for module_name, name in _STARTERS:
        module = sys.modules.get(module_name) or _imported(module_name)
        function = getattr(module, name, None)
        if function is not None and not hasattr(function, "__wrapped__"):
            setattr(module, name, _noticed(function, begins))


def _imported(name: str) -> ModuleType | None:
    """Return a module that costs nothing; one that is imported later has what was put into the others."""
    return import_module(name) if name == "_posixsubprocess" else None


def _noticed(function: Callable[..., Any], begins: Callable[[], None]) -> Callable[..., Any]:
    @wraps(function)
    def start(*args: Any, **kwargs: Any) -> Any:
        begins()
        return function(*args, **kwargs)

    return start
