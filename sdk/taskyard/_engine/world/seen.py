"""What travelling code was made of, to be compared with what there is now.

At every call of a task: so a name costs one look into a dict and one comparison by identity, as does what a
closure holds; values that can change in place are compared by their pickles, up to a size. What hardly ever
changes (a function's code, the attributes of a class, the directory of the program) is compared when a flow
begins and when somebody waits for a run, and otherwise at most once a millisecond; what is dear even then,
when a flow begins and otherwise rarely.
"""

import hashlib
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from time import monotonic_ns
from types import CellType, FunctionType, MappingProxyType
from typing import Any, Final

from taskyard.logging import get_logger
from taskyard_contract.parts import classes
from taskyard_contract.pickling import PROTOCOL, Pickled
from taskyard_contract.world import main_module
from taskyard_contract.world.main_module import MOST_BYTES, is_changing

SMALL_BYTES: Final = 1024
"""Values with a larger pickle are not compared at each call of a loop."""
PAUSE_NS: Final = 1_000_000
"""Between two looks at classes."""
LONG_PAUSE_NS: Final = 1_000_000_000
"""Between two looks at large values."""
_CONTAINERS: Final = frozenset({dict, MappingProxyType, list, tuple, set, frozenset, deque})
_PASSING: Final = frozenset({MappingProxyType, tuple})
MOST_PARTS: Final = 1000
"""So many containers are looked into where a value cannot be compared by its pickle."""
_MOST_OF_TIME: Final = 20
"""A look that takes long is had so rarely that it takes a twentieth of the time."""
_EMPTY: Final = object()


class Look:
    """Something that is dear to compare, and compared after a pause only."""

    __slots__ = ("_is_dear", "_same", "due_ns", "pause_ns")

    def __init__(self, pause_ns: int, same: Callable[[], bool], is_dear: bool = False) -> None:
        """Ask `same` at most once in `pause_ns`, or when a flow begins, or when somebody waits.

        Args:
            pause_ns: The pause.
            same: What to ask.
            is_dear: Whether that takes too long for each time that somebody waits.
        """
        self._is_dear = is_dear
        self._same = same
        self.pause_ns = pause_ns
        self.due_ns = monotonic_ns() + pause_ns

    def holds(self, now_ns: int, at_once: bool, in_new_flow: bool) -> bool:
        """Say whether it was as before when it was looked at last."""
        soon = (in_new_flow if self._is_dear else at_once) and self.pause_ns < LONG_PAUSE_NS
        if now_ns < self.due_ns and not soon:
            return True
        same = self._same()
        now = monotonic_ns()
        # What has changed is so for all that ask, not only for the first one.
        self.due_ns = now + max(self.pause_ns, (now - now_ns) * _MOST_OF_TIME) if same else 0
        return same


class Seen:
    """Some names of ``__main__``, some functions and some values, as they were."""

    __slots__ = ("_cells", "_due_ns", "_find", "_flow_number", "_later", "_look_number", "_names", "_values")

    def __init__(
        self,
        names: Iterable[tuple[str, Any]] = (),
        cells: Iterable[tuple[CellType, Any]] = (),
        values: Iterable[tuple[Any, bytes]] = (),
        later: Iterable[Look] = (),
    ) -> None:
        """Take what to compare at each look, and what to compare `later`."""
        self._find = vars(main_module.current()).get
        self._names = tuple(dict(names).items())
        self._cells = tuple({id(cell): (cell, content) for cell, content in cells}.values())
        self._values = tuple({id(value): (value, data) for value, data in values}.values())
        self._later = tuple(dict.fromkeys(later))
        self._due_ns = min((look.due_ns for look in self._later), default=0)
        self._look_number, self._flow_number = _looks.number, _looks.flow_number

    @classmethod
    def of_name(cls, name: str, value: object) -> "Seen":
        """See only that a name is bound to a value."""
        return cls([(name, value)])

    @classmethod
    def all_of(cls, parts: "Sequence[Seen]") -> "Seen":
        """Return all that some others see, in one."""
        return cls(
            (one for part in parts for one in part._names),
            (one for part in parts for one in part._cells),
            (one for part in parts for one in part._values),
            (one for part in parts for one in part._later),
        )

    def holds(self) -> bool:
        """Say whether all is as it was."""
        found = self._find
        for name, value in self._names:
            if found(name, _EMPTY) is not value:
                return False
        if self._cells:
            for cell, content in self._cells:
                if _content(cell) is not content:
                    return False
        if self._values:
            for value, data in self._values:
                if _plain(value) != data:
                    return False
        now = monotonic_ns()
        if now < self._due_ns and self._look_number == _looks.number:
            return True
        return self._hold_later(now)

    def _hold_later(self, now_ns: int) -> bool:
        at_once, in_new_flow = self._look_number != _looks.number, self._flow_number != _looks.flow_number
        self._look_number, self._flow_number = _looks.number, _looks.flow_number
        # All of them, or those behind the first that has changed would be due again.
        same = [look.holds(now_ns, at_once, in_new_flow) for look in self._later]
        self._due_ns = min((look.due_ns for look in self._later), default=now_ns + LONG_PAUSE_NS)
        return all(same)


