"""Pickling of user code and data: the only module that imports cloudpickle.

The control plane may not reach it, directly or through others: it never unpickles. Plain pickle comes
first because it is ten times faster; what it refuses (lambdas, closures, local classes) goes through
cloudpickle. What modules have under a name is a reference, ``__main__`` included: whoever reads it is in the
same world, and what of ``__main__`` travels does so by `pickled`, name by name.
"""

import builtins
import functools
import hashlib
import io
import operator
import pickle
import sys
import threading
from collections.abc import Callable
from types import CellType, CodeType, FunctionType
from typing import Any, Final, NamedTuple, TypeVar

import cloudpickle

from taskyard_contract import code_lines, durable_names
from taskyard_contract.languages.encoding_names import PICKLE
from taskyard_contract.parts import classes, ordering
from taskyard_contract.parts.classes import versions
from taskyard_contract.parts.making import CONTENT_BYTES, Made
from taskyard_contract.parts.making import PROTOCOL as PROTOCOL  # others ask for it here
from taskyard_contract.parts.noting import Noting
from taskyard_contract.values.layout import LaidOut
from taskyard_contract.world import bound_methods, main_module, module_names
from taskyard_contract.world.main_module import Entry
from taskyard_contract.world.script_names import MAIN

ENCODING: Final = PICKLE

IN_MAIN: Final = b"__main__"
"""Is in every pickle that refers to something of the main module."""
APART_BYTES: Final = 64 * 1024
"""Buffers of fewer bytes stay in the pickle."""
_SIMPLE: Final = frozenset({int, float, bool, str, type(None)})
_PLAIN_BYTES: Final = frozenset({bytes, bytearray})
loads = pickle.loads


def dumps(value: Any) -> bytes:
    """Pickle a value for another process of the same program.

    What lies in the program's ``__main__`` is written as a reference by name; whoever reads it has a
    ``__main__`` with that name in it, see `main_module`.

    Raises:
        pickle.PicklingError, TypeError, AttributeError: The value cannot be pickled.
    """
    try:
        data = pickle.dumps(value, PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError):
        return dumps_by_value(value)
    if _noted.threads and IN_MAIN in data and _noted.here.names is not None:
        Noting(_noted.here.names).dump(value)
    return data


def dumps_apart(value: Any) -> bytes | LaidOut:
    """Pickle a value with its large buffers beside the pickle, if it has any: they are not copied.

    Returns:
        A pickle like any other, or the pieces of a laid out value (`BUFFERS`), which are its own memory.

    Raises:
        pickle.PicklingError, TypeError, AttributeError: The value cannot be pickled.
    """
    if type(value) in _SIMPLE:
        return pickle.dumps(value, PROTOCOL)
    if type(value) in _PLAIN_BYTES and len(value) >= APART_BYTES:
        stream: list[bytes] = []  # pickle hands large bytes on as they are
        pickle.Pickler(_Sink(stream.append), PROTOCOL).dump(value)
        return LaidOut(stream, ())
    buffers: list[memoryview] = []
    take = functools.partial(_take, buffers)
    try:
        data = pickle.dumps(value, PROTOCOL, buffer_callback=take)
    except (pickle.PicklingError, TypeError, AttributeError):
        buffers.clear()
        data = _dumped(value, Travelling(_noted.here.names, take))
    return LaidOut([data], buffers) if buffers else data


def _take(buffers: list[memoryview], buffer: pickle.PickleBuffer) -> bool:
    """Say whether a buffer stays in the pickle; otherwise it is added to `buffers`."""
    view = buffer.raw()
    if len(view) < APART_BYTES:
        return True
    buffers.append(view)
    return False


def dumps_by_value(value: Any) -> bytes:
    """Pickle a value with the code it refers to, where that code cannot be imported elsewhere."""
    return _dumped(value, Travelling(_noted.here.names))


