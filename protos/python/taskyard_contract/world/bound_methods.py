"""Methods of objects that a module keeps, under names of the module: ``random.randint`` is one.

``from random import randint`` gives a program such a method, and with it the generator behind it. It is the
module's, which each process has by itself: carried along, it would draw the same numbers in all of them.
"""

import sys
from types import BuiltinMethodType, MethodType, ModuleType
from typing import Final

_KINDS: Final = (MethodType, BuiltinMethodType)


def place_of(value: object) -> tuple[str, str] | None:
    """Return the module and the name under which other processes find a method; None for all else."""
    if type(value) not in _KINDS:
        return None
    owner, name = getattr(value, "__self__", None), getattr(value, "__name__", "")
    if owner is None or isinstance(owner, ModuleType | type):
        return None
    module_name = type(owner).__module__
    module = sys.modules.get(module_name) if isinstance(module_name, str) else None
    if module is None or module_name == "__main__" or getattr(module, "__spec__", None) is None:
        return None
    found = vars(module).get(name)
    # Methods are equal when they are of one object: the object itself is asked nothing.
    return (module_name, name) if type(found) is type(value) and found == value else None
