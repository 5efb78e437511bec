"""What the code and the arguments of runs use of this program's ``__main__``, ready to travel.

Each name is pickled by itself and once, whatever refers to it; code takes along what it reaches of them.
What a script changes afterwards (a cell of a notebook is run again, a list grows) is noticed by `Seen` at the
next call, and only what changed is pickled again.
Invariant: code whose `Seen` holds finds in a worker the ``__main__`` that it would find here.
"""

import os
import threading
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from taskyard._data.identity.installed import is_installed
from taskyard._engine.world.module_changes import anywhere, home_of
from taskyard._engine.world.module_state import KeptPart, ModuleState
from taskyard._engine.world.seen import PAUSE_NS, Look, Seen, seen_of
from taskyard.exceptions import NotPicklable
from taskyard_contract import pickling
from taskyard_contract.parts import making
from taskyard_contract.world import main_module
from taskyard_contract.world.main_module import MOST_BYTES, Entry, is_changing
from taskyard_contract.world.script_names import MAIN, is_of_a_script


class Code(NamedTuple):
    """Code that is ready to travel."""

    data: bytes
    names: frozenset[str]
    """The names of ``__main__`` that come along."""
    seen: Seen
    """What it was made of."""


class _Kept(NamedTuple):
    entry: Entry
    seen: Seen


class MainImage:
    """The parts of ``__main__`` that have been asked for. Thread-safe."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._kept: dict[str, _Kept] = {}
        self._wanted: set[str] = set()
        self._modules = ModuleState()
        self._lock = threading.RLock()

    def unlock(self) -> None:
        """Be usable in a fork: the lock may be held by a thread that is not there."""
        self._lock = threading.RLock()

    def code_of(self, title: str, body: object, names: Iterable[str] = ()) -> Code:
        """Pickle code by value, with what it uses of ``__main__``.

        Args:
            title: What it is called in errors.
            body: What the worker unpickles.
            names: Names that arguments refer to. They come along with all code from now on.

        Raises:
            NotPicklable: It uses something that cannot travel.
        """
        with self._lock:
            packed = _tried(title, body)
            reached = self._reached(title, packed.entry)
            wanted = self._wanted_ones(title, set(names))
            parts, held, changes = self._parts()
            wanted |= held
            kinds, others = self._waiting(reached.keys() | wanted.keys())
            asked_for = [one.entry for name, one in wanted.items() if name not in reached]
            found = {one.entry.name: one for one in others if _is_found_by_base(one.entry.name, reached)}
            others_waiting = [one.entry for one in others if one.entry.name not in found]
            waiting = [*asked_for, *others_waiting, *self._gone()]
        used = [*reached.values(), *wanted.values()]
        looks = *(one.seen for one in used), *(one.seen for one in parts), changes
        seen = Seen.all_of([seen_of(packed, "", body), *looks])
        if not (reached or found or waiting or parts):
            return Code(packed.entry.data, frozenset(), seen)
        rest = Seen.all_of([one.seen for one in others])
        later = Look(PAUSE_NS, lambda: _classes_of_main() == kinds and rest.holds(), is_dear=True)
        made = [one.part for one in parts]
        at_once = {**found, **reached}
        data = making.main_code(_with_aliases(at_once), waiting, packed.entry.data, made)
        names = frozenset(at_once) | {entry.name for entry in waiting if entry.data}
        return Code(data, names, Seen.all_of([seen, Seen(later=[later])]))

    def _reached(self, title: str, body: Entry) -> dict[str, _Kept]:
        """Return the entries that code needs, those of what they need themselves among them."""
        left = [(name, True) for name in body.names]
        return self._with_all(title, left + [(name, False) for name in body.wished])

    def _wanted_ones(self, title: str, names: set[str]) -> dict[str, _Kept]:
        """Return what arguments of runs refer to, these and earlier ones; it waits until somebody asks."""
        found: dict[str, _Kept] = {}
        self._wanted |= names
        for name in sorted(self._wanted):
            try:
                found |= self._with_all(title, [(name, True)])
            except NotPicklable:
                self._wanted.discard(name)
                if name in names:
                    raise
        return found

    def _parts(self) -> tuple[list[KeptPart], dict[str, _Kept], Seen]:
        """Return what was changed in modules, what of ``__main__`` that refers to, and what notices more."""
        found, changes = self._modules.parts()
        parts: list[KeptPart] = []
        held: dict[str, _Kept] = {}
        left_out: set[str] = set()
        for one in found:
            try:
                own = self._with_all("", [(name, True) for name in one.names])
            except NotPicklable as error:
                left_out.add(one.part.module)
                self._modules.say_left_out(one.part.module, one.part.path, error)
            else:
                held |= own
                parts.append(one.with_contents(kept.entry.content for kept in own.values()))
        return [one for one in parts if one.part.module not in left_out], held, changes

    def _with_all(self, title: str, left: list[tuple[str, bool]]) -> dict[str, _Kept]:
        """Return some names and all that they refer to; each with whether it has to be there."""
        namespace = vars(main_module.current())
        found: dict[str, _Kept] = {}
        while left:
            name, needed = left.pop()
            if name in found or name not in namespace or name in _OWN:
                continue
            try:
                kept = found[name] = self._kept_of(title, name, namespace[name])
            except NotPicklable:
                if needed:
                    raise
                continue  # only type hints, or nobody, will look for it
            left += [(other, needed) for other in kept.entry.names]
            left += [(other, False) for other in kept.entry.wished]
        return found

    def _waiting(self, reached: Iterable[str]) -> tuple[set[str], list[_Kept]]:
        """Return the script's classes, and what of them and for them code does not reach.

        Results of other runs may be made of them, so runs may need them that do not name them.
        """
        kinds = _classes_of_main()
        found = self._with_all("", [(name, False) for name in sorted(kinds)])
        kept = [one for name, one in sorted(found.items()) if name not in reached]
        return kinds, [one for one in kept if len(one.entry.data) <= MOST_BYTES]

    def _gone(self) -> list[Entry]:
        """Return the names that have been sent and are not there any more."""
        gone = self._kept.keys() - vars(main_module.current()).keys()
        return [Entry(name, b"", b"") for name in sorted(gone)]

    def _kept_of(self, title: str, name: str, value: Any) -> _Kept:
        kept = self._kept.get(name)
        if kept is not None and kept.seen.holds():
            return kept
        arrived = main_module.entry_of(value)
        if arrived is not None and arrived.name == name:
            kept = _Kept(arrived, Seen.of_name(name, value))
        else:
            kept = _packed(title, name, value)
        self._kept[name] = kept
        return kept


def _packed(title: str, name: str, value: Any) -> _Kept:
    """Return the entry of a name.

    What a module has as well is one object with that there: its contents come, if they can.
    """
    home = home_of(value) if is_changing(value) else None
    try:
        travels = value if home is None else making.in_module(home.module, home.path, value)
        packed = _tried(title, travels, name, value)
    except NotPicklable:
        home = home or anywhere(name, value)
        if home is None:
            raise
        return _Kept(making.module_reference(name, home.module, home.path), Seen.of_name(name, value))
    return _Kept(packed.entry, seen_of(packed, name, value))


def _classes_of_main() -> set[str]:
    """Name the classes of the script, also where another program has taken them over from its file."""
    return {
        name
        for name, value in vars(main_module.current()).items()
        if isinstance(value, type) and value.__qualname__ == name and is_of_a_script(value.__module__)
    }


def _is_found_by_base(name: str, reached: Iterable[str]) -> bool:
    """Say whether code may find a class of the script by a class that it is made from (`__subclasses__`)."""
    kind = vars(main_module.current()).get(name)
    bases = kind.__mro__[1:] if isinstance(kind, type) else ()
    return any(
        base.__qualname__ in reached if base.__module__ == MAIN else not is_installed(base.__module__)
        for base in bases
    )


_OWN: Final = frozenset(
    {"__name__", "__file__", "__package__", "__spec__", "__doc__", "__builtins__", "__loader__"}
)
"""What a worker's ``__main__`` has of its own."""


