"""A program's main module and a worker's, both in this process, one after the other."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from taskyard_contract import pickling
from taskyard_contract.world import main_module
from taskyard_contract.world.main_module import Entry, Names
from taskyard_contract.world.script_names import MAIN


@contextmanager
def program(source: str = "", filename: str = "<program>") -> Iterator[ModuleType]:
    """Yield a module ``__main__`` that has executed a program."""
    module = ModuleType(MAIN)
    with _as_main(module):
        run(module, source, filename)
        yield module


def run(module: ModuleType, source: str, filename: str = "<program>") -> None:
    """Execute more of a program, as the cells of a notebook are."""
    exec(compile(source, filename, "exec", dont_inherit=True), vars(module))


@contextmanager
def worker() -> Iterator[ModuleType]:
    """Yield the module ``__main__`` of a worker, to be filled."""
    module = ModuleType(MAIN)
    before = vars(main_module._main).copy()
    with _as_main(module):
        main_module.begin(module)
        try:
            yield module
        finally:
            vars(main_module._main).update(before)


@contextmanager
def _as_main(module: ModuleType) -> Iterator[None]:
    before = sys.modules[MAIN]
    sys.modules[MAIN] = module
    try:
        yield
    finally:
        sys.modules[MAIN] = before


def entries_of(module: ModuleType, *names: str) -> list[Entry]:
    """Pickle names of a program, and what they refer to."""
    left, found = list(names), dict[str, Entry]()
    while left:
        name = left.pop()
        if name not in found and name in vars(module):
            found[name] = pickling.pickled(getattr(module, name), name).entry
            left += (*found[name].names, *found[name].wished)
    return [found[name] for name in sorted(found)]


def travelled(source: str, *names: str) -> Any:
    """Return what a worker has under some names, and all they refer to, after a program was executed."""
    with program(source) as home:
        entries = entries_of(home, *names)
    with worker() as away:
        Names(entries).bind()
        values = tuple(getattr(away, name) for name in names)
    return values if len(values) > 1 else values[0]
