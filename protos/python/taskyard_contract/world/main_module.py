"""The program's ``__main__`` in another process, filled by name with what its runs use of it.

Code of a script or a notebook lives in ``__main__``, which no other process can import. What runs use of it
travels as *entries*: a name, the id of its content and a pickle of the value alone, in which everything else
of ``__main__`` is a reference by name. Here they are put into a module ``__main__``, so functions see one
another's globals, and `pickle`, `multiprocessing`, type hints and `isinstance` find what they find at home.

An entry whose content is here already *is* the object that is here: state that runs keep in it stays, and a
class is one class for all runs. Where two templates bring different contents under one name (a cell of a
notebook was edited between them), the chunk that is executed decides (`Names.bind`), one comparison a chunk.
What no code names but values may be made of, classes above all, waits in its pickle until somebody asks.
Invariant: a name is bound to what its latest entry says, or to what runs have made of it since.
"""

import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any, Final, NamedTuple

from taskyard_contract.world import bound_methods, module_parts
from taskyard_contract.world.script_names import MAIN

MOST_BYTES: Final = 64 * 1024
"""Values with a larger pickle are looked at rarely: that takes longer than a call of a task may."""
_SLOTS: Final = (GetSetDescriptorType, MemberDescriptorType)
_UNCHANGING: Final = (str, bytes, int, float, complex, type(None), frozenset, ModuleType, type, FunctionType)


class Entry(NamedTuple):
    """One name of a program's ``__main__``."""

    name: str
    content: bytes
    """An id of what the value is made of; equal contents have equal ids."""
    data: bytes
    """The pickled value; nothing, when the program has no such name any more."""
    names: tuple[str, ...] = ()
    """Names of ``__main__`` that it refers to."""
    wished: tuple[str, ...] = ()
    """Names that it may look for, and that need not be there."""
    identity: int = 0
    """The number of the class, among those that have had this name: with another content it may be the same
    one, of which only attributes have changed. 0 for what is no class."""


class Names:
    """The entries that came with some code, and the parts of modules."""

    __slots__ = ("parts", "reached", "waiting")

    def __init__(
        self,
        reached: Iterable[Sequence[Any]],
        waiting: Iterable[Sequence[Any]] = (),
        parts: Iterable[Sequence[Any]] = (),
    ) -> None:
        """Take what came.

        Args:
            reached: Entries that the code names.
            waiting: Entries that are read when somebody asks for them.
            parts: What the program has made of its modules, see `module_parts`.
        """
        self.parts = tuple(parts)
        self.reached = tuple(Entry(*entry) for entry in reached)
        self.waiting = tuple(Entry(*entry) for entry in waiting)

    def bind(self) -> None:
        """Let ``__main__`` have these names; cheap when it had them last."""
        _main.bind(self)


class Watched:
    """A value as it was when it came; of a class its attributes."""

    __slots__ = ("_attributes", "_changing", "_value")

    def __init__(self, value: Any) -> None:
        """Look at a value."""
        self._value = value
        self._attributes = _attributes(value)
        parts = ((one, plain_pickle(one)) for one in (value, *self._attributes.values()))
        self._changing = [(one, data) for one, data in parts if data is not None]

    def is_still(self, value: Any) -> bool:
        """Say whether a value is that one, and as it was."""
        if value is not self._value or any(plain_pickle(one) != data for one, data in self._changing):
            return False
        if not self._attributes:
            return True
        now = _attributes(value)
        return now.keys() == self._attributes.keys() and all(
            now[name] is one for name, one in self._attributes.items()
        )


def _attributes(kind: Any) -> dict[str, Any]:
    """Return what a class has; nothing for all other values."""
    if not isinstance(kind, type):
        return {}
    return {name: one for name, one in vars(kind).items() if not name.startswith(("__", "_abc_"))}


class _ReadMeanwhile(BaseException):
    """An entry was read while what it is made from was read."""


