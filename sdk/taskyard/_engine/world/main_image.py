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

from taskyard._engine.world.seen import Seen, is_changing, seen_of
from taskyard.exceptions import FlowRunTimeoutError, NotPicklable
from taskyard_contract import pickling
from taskyard_contract.world import main_module
from taskyard_contract.world.main_module import MAIN, Entry


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
            waiting = [*self._classes(reached.keys()), *self._gone()]
        own = seen_of(packed, "", body)
        parts = [kept.seen for kept in reached.values()]
        seen = Seen.all_of([own, *parts])
        if not (reached or waiting):
            return Code(packed.entry.data, frozenset(), seen)
        entries = _with_aliases(reached)
        data = pickling.main_code(entries, waiting, packed.entry.data)
        return Code(data, frozenset(reached) | {entry.name for entry in waiting if entry.data}, seen)

    def _reached(self, title: str, body: Entry) -> dict[str, _Kept]:
        """Return the entries that code needs, those of what they need themselves among them."""
        namespace = vars(main_module.current())
        reached: dict[str, _Kept] = {}
        left = [(name, True) for name in (*body.names, *self._wanted)]
        left += [(name, False) for name in body.wished]
        while left:
            name, needed = left.pop()
            if name in reached or name not in namespace or name in _OWN:
                continue
            try:
                kept = reached[name] = self._kept_of(title, name, namespace[name])
            except NotPicklable:
                if needed:
                    raise
                continue  # only type hints, or nobody, will look for it
            left += [(other, needed) for other in kept.entry.names]
            left += [(other, False) for other in kept.entry.wished]
        return reached

    def _classes(self, reached: Iterable[str]) -> list[Entry]:
        """Return the script's other classes: results of other runs may be made of them."""
        namespace = vars(main_module.current())
        entries = []
        for name in sorted(namespace.keys() - set(reached)):
            value = namespace[name]
            if isinstance(value, type) and value.__module__ == MAIN and value.__qualname__ == name:
                try:
                    entries.append(self._kept_of(name, name, value).entry)
                except NotPicklable:
                    continue  # it could not be among values either
        return entries

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
