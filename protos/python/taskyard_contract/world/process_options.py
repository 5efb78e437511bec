"""What a program has set in Python itself, and its tasks depend on: how deep calls may be nested, with how
many digits decimals are calculated, which warnings are errors.

Each of these is one thing for the whole process (decimals: for a context), so workers, which belong to one
program, take them over when they enter its world, and again when the program has changed them.
"""

import locale
import re
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

from taskyard_contract.world import log_settings

MOST_FILTERS: Final = 100
"""Filters of warnings that travel; who has more has them from packages, which add their own in workers."""
Options = dict[str, Any]
"""Plain values by the names that `apply` knows."""
_CATEGORIES: Final = ("LC_COLLATE", "LC_MONETARY", "LC_NUMERIC", "LC_TIME")
"""Parts of the locale that are as good as none until a program sets them. How texts are encoded each process
has from its own variables: programs must not need those of another machine."""


def current() -> Options:
    """Return the options of this process; those of a context only in its main thread."""
    found: Options = {
        "recursion_limit": sys.getrecursionlimit(),
        "int_digits": sys.get_int_max_str_digits(),
        "locale": _locale(),
        "filters": _filters(),
        "logging": log_settings.current(),
    }
    if "socket" in sys.modules:
        found["socket_timeout"] = sys.modules["socket"].getdefaulttimeout()
    decimals = _decimal()
    if decimals is not None:
        found["decimal"] = decimals
    return found


class Seen:
    """What the options were made of, to be compared with what there is: some ten microseconds."""

    __slots__ = ("_decimal", "_logging", "_plain")

    def __init__(self) -> None:
        """Look at them."""
        self._plain, self._decimal, self._logging = _plain_state(), _decimal_state(), log_settings.Seen()

    def hold(self) -> bool:
        """Say whether they are the same now; of contexts only that of the main thread counts."""
        if _plain_state() != self._plain or not self._logging.hold():
            return False
        now = _decimal_state()
        return now is None or now == self._decimal


def _plain_state() -> tuple[Any, ...]:
    timeout = sys.modules["socket"].getdefaulttimeout() if "socket" in sys.modules else None
    limits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    return *limits, _locale(), tuple(warnings.filters), timeout


def apply(options: Mapping[str, Any]) -> None:
    """Take options over.

    Raises:
        ValueError: One is not to be had on this machine.
    """
    for name, value in options.items():
        take = _TAKE.get(name)
        if take is not None:  # a later release may know more
            take(value)


def _filters() -> list[list[Any]]:
    found = [_written(*one) for one in warnings.filters[:MOST_FILTERS]]
    return [one for one in found if one is not None]


def _written(action: str, text: Any, category: Any, module: Any, line: int) -> list[Any] | None:
    if category.__module__ == "__main__":
        return None  # is no warning anybody else gives
    kind = [category.__module__, category.__qualname__]
    return [action, _pattern(text), kind, _pattern(module), line]


def _pattern(one: Any) -> Any:
    return [one.pattern, one.flags] if isinstance(one, re.Pattern) else one


def _take_filters(filters: list[list[Any]]) -> None:
    taken = []
    for action, text, (module, name), where, line in filters:
        category = getattr(sys.modules.get(module), name, None)
        if category is None:
            continue  # of a package that is not imported, and has its own filters when it is
        taken.append((action, _compiled(text), category, _compiled(where), line))
    warnings.resetwarnings()  # also has what was decided before forgotten
    warnings.filters.extend(taken)  # type: ignore[attr-defined]  # a list, whatever its type says


def _compiled(one: Any) -> Any:
    return re.compile(*one) if isinstance(one, list) else one


_OF_DECIMAL: Final = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _context() -> Any:
    """Return what says how decimals are calculated; None when nothing does, or only for this thread."""
    if "decimal" not in sys.modules or threading.current_thread() is not threading.main_thread():
        return None
    return sys.modules["decimal"].getcontext()


def _decimal() -> list[Any] | None:
    """Return how decimals are calculated; None when that is not known, or is only this thread's affair."""
    context = _context()
    if context is None:
        return None
    traps = [kind.__name__ for kind, is_set in context.traps.items() if is_set]
    return [*(getattr(context, attribute) for attribute in _OF_DECIMAL), traps]


def _decimal_state() -> tuple[Any, ...] | None:
    """Return what `_decimal` is made of, without what calculations have noted in the context."""
    context = _context()
    if context is None:
        return None
    *state, _, traps = context.__reduce__()[1]
    return *state, traps


def _take_decimal(options: list[Any]) -> None:
    import decimal  # the program has it, too

    made = decimal.DefaultContext  # that of each context of which nobody has asked yet: of each run
    names = options[-1]
    for attribute, value in zip(_OF_DECIMAL, options, strict=False):
        setattr(made, attribute, value)
    for kind in made.traps:
        made.traps[kind] = kind.__name__ in names


def _locale() -> list[str]:
    return [locale.setlocale(getattr(locale, category)) for category in _CATEGORIES]


def _take_locale(names: list[str]) -> None:
    for category, name in zip(_CATEGORIES, names, strict=True):
        try:
            locale.setlocale(getattr(locale, category), name)
        except locale.Error:
            raise ValueError(f"the program's locale '{name}' is not on this machine") from None


def _take_socket_timeout(seconds: float | None) -> None:
    import socket  # the program has it, too

    socket.setdefaulttimeout(seconds)


_TAKE: Final[Mapping[str, Callable[[Any], object]]] = {
    "recursion_limit": sys.setrecursionlimit,
    "int_digits": sys.set_int_max_str_digits,
    "locale": _take_locale,
    "filters": _take_filters,
    "logging": log_settings.take,
    "socket_timeout": _take_socket_timeout,
    "decimal": _take_decimal,
}
