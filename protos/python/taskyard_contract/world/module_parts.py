"""What a program has made of its modules besides importing them, for a process that has imported them itself.

A script sets an option of a module, or registers its classes in one. Workers import modules themselves, so
the objects of these are as they should be, and others hold them: what is in such an object is replaced, not
the object.
Invariant: a part is applied once for each content; what runs make of it afterwards stays until the program
has another one.
"""

import pickle
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from importlib import import_module
from typing import Any, Final, NamedTuple

Key = tuple[str, tuple[str, ...]]
"""A module, and the attributes that lead to something in it."""
_NOTHING: Final = object()
REGISTERED: Final = object()
"""Stands for a value: there is nothing more to be done."""


class ModulePart(NamedTuple):
    """Something that a program has in one of its modules."""

    module: str
    path: tuple[str, ...]
    """The attributes that lead to it; none where the module only has to be imported, as others need it."""
    content: bytes
    """An id of what the value is made of."""
    data: bytes
    """The pickled value; nothing, where the module is to have again what it had when it was imported."""


class _Applied:
    """What was made here of what came."""

    def __init__(self) -> None:
        self.contents: dict[Key, bytes] = {}
        self.originals: dict[Key, Any] = {}
        """What was there before."""
        self.troubles: list[str] = []


_applied: Final = _Applied()


def apply(parts: Iterable[Sequence[Any]]) -> None:
    """Let modules have these parts; those that they have already are left alone.

    What cannot be imported here is told (`troubles`) and left out: runs may not need it.
    """
    for part in (ModulePart(*one) for one in parts):
        key = (part.module, part.path)
        if _applied.contents.get(key) == part.content:
            continue
        _applied.contents[key] = part.content
        try:
            _apply(part)
        except Exception as error:  # imports and unpickling run foreign code
            name = ".".join((part.module, *part.path))
            _applied.troubles.append(f"'{name}' is not as in the program: {type(error).__name__}: {error}")


def _apply(part: ModulePart) -> None:
    import_module(part.module)
    if part.data:
        value = pickle.loads(part.data)
        if value is not REGISTERED:
            place(part.module, part.path, value)
    elif part.path and (part.module, part.path) in _applied.originals:
        _restore(part.module, part.path)


def troubles() -> list[str]:
    """Return what went wrong since this was asked last, for people."""
    found, _applied.troubles = _applied.troubles, []
    return found


def place(module: str, path: Sequence[str], value: Any) -> Any:
    """Let a module have a value at a place; returns the object that is there then.

    Where there is a container, or a plain object, of the same type, that one gets the contents.
    """
    owner = _owner(module, path)
    present = getattr(owner, path[-1], None)
    if present is value or fill(present, value):
        return present
    # What a class inherits is not its own.
    _applied.originals.setdefault((module, tuple(path)), vars(owner).get(path[-1], _NOTHING))
    setattr(owner, path[-1], value)
    return value


def register(module: str, path: Sequence[str], others: Iterable[tuple[Any, ...]]) -> object:
    """Register classes with an abstract class of a module, or with functions for them a generic function."""
    add = reduce(getattr, path, import_module(module)).register
    for arguments in others:
        add(*arguments)
    return REGISTERED


def _restore(module: str, path: Sequence[str]) -> None:
    owner, original = _owner(module, path), _applied.originals[module, tuple(path)]
    if original is not _NOTHING:
        setattr(owner, path[-1], original)
    elif path[-1] in vars(owner):
        delattr(owner, path[-1])


def _owner(module: str, path: Sequence[str]) -> Any:
    return reduce(getattr, path[:-1], import_module(module))


def fill(present: Any, value: Any) -> bool:
    """Give an object the contents of another one, if both are of one type that can be filled."""
    if type(present) is not type(value):
        return False
    filled = _FILLERS.get(type(value))
    if filled is None:
        if not is_plain(value):
            return False
        filled = _fill_attributes
    filled(present, value)
    return True


def is_plain(value: object) -> bool:
    """Say whether an object is nothing but its attributes, and is pickled as these."""
    kind = type(value)
    return (
        kind.__flags__ & _HEAP_TYPE != 0
        and kind.__basicsize__ == _Plain.__basicsize__
        and not kind.__itemsize__
        and all(getattr(kind, name, None) is getattr(object, name, None) for name in _OF_OBJECT)
        # Not before: objects that stand for others would make these.
        and type(getattr(value, "__dict__", None)) is dict
    )


class _Plain:
    """A class that asks for nothing."""


_HEAP_TYPE: Final = 1 << 9
_OF_OBJECT: Final = (
    *("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__"),
    *("__getnewargs__", "__getnewargs_ex__", "__getattribute__"),
)


def _fill_mapping(present: Any, value: Any) -> None:
    present.clear()
    present.update(value)


def _fill_sequence(present: Any, value: Any) -> None:
    present[:] = value


def _fill_deque(present: Any, value: Any) -> None:
    present.clear()
    present.extend(value)


def _fill_attributes(present: Any, value: Any) -> None:
    _fill_mapping(present.__dict__, value.__dict__)


_FILLERS: Final[dict[type, Callable[[Any, Any], None]]] = {
    **dict.fromkeys((dict, OrderedDict, defaultdict, set), _fill_mapping),
    **dict.fromkeys((list, bytearray), _fill_sequence),
    deque: _fill_deque,
}
CONTAINERS: Final = frozenset(_FILLERS)
"""Types of objects that are filled."""
