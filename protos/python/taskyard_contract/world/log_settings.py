"""Which log records a program wants: levels of its loggers, as far as it, or its packages, have set any.

Workers take them over, so that they make and send the records that the program's own handlers would show.
What is then done with them is up to these handlers, which stay where they are.
"""

import logging
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

MOST_LOGGERS: Final = 500
"""That travel; who has more has set them in a loop, and the first ones count."""

shown_elsewhere: logging.Handler | None = None
"""In a worker: what hands records to the program, to be a handler of the root where the program has any.

Not where it has none: there a first word by `logging.warning` configures one, as at home."""

_taken: Final[dict[str, int]] = {}
"""What this process has taken over, and not set itself."""
_set_of: Final = attrgetter("level", "disabled")


def current() -> list[Any]:
    """Return what `take` takes: level of the root, what is disabled altogether, and so on."""
    root = logging.root
    levels: dict[str, int] = {}
    off: list[str] = []
    # A copy: other threads make loggers meanwhile.
    for name, one in list(root.manager.loggerDict.items()):
        if isinstance(one, logging.Logger):
            if one.level:
                levels[name] = one.level
            if one.disabled:
                off.append(name)
    if len(levels) > MOST_LOGGERS:
        levels = dict(list(levels.items())[:MOST_LOGGERS])
    return [root.level, root.manager.disable, levels, off[:MOST_LOGGERS], bool(root.handlers)]


class Seen:
    """What is `current`, to be compared with what there is later: with each submission, so without a loop."""

    __slots__ = ("_all", "_current", "_loggers", "_settings")

    def __init__(self) -> None:
        """Look at it."""
        self._note()
        self._current = current()

    def _note(self) -> None:
        self._all = list(logging.root.manager.loggerDict.values())  # with those that only hold a place
        self._loggers = [one for one in self._all if isinstance(one, logging.Logger)]
        self._settings = self._look()

    def _look(self) -> tuple[Any, ...]:
        root = logging.root
        return root.level, root.manager.disable, bool(root.handlers), list(map(_set_of, self._loggers))

    def hold(self) -> bool:
        """Say whether it is the same now."""
        if list(logging.root.manager.loggerDict.values()) == self._all:
            return self._look() == self._settings
        self._note()  # others have come, as with each module; most of them are as they were made
        if current() == self._current:
            return True
        self._all = []  # whoever asks next is told so, too
        return False


def take(settings: list[Any]) -> None:
    """Have what another process has; loggers of which it says nothing are as they were made here.

    Args:
        settings: Level of the root, what is disabled altogether, levels of loggers by name, names of those
            that are off, and whether the root has handlers.
    """
    root, disabled, levels, off, *rest = settings
    logging.root.setLevel(root)
    if shown_elsewhere is not None:
        if rest and rest[0]:
            logging.root.addHandler(shown_elsewhere)  # once, however often
        else:
            logging.root.removeHandler(shown_elsewhere)
    logging.disable(disabled)
    for name in [name for name in _taken if name not in levels]:
        logging.getLogger(name).setLevel(logging.NOTSET)
        del _taken[name]
    _set(levels)
    for name in off:
        logging.getLogger(name).disabled = True


def _set(levels: Mapping[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
        _taken[name] = level