class _Main:
    """What has come into this process's ``__main__``."""

    def __init__(self) -> None:
        self.module: ModuleType | None = None
        self._last: Names | None = None
        self._bound: dict[str, bytes] = {}
        self._waiting: dict[str, Entry] = {}
        self._values: dict[tuple[str, bytes], Any] = {}
        self._entries: dict[int, Entry] = {}  # by the ids of values, all of which `_values` keeps
        self._watched: dict[str, Watched] = {}
        self._changed: dict[str, type] = {}
        """Classes that get other attributes when they are read the next time."""
        self._said: set[str] = set()
        self._reading: dict[str, Entry] = {}

    def current(self) -> ModuleType:
        """Return the module: in a program its own."""
        return sys.modules[MAIN] if self.module is None else self.module

    def begin(self, module: ModuleType) -> None:
        """Use a module from now on."""
        self.__init__()  # type: ignore[misc]  # what came into another one is not here
        module.__dict__.setdefault("__builtins__", __builtins__)
        module.__getattr__ = self._ask  # type: ignore[method-assign]
        self.module = sys.modules[MAIN] = module

    def bind(self, names: Names) -> None:
        if names is self._last:
            return
        if names.reached or names.waiting:
            self._bind_names(names)
        if names.parts:
            module_parts.apply(names.parts)
        self._last = names

    def _bind_names(self, names: Names) -> None:
        if self.module is None:  # nobody has said how it should look
            self.begin(ModuleType(MAIN))
        needed = [entry.name for entry in names.reached]
        for entry in (*names.reached, *names.waiting):
            if self._bound.get(entry.name) != entry.content and self._replaced(entry):
                needed.append(entry.name)  # functions that use it are there, and will not ask
        for name in needed:
            if name in self._waiting:
                self._read(name)

    def _replaced(self, entry: Entry) -> bool:
        """Let an entry wait in the place of what has its name; returns whether anything had it."""
        had = self._bound.pop(entry.name, b"") != b""
        self._keep_class(entry)
        for known in (self._watched, self.current().__dict__):
            known.pop(entry.name, None)
        if entry.data:
            self._waiting[entry.name] = entry
        else:
            self._waiting.pop(entry.name, None)
            self._bound[entry.name] = entry.content
        return had

    def _keep_class(self, entry: Entry) -> None:
        """Have a class be the same one with another content, if it is the same in the program."""
        present: Any = self.current().__dict__.get(entry.name)
        known = self._entries.get(id(present))
        if known is not None and entry.identity and known.identity == entry.identity:
            self._changed[entry.name] = present
            # What it was is nowhere any more.
            for key in [key for key, value in self._values.items() if value is present]:
                del self._values[key]
        else:
            self._changed.pop(entry.name, None)

    def made(self, name: str, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Return the value of a name before it is filled: nearly always a new one."""
        present = self._changed.pop(name, None)
        if present is None:
            return make(*args)
        for attribute, value in list(vars(present).items()):
            if not attribute.startswith(("__", "_abc_")) and not isinstance(value, _SLOTS):
                type.__delattr__(present, attribute)  # all that it has now is set again
        return present

    def _ask(self, name: str) -> Any:
        """Be the module's ``__getattr__``."""
        if name not in self._waiting and name not in self._reading:
            raise AttributeError(f"module '{MAIN}' has no attribute '{name}'")
        return self._read(name)

    def _read(self, name: str) -> Any:
        """Read an entry, perhaps while it is being read already.

        What a class is made from (its base classes, say) may hold the class itself in what is filled in
        later. Then it is made there, in the second reading, and the first one is given up.
        """
        again = name in self._reading
        entry = self._reading.pop(name) if again else self._waiting.pop(name)
        value = self._values.get(entry[:2], self)
        if value is self:
            value = self._loaded(entry, again)
        self._bind(entry, value)
        for other in entry.names:  # nothing asks for the globals of a function: they are there, or not
            if other in self._waiting:
                self._read(other)
        return value

    def _loaded(self, entry: Entry, again: bool) -> Any:
        name = entry.name
        if not again:
            self._reading[name] = entry
        try:
            return pickle.loads(entry.data)
        except _ReadMeanwhile as meanwhile:
            if meanwhile.args != (name,):
                raise
            return self._values[entry[:2]]
        except BaseException as error:
            self.current().__dict__.pop(name, None)
            self._waiting[name] = entry
            error.add_note(f"(while '{name}' of the program's main module was loaded)")
            raise
        finally:
            self._reading.pop(name, None)

    def _bind(self, entry: Entry, value: Any) -> None:
        self._values[entry[:2]] = self.current().__dict__[entry.name] = value
        if _has_identity(value):
            self._entries[id(value)] = entry
        self._bound[entry.name] = entry.content
        self._watched[entry.name] = Watched(value)

    def altered(self) -> list[str]:
        """Return the names that runs have bound anew, or whose values they have changed; each once."""
        if not self._watched:
            return []
        namespace = self.current().__dict__
        names = [
            name
            for name, watched in self._watched.items()
            if name not in self._said and not watched.is_still(namespace.get(name))
        ]
        self._said.update(names)
        return names

    def begin_value(self, name: str) -> None:
        """Go on with making a value, unless that has been done while its parts were read."""
        if name in self._bound:
            raise _ReadMeanwhile(name)

    def begun(self, name: str, value: Any) -> None:
        """Bind a value that is still being filled: it may refer to itself by its name."""
        self.current().__dict__[name] = value

    def entry_of(self, value: object) -> Entry | None:
        """Return the entry that a value came in."""
        return self._entries.get(id(value))


def _has_identity(value: object) -> bool:
    """Say whether a value is code, which travels on as it came; all else may have been changed since."""
    return isinstance(value, FunctionType | type) or own_name(value) is not None


def is_changing(value: object) -> bool:
    """Say whether a value is data that can change in place."""
    if isinstance(value, _UNCHANGING) or own_name(value) is not None:
        return False
    return bound_methods.place_of(value) is None


def plain_pickle(value: object) -> bytes | None:
    """Return the pickle of a value that can change in place, if it is not large; None for all others."""
    if not is_changing(value):
        return None
    try:
        data = pickle.dumps(value)
    except Exception:  # foreign code; it travels by another way, and is compared by identity only
        return None
    return data if len(data) <= MOST_BYTES else None


def own_name(value: object) -> str | None:
    """Return the qualified name that an object carries itself, as decorated functions do."""
    attributes = getattr(value, "__dict__", None) if not isinstance(value, type) else None
    name = attributes.get("__qualname__") if type(attributes) is dict else None
    return name if type(name) is str else None


_main: Final = _Main()
begin = _main.begin
"""Make a module the ``__main__`` of this process, to be filled."""
begin_value = _main.begin_value
made = _main.made
begun = _main.begun
entry_of = _main.entry_of
altered = _main.altered
current = _main.current
