"""The names of the contract that pickles hold, for whoever writes them below the SDK.

Pickles lie in databases for years and name functions by module, so this module is never renamed, nothing is
ever removed from it, and a function gets further arguments only with defaults that mean what their absence
meant before. They take plain values, never classes of ours.
"""

import functools
import pickle
import zlib
from collections.abc import Callable
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any, Final

from taskyard_contract import code_lines
from taskyard_contract.world import apart as reading_apart
from taskyard_contract.world import main_module, module_parts, script_names


def exception(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """Return an exception whose constructor wants other arguments than it was made with."""
    error: BaseException = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(attributes)
    return error


def code(args: tuple[Any, ...], filename: str, lines: str = "") -> CodeType:
    """Return a code object that travelled by value, and let tracebacks show its lines.

    Args:
        args: What `CodeType` takes, in this minor version of Python.
        filename: Its file where it was pickled.
        lines: The text of its lines; "" for a code object inside of another one.
    """
    return code_lines.arrived(CodeType(*args).replace(co_filename=filename), lines)


def main_code(
    reached: list[tuple[Any, ...]],
    waiting: list[tuple[Any, ...]] | bytes,
    body: bytes,
    parts: list[tuple[Any, ...]] | tuple[()] = (),
) -> Any:
    """Return code of a program, with what it uses of the program's ``__main__`` in place.

    Args:
        reached: Entries of ``__main__`` that the code names: name, id of the content, pickle.
        waiting: Entries that its values may be made of; a zlib stream of their pickle where they are many.
        body: The pickled code.
        parts: What the program has made of its modules: module, attributes, id of the content, pickle.
    """
    others = pickle.loads(zlib.decompress(waiting)) if isinstance(waiting, bytes) else waiting
    names = main_module.Names(reached, others, parts)
    names.bind()
    code = pickle.loads(body)
    code.main_names = names
    return code


def apart(entries: list[tuple[Any, ...]], data: bytes) -> Any:
    """Return a value of a program's ``__main__``, also in a program that has other things in its own."""
    return reading_apart.read(entries, data)


def main_value(name: str, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Return a value of ``__main__`` whose state follows, which may refer to it by its name."""
    main_module.begin_value(name)
    value = main_module.made(name, make, args)
    main_module.begun(name, value)
    return value


def globals_of(module: str, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the globals of a module, for a function of it that has no name there.

    Args:
        module: The module.
        names: What the function looks for in them: some of ``__main__`` are made when they are asked for, and
            code that looks into its globals does not ask.
    """
    if module != script_names.MAIN:
        return vars(import_module(module))
    main = main_module.current()
    for name in names:
        getattr(main, name, None)
    return vars(main)


def part_of(module: str, qualname: str, path: tuple[str, ...]) -> Any:
    """Return what lies behind a name: the function, for example, that a decorator has wrapped."""
    found: Any = main_module.current() if module == script_names.MAIN else import_module(module)
    for name in (*qualname.split("."), *path):
        found = getattr(found, name)
    return found


def module_value(module: str, path: tuple[str, ...], value: Any) -> Any:
    """Return the object that a module has at a place, with the contents of a value."""
    return module_parts.place(module, path, value)


def registered(module: str, path: tuple[str, ...], others: list[tuple[Any, ...]]) -> Any:
    """Register what a program has registered with an abstract class, or a generic function, of a module."""
    return module_parts.register(module, path, others)


def cell_of(name: str, index: int) -> Any:
    """Return a variable of the closure of a function in ``__main__``."""
    return getattr(main_module.current(), name).__closure__[index]


def cached_function(
    fn: Callable[..., Any], maxsize: int | None, typed: bool, attributes: dict[str, Any]
) -> Any:
    """Return what `functools.lru_cache` makes of a function, with nothing in it."""
    made = functools.lru_cache(maxsize, typed)(fn)
    vars(made).update(attributes)
    return made


def cached_property(fn: Callable[..., Any], name: str | None) -> Any:
    """Return a `functools.cached_property`, which knows the attribute that it is."""
    made = functools.cached_property(fn)
    made.attrname = name
    return made


def dispatching_function(fn: Callable[..., Any], others: list[tuple[type, Any]]) -> Any:
    """Return what `functools.singledispatch` makes of a function, with those that were registered."""
    made = functools.singledispatch(fn)
    for kind, other in others:
        made.register(kind, other)
    return made


def class_of(meta: Any, name: str, bases: tuple[Any, ...], namespace: dict[str, Any]) -> Any:
    """Return a class of which neither its base classes nor code of ``__main__`` hear: they have already."""
    maker = next(one for one in meta.__mro__ if one.__module__ != script_names.MAIN)
    for untold in _UNTOLD if bases and bases != (object,) else ():
        try:
            made = maker.__new__(meta, name, (untold, *bases), namespace)
            made.__bases__ = bases
        except TypeError:  # its instances would have something that those of the bases have not
            continue
        return made
    return maker.__new__(meta, name, bases, namespace)


def _hear(cls: Any, /, **options: Any) -> None:
    """Be the ``__init_subclass__`` of what stands before the bases of a class while it is made."""


_UNTOLD: Final = (
    type("Untold", (), {"__init_subclass__": classmethod(_hear)}),
    type("Untold", (), {"__init_subclass__": classmethod(_hear), "__slots__": ()}),
)


def enum_member(kind: Any, arguments: tuple[Any, ...], value: Any) -> Any:
    """Be ``__new__`` of an enum while its class is made."""
    member = kind._member_type_.__new__(kind, *arguments)
    member._value_ = value
    return member


def enum_member_made(member: Any, arguments: tuple[Any, ...], value: Any) -> None:
    """Be ``__init__`` of an enum while its class is made: what its own does has been done."""


def enum_filled(kind: Any, state: tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]) -> None:
    """Set the attributes of an enum and of its members."""
    attributes, members = state
    for name, own in (("__init__", enum_member_made), ("__new_member__", enum_member)):
        if vars(kind).get(name) is own:
            delattr(kind, name)
    for name, value in attributes.items():
        setattr(kind, name, value)
    for name, values in members:
        vars(kind[name]).update(values)


def type_parameter(
    kind: Any,
    name: str,
    constraints: tuple[Any, ...] = (),
    bound: Any = None,
    options: dict[str, bool] | None = None,
) -> Any:
    """Return a `TypeVar`, `ParamSpec` or `TypeVarTuple` of ``__main__``."""
    limits = {} if bound is None else {"bound": bound}
    made = kind(name, *constraints, **limits, **(options or {}))
    made.__module__ = script_names.MAIN
    return made


def type_alias(kind: Any, name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    """Return what ``type X = ...`` makes in ``__main__``: its module is that of the code which makes it."""
    made = FunctionType(_alias.__code__, {"__name__": script_names.MAIN})
    return made(kind, name, value, parameters)


def _alias(kind: Any, name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    return kind(name, value, type_params=parameters)


def instance(kind: type) -> Any:
    """Return an empty instance of a class; its state follows."""
    return object.__new__(kind)
