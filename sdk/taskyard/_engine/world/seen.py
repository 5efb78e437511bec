"""What travelling code was made of, to be compared with what there is now.

At every call of a task: so a name costs one look into a dict and one comparison by identity. Functions are
compared by code, defaults and what their closures hold, classes by their attributes, and values that can
change in place by their pickles, up to a size.
"""

import hashlib
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import FunctionType, ModuleType
from typing import Any, Final

from taskyard.logging import get_logger
from taskyard_contract.pickling import PROTOCOL, Pickled
from taskyard_contract.world import main_module, module_names

MOST_BYTES: Final = 64 * 1024
"""Values with a larger pickle are looked at rarely: that takes longer than a call of a task may."""
PAUSE_NS: Final = 1_000_000
"""Between two looks at classes."""
LONG_PAUSE_NS: Final = 1_000_000_000
"""Between two looks at large values."""
_UNCHANGING: Final = (str, bytes, int, float, complex, bool, type(None), frozenset, ModuleType, type, FunctionType)
_EMPTY: Final = object()
_CELLS: Final = 3
"""Where the contents of a closure begin among the parts of a function."""

Parts = tuple[Any, ...]


class Look:
    """Something that is dear to compare, and compared after a pause only."""

    __slots__ = ("_same", "due_ns", "pause_ns")

    def __init__(self, pause_ns: int, same: Callable[[], bool]) -> None:
        """Ask `same` at most once in `pause_ns`."""
        self._same = same
        self.pause_ns = pause_ns
        self.due_ns = time.monotonic_ns() + pause_ns

    def holds(self, now_ns: int) -> bool:
        """Say whether it was as before when it was looked at last."""
        if now_ns < self.due_ns:
            return True
        self.due_ns = now_ns + self.pause_ns
        return self._same()


class Seen:
    """Some names of ``__main__``, some functions and some values, as they were."""

    __slots__ = ("_due_ns", "_functions", "_later", "_names", "_namespace", "_values")

    def __init__(
        self,
        names: Iterable[tuple[str, Any]] = (),
        functions: Iterable[tuple[FunctionType, Parts]] = (),
        values: Iterable[tuple[Any, bytes]] = (),
        later: Iterable[Look] = (),
    ) -> None:
        """Take what to compare at each look, and what to compare `later`."""
        self._namespace = vars(main_module.current())
        self._names = tuple(dict(names).items())
        self._functions = tuple({id(function): (function, parts) for function, parts in functions}.values())
        self._values = tuple({id(value): (value, data) for value, data in values}.values())
        self._later = tuple(dict.fromkeys(later))
        self._due_ns = min((look.due_ns for look in self._later), default=0)

    @classmethod
    def of_name(cls, name: str, value: object) -> "Seen":
        """See only that a name is bound to a value."""
        return cls([(name, value)])

    @classmethod
    def all_of(cls, parts: "Sequence[Seen]") -> "Seen | None":
        """Return all that some others see, in one; None when that is nothing."""
        whole = cls(
            (one for part in parts for one in part._names),
            (one for part in parts for one in part._functions),
            (one for part in parts for one in part._values),
            (one for part in parts for one in part._later),
        )
        return whole if whole._names or whole._functions or whole._values or whole._later else None

    def holds(self) -> bool:
        """Say whether all is as it was."""
        namespace = self._namespace
        for name, value in self._names:
            if namespace.get(name, _EMPTY) is not value:
                return False
        for function, parts in self._functions:
            if not _same(parts, _parts_of(function)):
                return False
        for value, data in self._values:
            if _plain(value) != data:
                return False
        return not self._later or self._hold_later()

    def _hold_later(self) -> bool:
        now = time.monotonic_ns()
        if now < self._due_ns:
            return True
        same = all([look.holds(now) for look in self._later])
        self._due_ns = min(look.due_ns for look in self._later)
        return same


def seen_of(packed: Pickled, name: str, value: Any) -> Seen:
    """Return what a pickle was made of.

    Args:
        packed: The pickle.
        name: Its name in ``__main__``, if it has one.
        value: What was pickled.
    """
    entry = packed.entry
    namespace = vars(main_module.current())
    names = [(other, namespace.get(other, _EMPTY)) for other in (*entry.names, *entry.wished)]
    functions = [(function, _parts_of(function)) for function in packed.functions if _can_change(function)]
    values, later = _looked_at((content for _, parts in functions for content in parts[_CELLS:]), "a closure")
    later += [Look(PAUSE_NS, _class_look(one)) for one in packed.classes]
    if name:
        names.append((name, value))
        more, more_later = _looked_at([value], name)
        values += more
        later += more_later
    return Seen(names, functions, values, later)


def _looked_at(values: Iterable[Any], name: str) -> tuple[list[tuple[Any, bytes]], list[Look]]:
    """Return those of some values that can change in place, and how each is looked at."""
    small, large = [], []
    for value in values:
        if isinstance(value, _UNCHANGING) or value is _EMPTY or module_names.qualname_of(value) is not None:
            continue
        data = _plain(value)
        if data is None:
            continue
        if len(data) <= MOST_BYTES:
            small.append((value, data))
            continue
        _say_large(name, len(data))
        large.append(Look(LONG_PAUSE_NS, partial(_is_still, value, hashlib.sha256(data).digest())))
    return small, large


def _is_still(value: Any, digest: bytes) -> bool:
    return hashlib.sha256(_plain(value) or b"").digest() == digest


def _can_change(function: FunctionType) -> bool:
    """Say whether it is worth looking at: methods are looked at with their class."""
    return bool(function.__closure__) or "." not in function.__qualname__


def _parts_of(function: FunctionType) -> Parts:
    parts = (function.__code__, function.__defaults__, function.__kwdefaults__)
    cells = function.__closure__
    return parts if not cells else parts + tuple([_content(cell) for cell in cells])


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    for one, other in zip(before, now, strict=False):
        if one is not other:
            return False
    return len(before) == len(now)


def _class_look(kind: type) -> Callable[[], bool]:
    before = tuple(vars(kind).items())

    def look() -> bool:
        now = vars(kind).items()
        return len(now) == len(before) and all(
            name == other and value is another
            for (name, value), (other, another) in zip(before, now, strict=True)
        )

    return look


def _plain(value: Any) -> bytes | None:
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception:  # foreign code; it travels by another way, and is compared by identity only
        return None


_said: Final[set[str]] = set()


def _say_large(name: str, size: int) -> None:
    if name not in _said:
        _said.add(name)
        get_logger("world").warning(
            "'%s' of the main module goes to workers with the code that uses it, %s bytes of it; when it is "
            "changed in place, that is noticed after a second only: pass it as an argument instead",
            name,
            f"{size:,}",
        )
