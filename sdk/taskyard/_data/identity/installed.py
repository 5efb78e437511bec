"""Which modules are the program's own, and which belong to installed packages.

An installed package changes by an upgrade, and its functions are known by their names. What is the program's
own changes with every edit, so it is known by its content.
"""

import os
import sys
import sysconfig
from functools import lru_cache
from typing import Final

OWN: Final = ("taskyard", "taskyard_api", "taskyard_contract", "taskyard_agent", "taskyard_controlplane")
"""The packages of Taskyard itself, wherever they lie."""


def is_installed(module_name: str) -> bool:
    """Say whether a module belongs to an installed package, to Python itself, or to Taskyard.

    One that nobody has imported under its name is the program's: code that travelled by value is of such.
    """
    if module_name == "__main__":
        return False
    if module_name.partition(".")[0] in OWN:
        return True
    module = sys.modules.get(module_name)
    if module is None:
        return False
    path = getattr(module, "__file__", None)
    if isinstance(path, str):
        return _lies_in_package(os.path.abspath(path))
    spec = getattr(module, "__spec__", None)
    return module_name in sys.builtin_module_names or getattr(spec, "origin", None) in ("built-in", "frozen")


@lru_cache(maxsize=4096)
def _lies_in_package(path: str) -> bool:
    if path.startswith(installed_roots()):
        return True
    for entry in dict.fromkeys(map(os.path.abspath, sys.path)):
        inside = path.removeprefix(entry + os.sep)
        if inside != path and inside.split(os.sep, 1)[0] in _recorded(entry):
            return True
    return False


@lru_cache(maxsize=1)
def installed_roots() -> tuple[str, ...]:
    """Return the directories of Python and of what is installed for it, each with a separator at its end."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({os.path.abspath(path) + os.sep for name in names if (path := sysconfig.get_path(name))})


@lru_cache(maxsize=256)
def _recorded(directory: str) -> frozenset[str]:
    """Return what installers have put into a directory elsewhere, by their own records.

    A project may lie beside it: ``pip install --target .`` leaves packages among the modules of the program.
    """
    found = set[str]()
    for name in _entries(directory):
        if not name.endswith(".dist-info"):
            continue
        try:
            with open(os.path.join(directory, name, "RECORD"), encoding="utf-8") as lines:
                found.update(line.split(",", 1)[0].split("/", 1)[0] for line in lines)
        except (OSError, ValueError):
            continue
    return frozenset(found)


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:  # an entry of the path need not be there, or be a directory
        return []