def dumps_for_later(value: Any) -> bytes | LaidOut:
    """Pickle a value that other programs may read: with what it is made of of ``__main__``, see `apart`.

    Raises:
        pickle.PicklingError, TypeError, AttributeError: The value cannot be pickled.
    """
    data = dumps_apart(value)
    if IN_MAIN not in (data if isinstance(data, bytes) else data.pieces[1]):
        return data
    data = dumps(value)
    try:
        entries = _entries_of(names_in(value))
    except Exception:  # foreign code; programs that have the names can read it all the same
        return data
    return pickle.dumps(Made(durable_names.apart, [tuple(entry) for entry in entries], data), PROTOCOL)


def _entries_of(names: set[str]) -> list[Entry]:
    """Return the entries of names of ``__main__``, and of all names that these refer to."""
    namespace = vars(main_module.current())
    entries: dict[str, Entry] = {}
    left = list(names)
    while left:
        name = left.pop()
        if name in entries or name not in namespace:
            continue
        value = namespace[name]
        entries[name] = main_module.entry_of(value) or pickled(value, name).entry
        left += entries[name].names
    return [entries[name] for name in sorted(entries)]


class Pickled(NamedTuple):
    """Something of ``__main__``, by value; all else of ``__main__`` in it is a reference by name."""

    entry: Entry
    functions: tuple[FunctionType, ...]
    """The functions that are in it by value."""
    attributed: tuple[Any, ...]
    """What is in it with all its attributes: classes, and functions of `functools.singledispatch`."""
    builtins: frozenset[str]
    """What its functions use of Python itself, for as long as ``__main__`` has nothing of that name."""


def pickled(value: Any, name: str = "") -> Pickled:
    """Pickle what ``__main__`` has under a name, or something that uses ``__main__``, by value.

    Raises:
        pickle.PicklingError, TypeError, AttributeError: It cannot be pickled.
    """
    pickler = Travelling()
    pickler.root, pickler.is_code = name, True
    data = _dumped(value, pickler)
    content = hashlib.sha256(data).digest()[:CONTENT_BYTES]
    names, wished = (tuple(sorted(some - {name})) for some in (pickler.names, pickler.wished))
    return Pickled(
        Entry(name, content, data, names, wished, versions.number_of(name, value)),
        tuple(pickler.functions),
        tuple(pickler.attributed),
        frozenset(pickler.builtins),
    )


def names_in(value: Any) -> set[str]:
    """Return the names of ``__main__`` that a value, which can be pickled, refers to."""
    here = _noted.here
    before, here.names = here.names, set()
    _noted.threads.add(thread := threading.get_ident())
    try:
        dumps(value)
        return here.names
    finally:
        here.names = before
        if before is None:
            _noted.threads.discard(thread)


def _can_travel(value: Any, name: str) -> bool:
    try:
        pickled(value, name)
    except Exception:  # pickling runs foreign code
        return False
    return True


def _main_names() -> dict[str, Any]:
    return vars(main_module.current())


def _dumped(value: Any, pickler: Any) -> bytes:
    pickler.dump(value)
    data: bytes = pickler.file.getvalue()
    return data


class _Sink(NamedTuple):
    """Takes a stream as the pieces that pickle writes."""

    write: Callable[[bytes], None]


class _Here(threading.local):
    names: set[str] | None = None