def _with_aliases(reached: dict[str, _Kept]) -> list[Entry]:
    """Return entries in their order; of names for one and the same value only the first has it."""
    namespace = vars(main_module.current())
    first: dict[int, str] = {}
    entries = []
    for name in sorted(reached):
        value = namespace.get(name)
        if is_changing(value):
            of = first.setdefault(id(value), name)
            if of != name:
                entries.append(making.alias(name, of))
                continue
        entries.append(reached[name].entry)
    return entries


def _tried(title: str, travels: Any, name: str = "", value: Any = None) -> pickling.Pickled:
    """Pickle something that travels, for a name and a value of ``__main__`` if it stands for these.

    Raises:
        NotPicklable: It cannot be pickled.
    """
    try:
        return pickling.pickled(travels, name)
    except Exception as error:  # pickling runs foreign code, which may raise anything
        what = f"'{name}' of the main module, a {_kind_of(value)}, which it uses," if name else "it"
        raise NotPicklable(
            f"the code of '{title}' cannot be sent to a worker: {what} cannot be pickled ({error}); make "
            "that inside the task, keep it in a module of its own, which workers import, or use "
            "ThreadPoolTaskRunner, which keeps code in this process"
        ) from error


def _kind_of(value: object) -> str:
    if isinstance(value, FunctionType):
        return "function"
    return "module" if isinstance(value, ModuleType) else type(value).__qualname__


image: Final = MainImage()
"""That of this process."""
os.register_at_fork(after_in_child=image.unlock)
