"""The content of values: bytes that are equal when values are, whenever and wherever they are computed.

Each value is written by what it holds, never by where it lies in memory: lists and objects part by part, sets
and dicts in the order of their parts' contents, objects of the program's classes together with the code of
these. What no part can be compared of, such as a lock or a connection, has no content.

Invariants: the type counts (1, 1.0, True and "1" differ, and so do a list and a tuple); what is shared and
what is only equal makes no difference; neither does the seed of string hashes, nor the process. A value that
contains itself refers to itself by how far above it stands.
"""

import copyreg
import marshal
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import CodeType, MappingProxyType, MethodType, ModuleType
from typing import Any, Final

from taskyard._data.identity import arrays
from taskyard._data.identity.code_names import described
from taskyard._data.identity.program_code import is_code
from taskyard._data.identity.sealing import sealed, sealed_memory
from taskyard.exceptions import HashError

_FORMAT: Final = 2
"""Of `marshal`: the newest that writes equal scalars equally, whoever else refers to them."""
_PROTOCOL: Final = 5
_SCALARS: Final = frozenset({str, int, float, bool, bytes, complex, type(None)})
_TEXTS: Final = frozenset({str})
_TAGS: Final[dict[type, bytes]] = {list: b"list", tuple: b"tuple"}
_NOTHING: Final = 1 << 60
_MOST_REPEATED: Final = 10_000


