"""Results where a saved block says: it is loaded by its name, wherever results are written or read.

Invariant: what travels of it is "type/name" and never what is in it, which may be secret.
"""

import os
import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from taskyard import settings
from taskyard._engine.results.storages import OwnStorage, Storage
from taskyard.exceptions import ResultStorageError
from taskyard_contract.errors import TaskyardError

_STAYS_SECONDS: Final = 30.0
"""How long a block that was loaded is used before it is looked up again: somebody may have changed it."""
_loaded: Final[dict[tuple[int, str, str], tuple[float, Storage]]] = {}


@dataclass(frozen=True)
class BlockStorage:
    """What a saved block means."""

    reference: str

    @property
    def given(self) -> str:
        """Its "type/name"."""
        return self.reference

    @property
    def name(self) -> str:
        """The same."""
        return self.reference

    def write(self, key: str, data: bytes) -> None:
        """Keep data under a key, instead of what was there."""
        self._meant().write(key, data)

    def read(self, key: str) -> bytes:
        """Return what is kept under a key."""
        return self._meant().read(key)

    def head(self, key: str) -> bytes:
        """Return the beginning of that."""
        return self._meant().head(key)

    def place(self, key: str) -> str:
        """Name the block and the key."""
        return f"{key!r} in block '{self.reference}'"

    def _meant(self) -> Storage:
        """Return the storage that the block is now.

        Raises:
            ResultStorageError: There is no such block, or it is no storage.
        """
        place = (os.getpid(), settings.server(), self.reference)
        until, storage = _loaded.get(place, (0.0, None))
        if storage is None or until < time.monotonic():
            storage = self._load()
            _loaded[place] = (time.monotonic() + _STAYS_SECONDS, storage)
        return storage

    def _load(self) -> Storage:
        blocks: Any = import_module("taskyard.blocks.core")  # a door, above this room: only by its name
        try:
            block = blocks.Block._load(self.reference)
        except TaskyardError:
            raise
        except Exception as error:  # there is none, it does not fit its class, or that is not imported
            raise ResultStorageError(
                f"the block '{self.reference}', which result_storage names, could not be loaded: {error}."
                f" Save it under this name; or write './{self.reference}' if a path is meant"
            ) from error
        if callable(getattr(block, "as_storage", None)):
            storage: Storage = block.as_storage()
            return storage
        if not has_paths(block):
            raise ResultStorageError(
                f"the block '{self.reference}', which result_storage names, is no storage: it has no"
                " read_path and write_path"
            )
        return OwnStorage(block)


def has_paths(given: Any) -> bool:
    """Say whether an object reads and writes paths."""
    return all(callable(getattr(given, name, None)) for name in ("read_path", "write_path"))


def is_block(given: Any) -> bool:
    """Say whether an object is a block."""
    return hasattr(type(given), "get_block_type_slug")