class _Noted:
    """Who notes names. Asked for each value that is pickled: an empty set answers for nearly all of them."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.here = _Here()


_noted: Final = _Noted()


class Travelling(cloudpickle.CloudPickler):  # type: ignore[misc]  # its package has no types
    """Writes code so that it is in the worker what it is here.

    What a module has under its own name is a reference, also when a decorator stands before it. Other code
    of a module (lambdas, local functions, functions that were replaced) travels by value, on the globals of
    the very module, which exist once there as here. ``__main__`` is such a module too.
    Code has its file and its lines, which cloudpickle leaves out, from 3.1.3 on both.
    """

    root = ""
    """The name of ``__main__`` whose value is being written, so that it cannot be a reference to itself."""
    is_code = False
    """Whether objects that ``__main__`` has as well are the same for whoever reads this, as functions are."""

    def __init__(self, names: set[str] | None = None, apart: Callable[[Any], Any] | None = None) -> None:
        self.file = io.BytesIO()
        super().__init__(self.file, protocol=PROTOCOL, buffer_callback=apart)
        self.names = set() if names is None else names
        """Names of ``__main__`` that what is written refers to."""
        self.wished: set[str] = set()
        """Names that it may look for, and that need not be there."""
        self.functions: list[FunctionType] = []
        self.attributed: list[Any] = []
        self.builtins: set[str] = set()
        self._inside: set[CodeType] = set()
        self._globals: dict[str, module_names.Globals] = {}
        self._named: dict[int, str] | None = None
        self._cells: dict[int, tuple[str, int]] | None = None

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is CodeType:
            return self._code(obj)
        if kind is module_names.Globals:
            return durable_names.globals_of, (obj.module, obj.names) if obj.names else (obj.module,)
        if kind is CellType and id(obj) in self._shared_cells():
            self.names.add(self._shared_cells()[id(obj)][0])
            return durable_names.cell_of, self._shared_cells()[id(obj)]
        if kind is io.TextIOWrapper and obj not in (sys.stdout, sys.stderr):
            # Cloudpickle would send what is in it, which is no file any more.
            raise pickle.PicklingError(
                f"an open file ({getattr(obj, 'name', '')!r}) is of this process alone"
            )
        if kind is functools.cached_property:  # in 3.11 it has a lock
            return durable_names.cached_property, (obj.func, obj.attrname)
        name = module_names.qualname_of(obj)
        if name is None:
            return self._global(obj)
        module = obj.__module__
        top = name.partition(".")[0]
        if module == MAIN and top == self.root and name == top:
            return self._named_value(obj, top)
        if module != MAIN or top != self.root:
            place = module_names.place_of(obj, module, name)
            if place is not None:
                if module == MAIN:
                    self.names.add(top)
                return place if type(place) is str else (durable_names.part_of, (module, name, place))
            other = self._name_of(obj)
            if other == self.root and other:
                return self._named_value(obj, other)
            if other:
                self.names.add(other)
                return durable_names.part_of, (MAIN, other, ())
        return self._by_value(obj)

    def _name_of(self, obj: Any) -> str:
        """Return the name that ``__main__`` has for what calls itself otherwise: a lambda, for example."""
        if self._named is None:
            self._named = {id(one): name for name, one in _main_names().items() if not name.startswith("__")}
        return self._named.get(id(obj), "")

    def _shared_cells(self) -> dict[int, tuple[str, int]]:
        """Return the variables of closures that others of ``__main__`` have: they are one for all."""
        if self._cells is None:
            found = classes.cells_of(_main_names()) if self.is_code else {}
            self._cells = {cell: place for cell, place in found.items() if place[0] != self.root}
        return self._cells

    def _global(self, obj: Any) -> Any:
        """Write what says its own name as a reference, but not to itself."""
        place = bound_methods.place_of(obj)
        if place is not None:
            return durable_names.part_of, (*place, ())
        name = classes.global_name_of(obj)
        if name is not None:
            if _main_names().get(name) is not obj:
                return NotImplemented
            if name == self.root:
                make, args, *state = classes.parts_of_global(obj)
                return durable_names.main_value, (name, make, args), *state
            self.names.add(name)
            return name
        if self.is_code and ordering.is_plain_object(type(obj)) and type(obj) not in self.dispatch_table:
            return self._shared(obj)
        if type(obj) is TypeVar and self.root:
            return ordering.without_drawn(cloudpickle.CloudPickler.dispatch_table[TypeVar](obj))
        return NotImplemented

    def _shared(self, obj: Any) -> Any:
        """Write an object that ``__main__`` has as a reference: it is one object for all that have it."""
        name = self._name_of(obj)
        if not name:
            return NotImplemented
        if name != self.root:
            self.names.add(name)
            return durable_names.part_of, (MAIN, name, ())
        make, args, *state = obj.__reduce_ex__(PROTOCOL)
        return durable_names.main_value, (name, make, args), *state

    def _by_value(self, obj: Any) -> Any:
        if isinstance(obj, type):
            parts = classes.generic_parts(obj)
            if parts is not None:
                return operator.getitem, parts
            self.attributed.append(obj)
            if obj.__module__ == MAIN:
                self.wished |= module_names.names_in_texts(
                    vars(obj).get("__annotations__", {}), _main_names()
                )
            reduced = super().reducer_override(obj)
            if not isinstance(reduced, tuple) or len(reduced) == 2:  # it has a name after all
                return reduced
            return classes.completed(obj, ordering.without_drawn(reduced) if self.root else reduced)
        if type(obj) is not FunctionType:
            parts = module_names.cached_parts(obj)
            return NotImplemented if parts is None else (durable_names.cached_function, parts)
        parts = module_names.dispatching_parts(obj)
        if parts is not None:
            self.attributed.append(obj)
            return durable_names.dispatching_function, parts
        return super().reducer_override(obj)

    def _named_value(self, obj: Any, name: str) -> Any:
        """Write a value that may refer to itself by its name while it is read."""
        reduced = self._by_value(obj)
        if reduced is NotImplemented:
            reduced = obj.__reduce_ex__(PROTOCOL)
        if isinstance(reduced, str):
            reduced = classes.parts_of_global(obj)
        make, args, *rest = reduced
        return durable_names.main_value, (name, make, args), *rest

    def _dynamic_function_reduce(self, func: FunctionType) -> Any:
        reduced = super()._dynamic_function_reduce(func)
        self.functions.append(func)
        module = module_names.module_with(func.__globals__)
        if module is None:
            return reduced
        make, (code, _, *others, cells), (state, slots), *rest = reduced
        if cells and self._shared_cells():  # else cloudpickle makes each of them anew
            own = zip(func.__closure__ or (), cells, strict=True)
            cells = tuple(cell if id(cell) in self._shared_cells() else new for cell, new in own)
        where = self._globals.setdefault(module, module_names.Globals(module))
        if module == MAIN:
            namespace = func.__globals__
            used = cloudpickle.cloudpickle._extract_code_globals(func.__code__)
            # Those that are missing may be there at the next call, and are looked for then.
            python = {name for name in used if name not in namespace and hasattr(builtins, name)}
            self.builtins |= python
            self.names.update(set(used) - python)
            disguised = module_names.names_in_disguise(func.__code__, namespace)
            if not self.is_code:  # nobody asks later what was wished
                named = {name for name in disguised if _can_travel(namespace[name], name)}
                self.names |= named
                where = module_names.Globals(module, tuple(sorted(set(used) & namespace.keys() | named)))
            self.wished |= module_names.names_in_texts(func.__annotations__, namespace) | disguised
        slots["__globals__"] = {}
        return make, (code, where, *others, cells), (state, slots), *rest

    def _code(self, code: CodeType) -> Any:
        lines = "" if code in self._inside else code_lines.lines_of(code)
        # What is inside of it comes next, and its lines are among those of the whole.
        self._inside.update(code_lines.inner_codes(code))
        arguments = tuple(map(ordering.ordered, _arguments_of(code)))
        return durable_names.code, (arguments, code.co_filename, lines)


def _arguments_of(code: CodeType) -> tuple[Any, ...]:
    """Return what makes a code object again; which arguments that takes, cloudpickle knows."""
    _, arguments = cloudpickle.CloudPickler.dispatch_table[CodeType](code)
    return tuple(arguments)
