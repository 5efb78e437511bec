"""Pickles that say what is made of what: each becomes what a durable name makes of its parts.

Entries of ``__main__`` that are no value of their own, what belongs to a module, and code together with what
it needs.
"""

import hashlib
import pickle
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from taskyard_contract import durable_names
from taskyard_contract.world.main_module import Entry
from taskyard_contract.world.module_parts import ModulePart
from taskyard_contract.world.script_names import MAIN

PROTOCOL: Final = 5
"""The one that the encoding names, whatever Python's default is: other versions of Python have to read it."""
CONTENT_BYTES: Final = 16
"""Of an id of some content."""
_FEW_BYTES: Final = 16 * 1024


def alias(name: str, of: str) -> Entry:
    """Return the entry of a name that is bound to what another name is bound to."""
    data = pickle.PROTO + bytes([PROTOCOL]) + pickle.GLOBAL + f"{MAIN}\n{of}\n".encode() + pickle.STOP
    return Entry(name, hashlib.sha256(data).digest()[:CONTENT_BYTES], data, (of,))


def in_module(module: str, path: tuple[str, ...], value: Any) -> Any:
    """Return what is pickled as a value that a module has at a place: the object is there, contents come."""
    return Made(durable_names.module_value, module, path, value)


def registrations(module: str, path: tuple[str, ...], others: list[tuple[Any, ...]]) -> Any:
    """Return what is pickled as something to be registered with what a module has at a place."""
    return Made(durable_names.registered, module, path, others)


def module_reference(name: str, module: str, path: tuple[str, ...]) -> Entry:
    """Return the entry of a name that is bound to what a module has at a place."""
    data = pickle.dumps(Made(durable_names.part_of, module, path[0], path[1:]), PROTOCOL)
    return Entry(name, hashlib.sha256(data).digest()[:CONTENT_BYTES], data)


def main_code(
    reached: Iterable[Entry], waiting: Iterable[Entry], body: bytes, parts: Iterable[ModulePart] = ()
) -> bytes:
    """Pickle code together with what it uses of ``__main__``; see `durable_names.main_code`."""
    pieces = [[tuple(one) for one in reached], _packed([tuple(one) for one in waiting]), body]
    made = [tuple(one) for one in parts]
    return pickle.dumps(Made(durable_names.main_code, *pieces, *([made] if made else [])), PROTOCOL)


def _packed(entries: list[tuple[Any, ...]]) -> list[tuple[Any, ...]] | bytes:
    """Return entries that hardly anybody reads; many of them as what takes less room.

    They are the same for all code of a script, and classes resemble one another: a tenth is left of them.
    """
    if sum(len(entry[2]) for entry in entries) <= _FEW_BYTES:
        return entries
    return zlib.compress(pickle.dumps(entries, PROTOCOL), 1)


class Made:
    """Becomes what a function makes of some parts."""

    def __init__(self, make: Callable[..., Any], *parts: Any) -> None:
        self._reduced = make, parts

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced
