"""Names of the module that a program's own file is: ``__main__`` where it is run, others where it is read."""

from typing import Final

MAIN: Final = "__main__"
SCRIPT: Final = "__taskyard_loader_"
"""Begins the names of modules that scripts become which a program loads flows from."""


def is_of_a_script(module: object) -> bool:
    """Say whether a module name is that of a program's own file."""
    return isinstance(module, str) and (module == MAIN or module.startswith(SCRIPT))
