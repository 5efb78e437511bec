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

from taskyard._engine.world.seen import PAUSE_NS, Look, Seen, seen_of
from taskyard.exceptions import FlowRunTimeoutError, NotPicklable
from taskyard_contract import pickling
from taskyard_contract.world import main_module
from taskyard_contract.world.main_module import MAIN, MOST_BYTES, Entry, is_changing


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
        self._lock = threading.RLock()

    def want(self, names: Iterable[str]) -> None:
        """Have names come along with all code from now on: arguments refer to them."""
        self._wanted.update(names)

    def unlock(self) -> None:
        """Be usable in a fork: the lock may be held by a thread that is not there."""
        self._lock = threading.RLock()

    def code_of(self, title: str, body: object) -> Code:
        """Pickle code by value, with what it uses of ``__main__``.

        Args:
            title: What it is called in errors.
            body: What the worker unpickles.

        Raises:
            NotPicklable: It uses something that cannot travel.
        """
        with self._lock:
            packed = _tried(title, body, "")
            reached = self._reached(title, packed.entry)
            wanted = self._wanted_ones(title)
            kinds, others = self._waiting(reached.keys() | wanted.keys())
            asked_for = [one.entry for name, one in wanted.items() if name not in reached]
            waiting = [*asked_for, *(one.entry for one in others), *self._gone()]
        used = [*reached.values(), *wanted.values()]
        seen = Seen.all_of([seen_of(packed, "", body), *(one.seen for one in used)])
        if not (reached or waiting):
            return Code(packed.entry.data, frozenset(), seen)
        rest = Seen.all_of([one.seen for one in others])
        later = Look(PAUSE_NS, lambda: _classes_of_main() == kinds and rest.holds(), is_dear=True)
        data = pickling.main_code(_with_aliases(reached), waiting, packed.entry.data)
        names = frozenset(reached) | {entry.name for entry in waiting if entry.data}
        return Code(data, names, Seen.all_of([seen, Seen(later=[later])]))

    def _reached(self, title: str, body: Entry) -> dict[str, _Kept]:
        """Return the entries that code needs, those of what they need themselves among them."""
        left = [(name, True) for name in body.names]
        return self._with_all(title, left + [(name, False) for name in body.wished])

    def _wanted_ones(self, title: str) -> dict[str, _Kept]:
        """Return what arguments refer to; it waits, so that only runs with such arguments fail with it."""
        found: dict[str, _Kept] = {}
        for name in sorted(self._wanted):
            try:
                found |= self._with_all(title, [(name, True)])
            except NotPicklable:
                self._wanted.discard(name)
                raise
        return found

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
            packed = _tried(title, value, name)
            kept = _Kept(packed.entry, seen_of(packed, name, value))
        self._kept[name] = kept
        return kept


def _classes_of_main() -> set[str]:
    return {
        name
        for name, value in vars(main_module.current()).items()
        if isinstance(value, type) and value.__module__ == MAIN and value.__qualname__ == name
    }


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
                entries.append(pickling.alias(name, of))
                continue
        entries.append(reached[name].entry)
    return entries


def _tried(title: str, value: Any, name: str) -> pickling.Pickled:
    try:
        return pickling.pickled(value, name)
    except FlowRunTimeoutError:
        raise
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
