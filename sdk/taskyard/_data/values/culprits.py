"""Which part of a value cannot be pickled. Asked when pickling has failed, so it may take a while."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

from taskyard_contract import pickling
from taskyard_contract.references import collecting

_DEPTH: Final = 8
"""How far inside the culprit is looked for: what lies deeper is found by its container's path."""
_MOST_LOOKS: Final = 20_000
"""Parts that are tried: a value may lead in circles, or be a list of millions."""

Inside = Callable[[object], tuple[object] | None]
"""Returns what something stands for that is not seen in the path; None for everything else."""


def culprit_in(label: str, value: object, inside: Inside = lambda _: None) -> tuple[str, object] | None:
    """Return the path of the innermost part that cannot be pickled, and that part; None if everything can.

    Args:
        label: What the value is called: "result", so that the path is "result['lock'].inner".
        value: The value.
        inside: See `Inside`.
    """
    return _Search(inside).culprit(label, value, _DEPTH)


class _Search:
    """One search."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self._looks = _MOST_LOOKS
        self._open: set[int] = set()

    def culprit(self, label: str, value: object, depth: int) -> tuple[str, object] | None:
        """Return the innermost culprit of a value, or None."""
        if id(value) in self._open or self._looks <= 0 or _can_pickle(value):
            return None
        self._looks -= 1
        self._open.add(id(value))
        try:
            for part_label, part in islice(self._parts(label, value), self._looks) if depth else ():
                found = self.culprit(part_label, part, depth - 1)
                if found is not None:
                    return found
        finally:
            self._open.discard(id(value))
        return label, value

    def _parts(self, label: str, value: object) -> Iterable[tuple[str, object]]:
        stands_for = self._inside(value)
        if stands_for is not None:
            yield label, stands_for[0]
        elif isinstance(value, Mapping):
            yield from ((f"{label}[{_shown(key)}]", item) for key, item in value.items())
        elif isinstance(value, (list, tuple, set, frozenset)):
            yield from ((f"{label}[{position}]", item) for position, item in enumerate(value))
        else:
            yield from ((f"{label}.{name}", item) for name, item in _attributes(value))


def _attributes(value: object) -> Iterable[tuple[str, Any]]:
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def _shown(key: object) -> str:
    shown = repr(key)
    return shown if len(shown) <= 100 else f"{shown[:100]}..."


def _can_pickle(value: object) -> bool:
    with collecting():
        try:
            pickling.dumps(value)
        except Exception:  # foreign code again
            return False
    return True
