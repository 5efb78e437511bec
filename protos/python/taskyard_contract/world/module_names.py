"""Where code has a name: which module, which path in it, and whether it is the very object that lies there.

A reference is as good as the object only if other processes find it by the same way. So a name counts when it
leads to the object, or to something that holds it (a decorated task holds its function as ``fn``). What has
no such name can still be tied to the module whose globals it uses.
"""

import ast
import functools
import sys
from collections.abc import Iterator
from inspect import CO_OPTIMIZED
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from taskyard_contract.code_lines import inner_codes
from taskyard_contract.world.main_module import own_name
from taskyard_contract.world.script_names import MAIN

_HOLDERS: Final = ("fn", "__wrapped__", "__func__", "func")
"""Attributes under which decorators keep what they decorate."""
_MOST_HOLDERS: Final = 4
_BY_TEXT: Final = frozenset({"globals", "vars", "eval", "exec"})
"""What finds globals by texts."""
_CACHED: Final = type(functools.lru_cache(lambda: None))


def qualname_of(obj: Any) -> str | None:
    """Return the qualified name of a function, a class, or whatever a decorator has made of one."""
    if isinstance(obj, FunctionType | type):
        return obj.__qualname__
    name = own_name(obj)
    return name if name is not None and isinstance(getattr(obj, "__module__", None), str) else None


def place_of(obj: Any, module_name: str | None, qualname: str) -> str | tuple[str, ...] | None:
    """Return where other processes find an object.

    Returns:
        The qualified name where that is the object itself, the attributes that lead from there to it, or
        None.
    """
    module = sys.modules.get(module_name or "")
    if module is None or "<" in qualname or not is_importable(module):
        return None
    try:
        found = functools.reduce(getattr, qualname.split("."), module)
    except AttributeError:
        return None
    if found is obj:
        return qualname
    path: tuple[str, ...] = ()
    for _ in range(_MOST_HOLDERS):
        held = next(((name, value) for name, value in _held(found) if value is not found), None)
        if held is None:
            return None
        name, found = held
        path = (*path, name)
        if found is obj:
            return path
    return None


def _held(holder: object) -> Iterator[tuple[str, Any]]:
    for name in _HOLDERS:
        try:
            value = getattr(holder, name)
        except Exception:  # an attribute of a stranger may be anything
            continue
        if callable(value):
            yield name, value


def is_importable(module: Any) -> bool:
    """Say whether other processes of the world have a module: one made by hand is here only."""
    if getattr(module, "__name__", None) == MAIN:
        return True
    return getattr(module, "__spec__", None) is not None


def module_with(namespace: dict[str, Any]) -> str | None:
    """Return the name of the module whose globals these are, if other processes can have it."""
    name = namespace.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    if not isinstance(module, ModuleType) or vars(module) is not namespace or not is_importable(module):
        return None
    return name


class Globals(NamedTuple):
    """Stands for the globals of a module, and for names that have to be there, in what is being pickled."""

    module: str
    names: tuple[str, ...] = ()


def names_in_texts(annotations: dict[str, Any], namespace: dict[str, Any]) -> set[str]:
    """Return the names in annotations that are texts: `get_type_hints` looks for them in the module."""
    names: set[str] = set()
    for annotation in annotations.values():
        if isinstance(annotation, str):
            _add_names(annotation, names)
    return names & namespace.keys()


def _add_names(text: str, names: set[str]) -> None:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            _add_names(node.value, names)


def names_in_disguise(code: CodeType, namespace: dict[str, Any]) -> set[str]:
    """Return the names that code may look up otherwise than as globals.

    As attributes of ``__main__``, which it imports, as keys of what ``globals()`` returns, in texts that it
    has evaluated, or in the bodies of its classes, where a name may be anything.
    """
    codes = (code, *inner_codes(code))
    used = {name for one in codes for name in one.co_names}
    names = {name for one in codes if not one.co_flags & CO_OPTIMIZED for name in one.co_names}
    if MAIN in used:
        names |= used
    if MAIN in used or used & _BY_TEXT:
        for text in (text for one in codes for text in one.co_consts if isinstance(text, str)):
            _add_names(text, names)
    return names & namespace.keys()


def cached_parts(obj: Any) -> tuple[Any, ...] | None:
    """Return the parts of a function behind `functools.lru_cache`; None for all else."""
    if type(obj) is not _CACHED:
        return None
    parameters = obj.cache_parameters()
    attributes = {name: value for name, value in vars(obj).items() if name != "__wrapped__"}
    return obj.__wrapped__, parameters["maxsize"], parameters["typed"], attributes


def dispatching_parts(func: FunctionType) -> tuple[Any, ...] | None:
    """Return the parts of a function of `functools.singledispatch`; None for all others."""
    registry, register = getattr(func, "registry", None), getattr(func, "register", None)
    if registry is None or getattr(register, "__qualname__", "") != "singledispatch.<locals>.register":
        return None
    return registry[object], [(kind, other) for kind, other in registry.items() if kind is not object]