class Contents:
    """Computes contents; for one key, because values change."""

    __slots__ = (
        "_again", "_circular", "_code", "_entangled", "_known", "_open", "_ranks", "_reached", "_repeated"
    )  # fmt: skip

    def __init__(self, code: Callable[[Any], bytes], ranks: "Contents | None" = None) -> None:
        """Know nothing yet.

        Args:
            code: Says what stands for a class or a function.
            ranks: Decide the order of what has none, if `code` depends on the order in which it is asked.
        """
        self._code = code
        self._ranks = ranks
        self._known: dict[int, tuple[object, bytes]] = {}
        self._open: dict[int, int] = {}  # what is being written, and how deep it stands
        self._circular = False  # whether there is a circle in what is being written
        self._reached = _NOTHING  # the least deep of what is open that was met inside
        self._entangled: dict[int, tuple[object, bytes | None]] = {}
        """What has a circle in it, with its content unless that depends on what it stood in."""
        self._again = 0  # how many of these are open: then contents of circles may depend on them
        self._repeated = 0

    def of(self, value: Any) -> bytes:
        """Return the content of a value.

        Raises:
            HashError: It has none, or is entangled beyond measure.
            Exception: Whatever foreign code raises that says how it is pickled.
        """
        kind = type(value)
        if kind in _SCALARS:
            return marshal.dumps(value, _FORMAT)
        if kind is dict:
            if _SCALARS.issuperset(map(type, value.values())) and _TEXTS.issuperset(map(type, value)):
                return sealed(b"dict", marshal.dumps(sorted(value.items()), _FORMAT))
        elif (kind is list or kind is tuple) and _SCALARS.issuperset(map(type, value)):
            return sealed(_TAGS[kind], marshal.dumps(value, _FORMAT))
        key = id(value)
        known = self._known.get(key)
        if known is not None:
            return known[1]
        depth = self._open.get(key)
        if depth is not None:
            self._circular, self._reached = True, min(self._reached, depth)
            return b"^%d" % (len(self._open) - depth)
        entangled = self._entangled.get(key)
        if entangled is None:
            return self._entered(value, key)
        if entangled[1] is not None and not self._again:
            self._circular = True
            return entangled[1]
        return self._entered_again(value, key)

    def _entered_again(self, value: Any, key: int) -> bytes:
        self._repeated += 1
        if self._repeated > _MOST_REPEATED:
            raise HashError("its parts refer to each other in too many ways")
        self._again += 1
        try:
            return self._entered(value, key)
        finally:
            self._again -= 1

    def _entered(self, value: Any, key: int) -> bytes:
        depth = self._open[key] = len(self._open)
        circular, self._circular = self._circular, False
        reached, self._reached = self._reached, _NOTHING
        try:
            found = self._form(value)
        finally:
            del self._open[key]
        if not self._circular:
            self._known[key] = value, found
        elif self._reached >= depth:
            self._entangled[key] = value, found
            self._reached = _NOTHING
        else:
            self._entangled.setdefault(key, (value, None))
        self._circular |= circular
        self._reached = min(self._reached, reached)
        return found

    def _form(self, value: Any) -> bytes:
        kind = type(value)
        if kind is dict:
            return self._mapping(b"dict", value)
        if kind is list or kind is tuple:
            return sealed(_TAGS[kind], *map(self.of, value))
        if isinstance(value, set | frozenset):
            return self._set(value)
        if isinstance(value, Enum):
            return sealed(b"enum", self.of(kind), self.of(value.name), self.of(value.value))
        if is_code(value):
            return self._code(value)
        if kind is CodeType:
            return sealed(b"code", self.of(described(value)))
        if kind is MethodType:
            return sealed(b"method", self.of(value.__func__), self.of(value.__self__))
        if kind is ModuleType:
            return sealed(b"module", value.__name__.encode())
        if kind is MappingProxyType:
            return self._mapping(b"proxy", value)
        if kind in (bytearray, memoryview, pickle.PickleBuffer):
            return sealed(kind.__name__.encode(), bytes(value))
        parts = arrays.parts_of(value)
        if parts is not None:
            return sealed(b"array", self.of(kind), *(self._part(one) for one in parts))
        return self._object(value)

    def _part(self, part: Any) -> bytes:
        return sealed_memory(part) if type(part) is memoryview else self.of(part)

    def _mapping(self, tag: bytes, value: Mapping[Any, Any]) -> bytes:
        return sealed(tag, *self._pairs(value.items()))

    def _pairs(self, items: Iterable[tuple[Any, Any]]) -> list[bytes]:
        ranks = self._ranks
        if ranks is None:
            return sorted(sealed(b"pair", self.of(key), self.of(held)) for key, held in items)
        ranked = sorted(items, key=lambda item: ranks.of(item[0]))
        return [sealed(b"pair", self.of(key), self.of(held)) for key, held in ranked]

    def _set(self, value: set[Any] | frozenset[Any]) -> bytes:
        kind = type(value)
        own = sealed(b"own", self.of(kind), self.of(getattr(value, "__dict__", None)))
        if self._ranks is None:
            return sealed(b"set", own, *sorted(map(self.of, value)))
        return sealed(b"set", own, *map(self.of, sorted(value, key=self._ranks.of)))

    def _object(self, value: Any) -> bytes:
        """Write an object by what pickles would make it of."""
        reduced = _reduced(value)
        if isinstance(reduced, str):
            return sealed(b"global", f"{_module_of(value)}:{reduced}".encode())
        parts: list[Any] = [*reduced, None, None, None]
        make, arguments, state, items, pairs = parts[:5]
        held: list[tuple[Any, Any]] = [] if pairs is None else list(pairs)
        in_order = [self.of(pair) for pair in held] if isinstance(value, OrderedDict) else self._pairs(held)
        return sealed(
            b"object",
            self.of(make),
            self.of(arguments),
            self.of(state),
            self.of(None if items is None else list(items)),
            sealed(b"pairs", *in_order),
        )


def _reduced(value: Any) -> Any:
    reduce = copyreg.dispatch_table.get(type(value))
    return reduce(value) if reduce is not None else value.__reduce_ex__(_PROTOCOL)


def _module_of(value: Any) -> str:
    """Return the module in which a value is known under a name of its own."""
    module = getattr(value, "__module__", None)
    return module if isinstance(module, str) else type(value).__module__
