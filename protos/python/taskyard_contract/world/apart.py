"""Values of another program's ``__main__``, read where that is not there.

Results that are kept for later programs (cached ones) take along what of their program's ``__main__`` they
are made of. A program that has these names uses its own, as it would with a pickle in a file: a class is the
class of today. One that lacks any of them gets them all apart from its own ``__main__``, each content once.
"""

import io
import pickle
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Final

from taskyard_contract.world.main_module import Entry, current
from taskyard_contract.world.script_names import MAIN

MOST_KEPT: Final = 64
"""Sets of names that are kept, because further results of them have to be of the same classes."""
_DURABLE: Final = "taskyard_contract.durable_names"

_kept: Final[dict[tuple[tuple[str, bytes], ...], "_Apart"]] = {}


def read(entries: Sequence[Sequence[Any]], data: bytes) -> Any:
    """Read a pickled value that refers to names of a ``__main__``.

    Args:
        entries: What these names were.
        data: The pickle.
    """
    own = current()
    needed = [Entry(*entry) for entry in entries]
    if all(hasattr(own, entry.name) for entry in needed):
        return pickle.loads(data)
    key = tuple(entry[:2] for entry in needed)
    apart = _kept.get(key)
    if apart is None:
        if len(_kept) >= MOST_KEPT:
            del _kept[next(iter(_kept))]
        apart = _kept[key] = _Apart(needed)
        for name in [entry.name for entry in needed]:
            apart.value(name)  # functions look for what they use by its name only
    return apart.read(data)


class _Apart:
    """Names of a ``__main__`` that is not that of this process."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = {entry.name: entry for entry in entries}
        self._namespace: dict[str, Any] = {"__name__": MAIN}

    def read(self, data: bytes) -> Any:
        return _Reader(self, data).load()

    def value(self, name: str) -> Any:
        if name not in self._namespace:
            self._namespace[name] = self.read(self._entries[name].data)
        return self._namespace[name]

    def begun(self, name: str, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Stand for `durable_names.main_value`."""
        self._namespace[name] = value = make(*args)
        return value

    def globals_of(self, module: str) -> dict[str, Any]:
        """Stand for `durable_names.globals_of`: functions find what came along."""
        return self._namespace

    def part_of(self, module: str, qualname: str, path: tuple[str, ...]) -> Any:
        """Stand for `durable_names.part_of`."""
        return reduce(getattr, path, self.named(qualname))

    def named(self, qualname: str) -> Any:
        first, *others = qualname.split(".")
        return reduce(getattr, others, self.value(first))


class _Reader(pickle.Unpickler):
    """Finds what is of ``__main__`` among the names apart."""

    def __init__(self, apart: _Apart, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._apart = apart

    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name == MAIN:
            return self._apart.named(global_name)
        found = super().find_class(module_name, global_name)
        if module_name != _DURABLE or global_name not in ("main_value", "globals_of", "part_of"):
            return found
        if global_name == "main_value":
            return self._apart.begun
        stands = getattr(self._apart, global_name)
        return lambda module, *rest: (stands if module == MAIN else found)(module, *rest)
