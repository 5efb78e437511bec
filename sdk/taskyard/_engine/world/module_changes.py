"""Where this program has changed its modules from outside of them.

A script sets an option of a module (``settings.DEBUG = True``), a test replaces a function of one, classes
and functions of the script are registered in a dictionary of one. Workers import the modules and run none of
that, so what was made of them has to travel. Two looks find it:

- the **texts** of the script, of cells and of local modules: which attributes of other modules they set, and
  which containers of theirs they fill. A pattern finds that; a place too many does no harm;
- **containers** of local modules, and of their classes, that hold something of the script, or something of a
  module that theirs does not import. The latter is there as soon as that module is imported.

What a module does to its own globals counts for nothing here: a worker's module does so itself.
"""

import sys
from abc import ABCMeta
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, Final, NamedTuple

from taskyard._engine.world.local_modules import local_modules
from taskyard._engine.world.module_texts import Text, Texts
from taskyard_contract.parts import classes
from taskyard_contract.world.module_names import is_importable
from taskyard_contract.world.module_parts import CONTAINERS, is_plain
from taskyard_contract.world.script_names import MAIN

MOST_ITEMS: Final = 1000
"""Of a container that is looked into: what is registered is less."""
REGISTER: Final = "register"
"""The method of abstract classes, and of generic functions, by which others get there."""
_DEPTH: Final = 2
"""Containers in containers: handlers by kind."""
Modules = Mapping[str, ModuleType]
"""Local modules by their names."""


class Place(NamedTuple):
    """Something in a local module."""

    module: str
    path: tuple[str, ...]
    """The attributes that lead to it; none for the module itself."""

    def value(self) -> Any:
        """Return what is there; of a class as it stands there, a static method for example.

        Raises:
            AttributeError, KeyError: Nothing is.
        """
        owner: Any = reduce(getattr, self.path[:-1], sys.modules[self.module])
        if not self.path:
            return owner
        name = self.path[-1]
        return vars(owner)[name] if is_class(owner) and name in vars(owner) else getattr(owner, name)


class ModuleChanges:
    """Finds what this program has changed in its modules."""

    def __init__(self) -> None:
        """Have looked at nothing yet."""
        self._texts = Texts()

    def places(self) -> set[Place]:
        """Return where something may have been changed, and modules that only have to be imported."""
        modules = dict(local_modules())
        texts = self._texts.of(modules)
        found = set(_held_from_outside(modules, texts))
        main = vars(sys.modules[MAIN])
        for name, text in (*texts.items(), *((MAIN, text) for text in self._texts.of_main())):
            namespace = main if name == MAIN else vars(modules[name])
            found.update(_changed(text, name, namespace, modules))
        return found


def _changed(text: Text, own: str, namespace: Mapping[str, Any], modules: Modules) -> Iterator[Place]:
    """Yield the places of other local modules that a text changes, as its names are bound in a namespace."""
    for dotted in text.sets:
        place = _meant(dotted, namespace, modules)
        if place is not None and place.module != own:
            yield place
    for dotted in text.fills:
        place = _meant(dotted, namespace, modules)
        if place is not None and place.module != own and type(value_at(place)) in CONTAINERS:
            yield place
    for dotted in text.sets_by_name:
        place = _named(dotted, modules)
        if place is not None:
            yield place


def in_order(places: Iterable[Place]) -> list[Place]:
    """Return places in an order that is always the same, modules to be imported first."""
    return sorted(places, key=lambda place: (bool(place.path), place))


def value_at(place: Place) -> Any:
    """Return what is at a place; None, if anything is not there any more, or will not say."""
    try:
        return place.value()
    except Exception:  # foreign code: a property, an object that is made when it is first asked
        return None


def is_class(value: object) -> bool:
    """Say whether a value is a class, without asking it: what stands for another object would make that."""
    return issubclass(type(value), type)


def is_own(place: Place, value: Any) -> bool:
    """Say whether a value is the function or class that its module has defined there.

    Raises:
        ValueError: It says so, and is one of the script: a reference would lead to the module's.
    """
    if type(value) in (staticmethod, classmethod):
        value = value.__func__
    is_function = type(value) is FunctionType
    if not (is_function or is_class(value)):
        return False
    if (value.__module__, value.__qualname__) != (place.module, ".".join(place.path)):
        return False
    if is_function and value.__globals__.get("__name__") == MAIN:
        raise ValueError("a function of the script stands there under the name of the one that it wraps")
    return True


