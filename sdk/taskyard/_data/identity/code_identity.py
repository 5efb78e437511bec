"""The identity of code: what a function or a class does, however it came here.

Code of installed packages is known by its name. That of the program is known by what it is: bytecode, names,
constants, defaults, what its closures hold, and, as far as it is of the program as well, what it uses:
functions and classes behind its globals, those that these use, and globals that are plain values.

Functions and classes use each other in circles. So each gets a number when it is met, in an order that the
code decides, and is referred to by it; so do those in tables, and the classes of constants. An identity
depends on nothing but the code it is of, so it can be used again (`known_code`).
"""

import inspect
from collections.abc import Iterator
from functools import cached_property
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, Final

from taskyard._data.identity import known_code
from taskyard._data.identity.code_names import described, names_in
from taskyard._data.identity.contents import Contents
from taskyard._data.identity.installed import is_installed
from taskyard._data.identity.known_code import ABSENT, Looked
from taskyard._data.identity.plain import parts_of_plain
from taskyard._data.identity.program_code import is_counted, named, qualified_name, wrapped_in
from taskyard._data.identity.sealing import sealed
from taskyard.exceptions import HashError

_MOST_PARTS: Final = 10_000
_LOOKED_AT_AGAIN: Final = 10_000
"""Parts of a constant that is compared for each key; whether a larger one has changed inside, nobody asks."""


def identity_of(code: Any, *, alone: bool = False) -> bytes:
    """Return the identity of a function, of what a decorator made of one, or of a class.

    Args:
        code: What is to be told apart.
        alone: Whether its globals do not count.

    Raises:
        HashError: It uses too much.
        Exception: It holds something that has no content, in a closure for example.
    """
    found = known_code.find(code, alone, _in_this_process)
    if found is not None:
        return found
    if not is_counted(code):
        return named(code)
    walk = _Walk(alone)
    found = walk.over(code)
    known_code.keep(code, alone, found, walk.looked)
    return found


def _in_this_process(value: Any) -> bytes:
    """Return the content of a constant, for a comparison with what it was before."""
    return Contents(lambda code: b"@%d" % id(code)).of(value)


class _Walk:
    """One way over a function or class and all it uses."""

    def __init__(self, alone: bool) -> None:
        self._alone = alone
        self._content = Contents(self._met_inside, ranks=Contents(named)).of
        self._numbers: dict[int, int] = {}
        self._met: list[Any] = []
        self.looked = Looked([], [], [])

    def over(self, root: Any) -> bytes:
        """Return what stands for the root and for all that was met on the way."""
        self._root = root
        self._number(root)
        digests: list[bytes] = []
        while len(digests) < len(self._met):  # it grows on the way
            if len(digests) == _MOST_PARTS:
                raise HashError(
                    f"'{qualified_name(root)}' uses more than {_MOST_PARTS:,} functions and classes"
                )
            met = self._met[len(digests)]
            parts = self._class(met) if isinstance(met, type) else self._callable(met)
            digests.append(sealed(b"part", *parts))
        return sealed(b"program", *digests)

    def _number(self, met: Any) -> bytes:
        number = self._numbers.setdefault(id(met), len(self._met))
        if number == len(self._met):
            self._met.append(met)
        return b"@%d" % number

    def _met_inside(self, code: Any) -> bytes:
        """Return what stands for code that is part of a value."""
        return self._number(code) if is_counted(code) else named(code)

    def _held(self, part: Any) -> bytes:
        """Return what stands for something that must be told apart, or else the code has no identity."""
        if is_counted(part):
            return self._number(part)
        size = parts_of_plain(part)
        found = self._content(part)
        if size is None or 1 < size <= _LOOKED_AT_AGAIN:
            self.looked.constants.append((part, _in_this_process(part)))
        return found

    def _used(self, part: Any) -> bytes:
        """Return what stands for something that is told apart if it is plain: all else changes in use."""
        if is_counted(part) or parts_of_plain(part) is not None:
            return self._held_if_possible(part)
        return _kind(part)

    def _held_if_possible(self, part: Any) -> bytes:
        try:
            return self._held(part)
        except Exception:  # foreign code says how it is pickled
            return _kind(part)

    def _callable(self, met: Any) -> Iterator[bytes]:
        wrapped = wrapped_in(met)
        if wrapped is None:
            return self._function(met)
        return iter((qualified_name(type(met)).encode(), self._number(wrapped)))

    def _function(self, function: FunctionType) -> Iterator[bytes]:
        yield function.__qualname__.encode()
        yield self._content(described(function.__code__))
        # What a decorator keeps for its own use, a lock for example, is not what the task is made of.
        foreign = is_installed(function.__globals__.get("__name__") or "")
        held = self._held if function is self._root and not foreign else self._held_if_possible
        yield sealed(b"defaults", *map(held, function.__defaults__ or ()))
        for name, default in sorted((function.__kwdefaults__ or {}).items()):
            yield sealed(b"default", name.encode(), held(default))
        for cell in function.__closure__ or ():
            found = self.looked.in_cell(cell)
            yield sealed(b"cell") if found is ABSENT else held(found)
        if not self._alone:
            yield sealed(b"globals", *self._globals(function))

    def _globals(self, function: FunctionType) -> Iterator[bytes]:
        names = names_in(function.__code__)
        for name in names.read:
            if name in names.assigned or (name.startswith("__") and name.endswith("__")):
                continue
            found = self.looked.under(function.__globals__, name)
            if found is not ABSENT:  # otherwise it is a builtin
                yield sealed(b"global", name.encode(), *self._global(found, names.attributes, set()))

    def _global(self, found: Any, attributes: frozenset[str], inside: set[int]) -> Iterator[bytes]:
        if not isinstance(found, ModuleType):
            yield self._used(found)
            return
        yield found.__name__.encode()
        if is_installed(found.__name__) or id(found) in inside:
            return
        inside.add(id(found))
        for name in sorted(attributes & vars(found).keys()):
            attribute = self.looked.under(vars(found), name)
            yield sealed(b"global", name.encode(), *self._global(attribute, attributes, inside))

    def _class(self, met: type) -> Iterator[bytes]:
        yield qualified_name(met).encode()
        yield sealed(b"bases", *map(self._held, met.__bases__))
        members = getattr(met, "__members__", None)  # of an enum
        members = members if isinstance(members, MappingProxyType) else {}
        for name, member in members.items():
            yield sealed(b"member", name.encode(), self._used(member.value))
        for name in sorted(vars(met).keys() - members.keys()):
            parts = list(self._attribute(name, self.looked.under(vars(met), name)))
            if parts:
                yield sealed(b"attribute", name.encode(), *parts)

    def _attribute(self, name: str, found: Any) -> Iterator[bytes]:
        if isinstance(found, staticmethod | classmethod):
            yield self._used(found.__func__)
        elif isinstance(found, property):
            yield from map(self._used, (found.fget, found.fset, found.fdel))
        elif isinstance(found, cached_property):
            yield self._used(found.func)
        elif is_counted(found):
            yield self._number(found)
        elif not (name.startswith("_") and name.endswith("_")) and not inspect.isdatadescriptor(found):
            yield self._used(found)


def _kind(part: Any) -> bytes:
    return sealed(b"kind", qualified_name(type(part)).encode())
