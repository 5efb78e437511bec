"""Which run a value came from, as long as it is the same object: how runs are linked by plain values.

A flow that calls ``b(a())`` passes the value of one run to another one. The value says nothing of that, its
identity does. What is known is bounded, holds no large value alive, and is only about objects that cannot
be in two places by chance: Python has every None, True, small number and short text once.
"""

import enum
import threading
import types
import weakref
from collections.abc import Collection
from sys import getsizeof
from typing import Any, Final

from taskyard_contract.states import UpstreamKind

MOST_KNOWN: Final = 1_000
"""Of the newest results so much is known; what a flow passes on it has usually just got."""
MOST_PARTS: Final = 100
"""A collection with more parts is only known, and looked at, as a whole."""
FEW_PARTS: Final = 10
"""Of one with more parts no plain parts are known by themselves: of a pair they are, and of no column."""
SMALL_BYTES: Final = 16 * 1024
"""Lists, texts and the like cannot be referred to weakly: larger ones than this would be kept alive."""
_SHORT: Final = 20
_ANY: Final = frozenset([type(None), bool, type(Ellipsis), type(NotImplemented)])
_TEXTS: Final = (str, bytes)
_PLAIN: Final = frozenset([int, float, complex, *_TEXTS, bytearray, *_ANY])
_LISTS: Final = frozenset([list, tuple, set, frozenset])
_INNER: Final = _PLAIN | _LISTS | {dict}
_SHARED: Final = (type, enum.Enum, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
"""Objects of a program, and not of a run. Exceptions are no results."""


class KnownResults:
    """What a flow run has got of the runs that it called. Thread-safe."""

    __slots__ = ("_lock", "known")

    def __init__(self) -> None:
        """Know nothing."""
        self._lock = threading.Lock()
        self.known: dict[int, tuple[Any, bytes, int]] = {}
        """By the identity of an object: it, or a weak reference to it; its run; and of what kind that is."""

    def note(self, value: Any, run_id: bytes, kind: int = UpstreamKind.RESULT) -> None:
        """Note that a value, and the parts of a collection, came from a run.

        Args:
            value: What a caller was given.
            run_id: The run.
            kind: `UpstreamKind.RESULT` or `FLOW_RESULT`.
        """
        if type(value) in _ANY:
            return
        with self._lock:
            self._note(value, run_id, kind)
            for part in _parts_to_note(value):
                self._note(part, run_id, kind)
            while len(self.known) > MOST_KNOWN:
                del self.known[next(iter(self.known))]

    def _note(self, value: Any, run_id: bytes, kind: int) -> None:
        held = _held(value)
        if held is not None:
            self.known.pop(id(value), None)  # so that the newest are last
            self.known[id(value)] = held, run_id, int(kind)

    def add_to(self, upstream: dict[bytes, int], given: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Add the runs whose values are among the arguments of a call, or in collections there."""
        for value in (*given, *named.values()) if named else given:
            self._add(upstream, value)
            for part in _parts(value):
                self._add(upstream, part)

    def _add(self, upstream: dict[bytes, int], value: Any) -> None:
        found = self._found(value)
        if found is not None:
            upstream.setdefault(*found)

    def run_of(self, value: Any) -> bytes | None:
        """Return the run that this very object came from, if that is known."""
        found = self._found(value)
        return None if found is None else found[0]

    def _found(self, value: Any) -> tuple[bytes, int] | None:
        found = self.known.get(id(value))
        if found is None:
            return None
        held, run_id, kind = found
        is_same = held is value or (type(held) is weakref.ref and held() is value)
        return (run_id, kind) if is_same else None


def _parts(value: Any) -> Collection[Any]:
    """Return the parts of a collection that is looked into."""
    kind = type(value)
    if kind in _LISTS:
        return value if len(value) <= MOST_PARTS else ()
    return value.values() if kind is dict and len(value) <= MOST_PARTS else ()


def _parts_to_note(value: Any) -> Collection[Any]:
    parts = _parts(value)
    return parts if len(parts) <= FEW_PARTS or not _INNER.issuperset(map(type, parts)) else ()


def _held(value: Any) -> Any:
    """Return what stands for an object: itself if it is small, or a weak reference; None if nothing can."""
    kind = type(value)
    if kind in _PLAIN:
        return value if _is_own(value) and getsizeof(value) <= SMALL_BYTES else None
    if kind in _LISTS or kind is dict:
        return value if value and _is_small(value) else None
    if isinstance(value, (*_SHARED, BaseException)):
        return None
    try:
        return weakref.ref(value)
    except TypeError:
        return None


def _is_own(value: Any) -> bool:
    """Say whether a plain value is an object of its own, and none that Python uses in many places."""
    if type(value) is int:
        return not -5 <= value <= 256
    if isinstance(value, _TEXTS):
        return len(value) > _SHORT
    return type(value) not in _ANY


def _is_small(value: Any) -> bool:
    """Say whether a collection holds plain values alone, and few of them."""
    left, open_ones = SMALL_BYTES, [value]
    while open_ones:
        part = open_ones.pop()
        parts: Collection[Any] = part.values() if type(part) is dict else part
        left -= getsizeof(part)
        if left < 0 or len(open_ones) > MOST_PARTS:
            return False
        if _PLAIN.issuperset(map(type, parts)):  # columns of numbers, in a microsecond or two
            left -= sum(map(getsizeof, parts))
            continue
        for each in parts:
            kind = type(each)
            if kind in _LISTS or kind is dict:
                open_ones.append(each)
            elif kind in _PLAIN:
                left -= getsizeof(each)
            else:
                return False
    return left >= 0
