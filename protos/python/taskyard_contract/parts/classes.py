"""What classes are made of besides their attributes, where cloudpickle leaves it out.

Cloudpickle makes an empty class first and sets its attributes afterwards. What only counts while a class is
made has to be there before: its qualified name, its slots. And what a class does when it is made (its base
classes hear of it, its metaclass, the members of an enum are initialized) has been done at home already: the
traces of that are among the attributes.
"""

import enum
import typing
import weakref
from _abc import _get_dump  # type: ignore[import-not-found]  # of Python; cloudpickle asks it as well
from abc import ABCMeta
from functools import partial
from types import FunctionType, MemberDescriptorType
from typing import Any, Final, NamedTuple, NewType, ParamSpec, TypeVar, TypeVarTuple

from taskyard_contract import durable_names
from taskyard_contract.world.script_names import MAIN

TYPE_PARAMETERS: Final = (TypeVar, ParamSpec, TypeVarTuple)
_TYPE_ALIAS: Final = getattr(typing, "TypeAliasType", None)
"""What ``type X = ...`` makes, from Python 3.12 on."""
_OF_ENUM: Final = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})
"""Attributes that a member of an enum gets when its class is made."""


def completed(kind: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return how a class is made and filled.

    Args:
        kind: The class.
        reduced: What cloudpickle says of it.
    """
    if isinstance(kind, enum.EnumMeta):
        return _completed_enum(kind, reduced)
    make, (meta, name, bases, namespace, *more), (attributes, slots), *rest = reduced
    # Pickling an object leaves that in its class, which is no other one by it.
    attributes = {name: one for name, one in attributes.items() if name != "__slotnames__"}
    if isinstance(kind, ABCMeta):
        attributes["_abc_impl"] = sorted(registered_with(kind), key=_full_name)
    namespace = {**namespace, "__qualname__": kind.__qualname__}
    if NamedTuple in bases:  # it would not have slots beside its fields, and has made them already
        namespace["__orig_bases__"], bases = bases, kind.__bases__
    if "__slots__" in vars(kind):
        namespace["__slots__"] = vars(kind)["__slots__"]
        attributes = {name: one for name, one in attributes.items() if not _is_slot(one, kind)}
    maker = partial(durable_names.class_of, meta) if _tells_main(kind) else meta
    return make, (maker, name, bases, namespace, *more), (attributes, slots), *rest


def _is_slot(value: object, kind: type) -> bool:
    return isinstance(value, MemberDescriptorType) and value.__objclass__ is kind


def _tells_main(kind: type) -> bool:
    """Say whether code of ``__main__`` would hear that a class is made."""
    if type(kind).__module__ == MAIN:
        return True
    told = next((base for base in kind.__mro__[1:] if "__init_subclass__" in vars(base)), object)
    return told.__module__ == MAIN


def _completed_enum(kind: enum.EnumMeta, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    make, (bases, name, qualname, members, *more), (attributes, _), *_ = reduced
    all_members: dict[str, Any] = dict(kind.__members__)
    attributes = {name: one for name, one in attributes.items() if name not in all_members}
    own = [
        (name, {key: one for key, one in vars(member).items() if key not in _OF_ENUM})
        for name, member in all_members.items()
    ]
    if all_members and _plain_arguments(kind, next(iter(all_members.values()))) is not None:
        members = {"__new__": durable_names.enum_member, "__init__": durable_names.enum_member_made}
        for name_of_one, member in all_members.items():
            members[name_of_one] = (_plain_arguments(kind, member), member._value_)
    state = (attributes, [(name, more) for name, more in own if more])
    return make, (bases, name, qualname, members, *more), state, None, None, durable_names.enum_filled


def _plain_arguments(kind: Any, member: Any) -> tuple[Any, ...] | None:
    """Return what makes the value that a member is, apart from being a member; None if nobody knows."""
    mixed_in = kind._member_type_
    if hasattr(mixed_in, "__getnewargs__"):  # of Python's own types
        arguments: tuple[Any, ...] = mixed_in.__getnewargs__(member)
        return arguments
    return () if mixed_in.__new__ is object.__new__ else None


def _full_name(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def generic_parts(kind: type) -> tuple[Any, Any] | None:
    """Return the generic model of pydantic, and the types, that made a class of it; None for all others."""
    said = vars(kind).get("__pydantic_generic_metadata__")
    if not isinstance(said, dict) or not said.get("origin") or not said.get("args"):
        return None
    arguments = said["args"]
    return said["origin"], arguments[0] if len(arguments) == 1 else arguments


def registered_with(kind: type) -> frozenset[Any]:
    """Return the classes that were registered as virtual subclasses of an abstract one."""
    if not isinstance(kind, ABCMeta):
        return frozenset()
    references, *_ = _get_dump(kind)
    return frozenset(one for reference in references if (one := reference()) is not None)


class _Versions:
    """Which classes ``__main__`` has had under a name, in the order in which they were pickled."""

    def __init__(self) -> None:
        self._of_name: dict[str, list[weakref.ref[type]]] = {}

    def number_of(self, name: str, value: object) -> int:
        """Return the number of a class of the script, from 1; 0 for what is none, or is made as a whole."""
        if not name or not isinstance(value, type) or value.__module__ != MAIN:
            return 0
        if isinstance(value, enum.EnumMeta) or generic_parts(value) is not None:
            return 0
        known = self._of_name.setdefault(name, [])
        for number, reference in enumerate(known, 1):
            if reference() is value:
                return number
        known.append(weakref.ref(value))
        return len(known)


versions: Final = _Versions()


def cells_of(namespace: dict[str, Any]) -> dict[int, tuple[str, int]]:
    """Return which function has each variable of a closure first, and where, by the ids of the cells."""
    found: dict[int, tuple[str, int]] = {}
    for name in sorted(namespace):
        value = namespace[name]
        if type(value) is FunctionType:
            for index, cell in enumerate(value.__closure__ or ()):
                found.setdefault(id(cell), (name, index))
    return found


def global_name_of(obj: Any) -> str | None:
    """Return the name of the global that an object says it is when it is pickled."""
    kind: Any = type(obj)
    if kind in TYPE_PARAMETERS or kind is NewType or kind is _TYPE_ALIAS:
        name: str = obj.__name__
        return name if obj.__module__ == MAIN else None
    if kind.__module__ != MAIN or isinstance(obj, type):
        return None
    if (kind.__reduce__, kind.__reduce_ex__) == (object.__reduce__, object.__reduce_ex__):
        return None
    reduced = obj.__reduce_ex__(5)
    return reduced if isinstance(reduced, str) else None


def parts_of_global(obj: Any) -> tuple[Any, ...]:
    """Return how an object is made that otherwise only says its name."""
    kind = type(obj)
    if kind is TypeVar:
        varies = {one: True for one in ("covariant", "contravariant") if getattr(obj, f"__{one}__")}
        return durable_names.type_parameter, (kind, obj.__name__, obj.__constraints__, obj.__bound__, varies)
    if kind in TYPE_PARAMETERS:
        return durable_names.type_parameter, (kind, obj.__name__)
    if kind is _TYPE_ALIAS:
        return durable_names.type_alias, (kind, obj.__name__, obj.__value__, obj.__type_params__)
    return durable_names.instance, (kind,), obj.__getstate__()
