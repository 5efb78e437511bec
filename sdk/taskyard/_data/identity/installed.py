"""Which modules are the program's own, and which belong to installed packages.

An installed package changes by an upgrade, and its functions are known by their names. What is the program's
own changes with every edit, so it is known by its content.
"""

import os
import sys
import sysconfig
from functools import lru_cache
from typing import Final

_OWN: Final = ("taskyard", "taskyard_api", "taskyard_contract", "taskyard_agent", "taskyard_controlplane")


def is_installed(module_name: str) -> bool:
    """Say whether a module belongs to an installed package, to Python itself, or to Taskyard.

    One that nobody has imported under its name is the program's: code that travelled by value is of such.
    """
    if module_name == "__main__":
        return False
    if module_name.partition(".")[0] in _OWN:
        return True
    module = sys.modules.get(module_name)
    if module is None:
        return False
    path = getattr(module, "__file__", None)
    if isinstance(path, str):
        return _lies_in_package(os.path.dirname(os.path.abspath(path)))
    spec = getattr(module, "__spec__", None)
    return module_name in sys.builtin_module_names or getattr(spec, "origin", None) in ("built-in", "frozen")


@lru_cache(maxsize=4096)
def _lies_in_package(directory: str) -> bool:
    return (directory + os.sep).startswith(_roots(tuple(sys.path)))


@lru_cache(maxsize=16)
def _roots(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return where packages are installed: where Python says so, and where installers have left records."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    known = {found for name in names if (found := sysconfig.get_path(name))}
    known.update(entry for entry in path if _holds_records(entry))
    return tuple(os.path.abspath(one).rstrip(os.sep) + os.sep for one in sorted(known))


@lru_cache(maxsize=256)
def _holds_records(directory: str) -> bool:
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(directory or os.curdir))
    except OSError:
        return False
