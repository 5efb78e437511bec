"""Which names of ``__main__`` a value refers to."""

import pickle
from typing import Any

from taskyard_contract.parts import classes
from taskyard_contract.world import module_names
from taskyard_contract.world.script_names import MAIN


class Noting(pickle.Pickler):
    """Notes the names of ``__main__`` in a value of which plain pickle has written references."""

    def __init__(self, names: set[str]) -> None:
        """Add them to `names`."""
        super().__init__(_Nowhere(), protocol=5)
        self._names = names

    def reducer_override(self, obj: Any) -> Any:
        """Write it as plain pickle does."""
        name = module_names.qualname_of(obj)
        if name is None:
            name = classes.global_name_of(obj)
        elif obj.__module__ != MAIN:
            return NotImplemented
        if name is not None:
            self._names.add(name.partition(".")[0])
        return NotImplemented


class _Nowhere:
    """A file of which nobody reads anything."""

    def write(self, data: bytes) -> int:
        return len(data)
