"""Where a flow can be loaded from again, by another program."""

import os
import sys
from collections.abc import Callable
from typing import Any, Final

from taskyard_contract.world.script_names import is_of_a_script

MOST_BYTES: Final = 4_096
"""A longer one is not recorded: no file has such a path."""


def entrypoint_of(fn: Callable[..., Any]) -> str:
    """Return the entrypoint of the flow of a function, ``path.py:name`` or ``module:name``; empty for none.

    There is none for what lies in a function, and for what was typed at a prompt.
    """
    name, qualname = getattr(fn, "__module__", None) or "", getattr(fn, "__qualname__", "<none>")
    module = sys.modules.get(name)
    if module is None or "<" in qualname:
        return ""
    spec = getattr(module, "__spec__", None)
    if name == "__main__" and spec is not None:  # python -m
        name = spec.name
    elif is_of_a_script(name):
        file = getattr(module, "__file__", None)
        name = os.path.realpath(file) if isinstance(file, str) and os.path.isfile(file) else ""
    found = f"{name}:{qualname}" if name else ""
    return found if len(os.fsencode(found)) <= MOST_BYTES else ""
