"""Identities of code that were found, with all that was looked at for them.

Invariant: an identity is used again only while every name, closure and constant is what it was then.
"""

import weakref
from collections.abc import Callable, Mapping
from types import CellType, FunctionType
from typing import Any, Final, NamedTuple

Content = Callable[[Any], bytes]
ABSENT: Final = object()
_MOST: Final = 2048


class Looked(NamedTuple):
    """What an identity depends on."""

    names: list[tuple[Mapping[str, Any], str, object]]
    cells: list[tuple[CellType, object]]
    constants: list[tuple[object, bytes]]
    """What can change without becoming another object, with its content in this process."""

    def under(self, names: Mapping[str, Any], name: str) -> Any:
        """Return what has a name; `ABSENT` if nothing has."""
        found = names.get(name, ABSENT)
        self.names.append((names, name, found))
        return found

    def in_cell(self, cell: CellType) -> Any:
        """Return what a closure holds; `ABSENT` if nothing yet."""
        held = _held(cell)
        self.cells.append((cell, held))
        return held

    def same(self, content: Content) -> bool:
        """Say whether all of it is as it was."""
        for names, name, found in self.names:
            if names.get(name, ABSENT) is not found:
                return False
        for cell, held in self.cells:
            if _held(cell) is not held:
                return False
        return all(content(constant) == before for constant, before in self.constants)


class _Known(NamedTuple):
    code: "weakref.ref[Any]"
    body: object
    identity: bytes
    looked: Looked


_known: Final[dict[tuple[int, bool], _Known]] = {}


def find(code: Any, alone: bool, content: Content) -> bytes | None:
    """Return the identity of code that was looked at before, if it is the same still."""
    known = _known.get((id(code), alone))
    if known is None or known.code() is not code or known.body is not _body(code):
        return None
    return known.identity if known.looked.same(content) else None


def keep(code: Any, alone: bool, identity: bytes, looked: Looked) -> None:
    """Keep an identity for the next key."""
    if not isinstance(code, type | FunctionType):
        return
    if len(_known) >= _MOST:
        _known.clear()
    _known[id(code), alone] = _Known(weakref.ref(code), _body(code), identity, looked)


def _body(code: Any) -> object:
    return getattr(code, "__code__", None)


def _held(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT
