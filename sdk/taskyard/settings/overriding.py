"""Variables that say something else for the time of a block.

Invariant: a block changes the environment of the whole process, and of what it starts, so that everybody who
reads a setting reads the same; blocks may overlap in any order, and the last one to end restores what was
there.
"""

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from taskyard.settings import environment as settings
from taskyard_contract.programs.log_levels import log_level

_lock = threading.Lock()
_layers: list[Mapping[str, str | None]] = []
_before: dict[str, str | None] = {}


@contextmanager
def set_variables(said: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables in a block; None takes one away.

    Raises:
        ValueError: One cannot have its value; then nothing is changed.
    """
    layer = dict(said)
    _refuse_unwritable(layer)
    with _lock:
        for name in layer:
            _before.setdefault(name, os.environ.get(name))
        _layers.append(layer)
        _apply(layer)
    try:
        yield
    finally:
        with _lock:
            _layers[:] = [other for other in _layers if other is not layer]
            _apply(layer)


def _refuse_unwritable(said: Mapping[str, str | None]) -> None:
    """Refuse what would fail in the middle of setting it, with others set already."""
    for name, value in said.items():
        if value is not None and "\0" in value:
            raise ValueError(f"{name} cannot have a null character in it")
    level = said.get(settings.LOG_LEVEL)
    if level is not None:
        log_level({settings.LOG_LEVEL: level})


def _apply(names: Iterable[str]) -> None:
    """Give variables the values of the last block that says something of them, or their own."""
    for name in names:
        saying = [layer[name] for layer in _layers if name in layer]
        value = saying[-1] if saying else _before.pop(name)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
        if name == settings.LOG_LEVEL:
            _follow_level(bool(saying))


_level_before: list[int] = []


def _follow_level(is_said: bool) -> None:
    """Set the level of the loggers, which read it once."""
    root = logging.getLogger("taskyard")
    if not is_said:
        root.setLevel(_level_before.pop())
        return
    if not _level_before:
        _level_before.append(root.level)
    root.setLevel(settings.log_level())