def _meant(dotted: str, namespace: Mapping[str, Any], modules: Modules) -> Place | None:
    """Return which place of a local module a name means for a namespace."""
    first, *rest = dotted.split(".")
    root: Any = namespace.get(first)
    if issubclass(type(root), ModuleType):
        return _below(root, rest, modules)
    if is_class(root):
        is_known = root.__module__ in modules and "<" not in root.__qualname__ and rest
        return Place(root.__module__, (*root.__qualname__.split("."), *rest)) if is_known else None
    if type(root) in CONTAINERS or is_plain(root):
        home = home_of(root, modules)
        return home and Place(home.module, (*home.path, *rest))
    return None


def _named(dotted: str, modules: Modules) -> Place | None:
    parts = dotted.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = modules.get(".".join(parts[:end]))
        if module is not None:
            return _below(module, parts[end:], modules)
    return None


def _below(module: ModuleType, rest: list[str], modules: Modules) -> Place | None:
    while rest and issubclass(type(below := vars(module).get(rest[0])), ModuleType):
        module, rest = below, rest[1:]  # type: ignore[assignment]  # it is a module
    name = module.__name__
    return Place(name, tuple(rest)) if rest and modules.get(name) is module else None


def home_of(value: object, modules: Modules | None = None) -> Place | None:
    """Return where a local module has an object."""
    for name, module in local_modules() if modules is None else modules.items():
        for attribute, other in list(vars(module).items()):
            if other is value:
                return Place(name, (attribute,))
    return None


def anywhere(name: str, value: object) -> Place | None:
    """Return which module has an object under a name, installed or not."""
    for module_name, module in list(sys.modules.items()):
        namespace = getattr(module, "__dict__", None)
        if module_name != MAIN and type(namespace) is dict and namespace.get(name) is value:
            return Place(module_name, (name,)) if is_importable(module) else None
    return None


def _held_from_outside(modules: Modules, texts: Mapping[str, Text]) -> Iterator[Place]:
    """Yield what holds something of the script, and the modules of which something is held elsewhere."""
    for name, module in modules.items():
        for attribute, value in list(vars(module).items()):
            if registered_by_main(value):
                yield Place(name, (attribute, REGISTER))
        for path, value in _kept_in(name, module):
            owners: set[str] = set()
            _note_owners(value, _DEPTH, owners)
            if MAIN in owners:
                yield Place(name, path)
            owners -= {name, MAIN}
            for owner in owners & modules.keys():
                if not texts[name].may_import(owner):
                    yield Place(owner, ())


def registered_by_main(value: Any) -> list[tuple[Any, ...]]:
    """Return what of the script is registered with an abstract class or a generic function, with what for."""
    if issubclass(type(value), ABCMeta):
        kinds = sorted(classes.registered_with(value), key=lambda kind: kind.__qualname__)
        return [(kind,) for kind in kinds if kind.__module__ == MAIN]
    registry = getattr(value, "registry", None) if type(value) is FunctionType else None
    if type(registry) is not MappingProxyType:
        return []
    return [(kind, one) for kind, one in registry.items() if MAIN in (kind.__module__, _module_of(one))]


def _kept_in(name: str, module: ModuleType) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the containers of a module and of its classes, and what of the script it has under a name."""
    for attribute, value in list(vars(module).items()):
        if _is_kept(attribute, value):
            yield (attribute,), value
        elif is_class(value) and value.__module__ == name and value.__qualname__ == attribute:
            for inner, held in list(vars(value).items()):
                if _is_kept(inner, held):
                    yield (attribute, inner), held


def _is_kept(name: str, value: object) -> bool:
    return (type(value) in CONTAINERS or _module_of(value) == MAIN) and not name.startswith("__")


def _module_of(value: Any) -> Any:
    return value.__module__ if type(value) is FunctionType or is_class(value) else None


def _note_owners(value: Any, depth: int, owners: set[str]) -> None:
    """Note the modules of the functions, classes and objects that containers hold."""
    kind = type(value)
    if kind in CONTAINERS:
        if depth and len(value) <= MOST_ITEMS and kind is not bytearray:
            for item in (*value, *value.values()) if isinstance(value, dict) else list(value):
                _note_owners(item, depth - 1, owners)
    elif kind not in _PLAIN:
        owners.add(_module_of(value) or kind.__module__)


_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None), tuple})
