"""By which names programs serve tasks that they have in their own code.

A name is ``module:qualname`` of the function. Whoever submits a run writes one into its template, and whoever
serves the task announces all names that another program may have for it: a file that was started as a
program is ``__main__`` to itself, and a module to all others. Functions that may be several under one name
(local ones, those of a prompt, callable objects) have a fingerprint of their code in it, so that nobody
executes another one.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, Final

from taskyard._data.values.hashing import code_fingerprint
from taskyard.exceptions import HashError
from taskyard_contract.wire_text import NAME_LIMIT

_MAIN: Final = frozenset({"__main__", "__mp_main__"})
_DIGITS: Final = 16


def served_as(fn: Callable[..., Any]) -> str:
    """Return the name that templates have for a function; "" when no other program could have it."""
    try:
        return next(_names(fn), "")  # the others would be for nothing, and this is done for each run
    except HashError:
        return ""


def served_names(fn: Callable[..., Any]) -> tuple[str, ...]:
    """Return all names that other programs may have for a function, the one of templates first.

    Raises:
        HashError: It is local, or an object, and holds what has no content that could be compared.
    """
    return tuple(dict.fromkeys(_names(fn)))


def _names(fn: Callable[..., Any]) -> Iterator[str]:
    named = fn if hasattr(fn, "__qualname__") else type(fn)
    module, qualname = named.__module__ or "", named.__qualname__
    modules = _names_of_main() if module in _MAIN else iter((module,))
    first = next(modules, "")
    is_unique = named is fn and "<" not in qualname and first
    mark = "" if is_unique else f"#{code_fingerprint(fn)[:_DIGITS]}"
    for place in chain((first or "__main__",), modules):
        name = f"{place}:{qualname}{mark}"
        if len(name.encode()) <= NAME_LIMIT:
            yield name


def _names_of_main() -> Iterator[str]:
    """Name the module that this program's file is to programs that import it, the likeliest name first."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        yield spec.name
    path = getattr(main, "__file__", None)
    if not isinstance(path, str):
        return
    if spec is None:
        yield os.path.splitext(os.path.basename(path))[0]
    for folder in ("", *sys.path):
        with suppress(FileNotFoundError):  # the current directory may have been deleted
            inside = os.path.relpath(path, folder or os.curdir)
            parts = os.path.splitext(inside)[0].split(os.sep)
            if all(map(str.isidentifier, parts)):
                yield ".".join(parts)