class _Looks:
    number = 0
    flow_number = 0


_looks: Final = _Looks()


def look_now() -> None:
    """Have what is not dear be compared at the next look, however soon it comes: somebody waits."""
    _looks.number += 1


def look_at_all_now() -> None:
    """Have all be compared at the next look: a flow begins."""
    _looks.number += 1
    _looks.flow_number += 1


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
    cells = [(cell, _content(cell)) for function in packed.functions for cell in function.__closure__ or ()]
    values, later = _looked_at((content for _, content in cells), "a closure")
    later += [Look(PAUSE_NS, _function_look(one)) for one in packed.functions if "." not in one.__qualname__]
    later += [Look(PAUSE_NS, _look_at_parts(partial(_attributes_of, one))) for one in packed.attributed]
    if packed.builtins:
        later.append(Look(PAUSE_NS, lambda: namespace.keys().isdisjoint(packed.builtins)))
    if name:
        names.append((name, value))
        more, more_later = _looked_at([value], name)
        values += more
        later += more_later
    return Seen(names, cells, values, later)


def seen_at(find: Callable[[], Any], packed: Pickled, value: Any, name: str) -> Seen:
    """Return what a pickle was made of that is not of ``__main__``.

    Args:
        find: Returns what is now where the value was.
        packed: The pickle.
        value: What was pickled.
        name: What it is called.
    """
    small, larger = _looked_at([value], name)
    there = Seen(values=small, later=[Look(PAUSE_NS, lambda: find() is value), *larger])
    return Seen.all_of([seen_of(packed, "", value), there])


def flow_number() -> int:
    """Return how many flows have begun, roughly: another number when one has."""
    return _looks.flow_number


def _looked_at(values: Iterable[Any], name: str) -> tuple[list[tuple[Any, bytes]], list[Look]]:
    """Return those of some values that can change in place, and how each is looked at."""
    small, larger = [], []
    for value in values:
        if value is _EMPTY or not is_changing(value):
            continue
        data = _plain(value)
        if data is None:
            larger.append(Look(PAUSE_NS, _look_at_parts(partial(_with_attributes, value))))
            continue
        if len(data) <= SMALL_BYTES:
            small.append((value, data))
            continue
        look = partial(_is_still, value, hashlib.sha256(data).digest())
        if len(data) > MOST_BYTES:
            _say_large(name, len(data))
        larger.append(Look(PAUSE_NS if len(data) <= MOST_BYTES else LONG_PAUSE_NS, look))
    return small, larger


def _is_still(value: Any, digest: bytes) -> bool:
    return hashlib.sha256(_plain(value) or b"").digest() == digest


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _function_look(function: FunctionType) -> Callable[[], bool]:
    code, defaults, by_name = function.__code__, function.__defaults__, function.__kwdefaults__
    if defaults or by_name or vars(function):
        return _look_at_parts(
            lambda: (function.__code__, function.__defaults__, function.__kwdefaults__, vars(function))
        )

    def look() -> bool:
        return (
            function.__code__ is code
            and function.__defaults__ is defaults
            and function.__kwdefaults__ is by_name
            and not function.__dict__
        )

    return look


def _attributes_of(value: Any) -> Any:
    """Return what a class, or a function, has, without what pickling leaves in a class."""
    if not isinstance(value, type):
        return vars(value)
    own = {name: one for name, one in vars(value).items() if name != "__slotnames__"}
    return MappingProxyType(own), tuple(sorted(classes.registered_with(value), key=id))


def _with_attributes(value: Any) -> Any:
    return value, getattr(value, "__dict__", None)


def _look_at_parts(whole: Callable[[], Any]) -> Callable[[], bool]:
    """Return what says whether something, and the containers in it, consist of the same objects as now."""
    before = list(_parts(whole()))

    def look() -> bool:
        now = list(_parts(whole()))
        return len(now) == len(before) and all(one is other for one, other in zip(now, before, strict=True))

    return look


def _parts(whole: Any) -> Iterator[Any]:
    """Yield what some containers hold; of larger ones only the beginning."""
    seen: set[int] = set()
    left = [whole]
    while left and len(seen) < MOST_PARTS:
        one = left.pop()
        kind = type(one)
        if kind not in _PASSING:  # tuples are made anew for each look
            yield one
        if kind in _CONTAINERS and id(one) not in seen:
            seen.add(id(one))
            left += (*one, *one.values()) if kind is dict or kind is MappingProxyType else one


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
