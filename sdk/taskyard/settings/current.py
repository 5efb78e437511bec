"""Settings by their names, as they are now, and other ones for the time of a block.

Invariant: a block changes the environment of the whole process, and of what it starts, so that everybody who
reads a setting reads the same; blocks may overlap in any order, and the last one to end restores what was
there.
"""

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from taskyard._missing_features import with_page
from taskyard.settings import environment as settings
from taskyard.settings.models import BOUND, VARIABLES, Settings
from taskyard_contract.programs.log_levels import log_level

_PREFIX: Final = "TASKYARD_"
_OLDER: Final[Mapping[str, str]] = {
    "TASKYARD_TASK_DEFAULT_RETRIES": "tasks.default_retries",
    "TASKYARD_TASK_DEFAULT_RETRY_DELAY_SECONDS": "tasks.default_retry_delay_seconds",
    "TASKYARD_FLOW_DEFAULT_RETRIES": "flows.default_retries",
    "TASKYARD_FLOW_DEFAULT_RETRY_DELAY_SECONDS": "flows.default_retry_delay_seconds",
    "TASKYARD_LOCAL_STORAGE_PATH": "results.local_storage_path",
}
NAMES: Final[Mapping[str, str]] = {
    **{f"{_PREFIX}{accessor.upper().replace('.', '_')}": accessor for accessor in BOUND},
    **{variable: accessor for accessor, variable in VARIABLES.items()},
    **_OLDER,
}
"""Which setting a name means: the one that programs know, or its variable."""


class Setting:
    """A setting by its name, as programs import it: ``TASKYARD_API_URL.value()``."""

    def __init__(self, name: str) -> None:
        """Name a setting.

        Raises:
            KeyError: There is none of that name.
        """
        self.name = name
        self.accessor = NAMES[name]

    def value(self) -> Any:
        """Return what it is now.

        Raises:
            ValueError: Its variable says what it cannot be.
        """
        return BOUND[self.accessor].read()

    def value_from(self, of: Settings) -> Any:
        """Return what it is in some settings."""
        found: Any = of
        for part in self.accessor.split("."):
            found = getattr(found, part)
        return found

    def __eq__(self, other: object) -> bool:
        """Two names of the same setting are equal."""
        return isinstance(other, Setting) and self.accessor == other.accessor

    def __hash__(self) -> int:
        """Hash what is equal."""
        return hash(self.accessor)

    def __bool__(self) -> bool:
        """Be what it is now."""
        return bool(self.value())

    def __repr__(self) -> str:
        """Name it."""
        return f"<{self.name}>"


def get_current_settings() -> Settings:
    """Return all settings as they are now.

    Raises:
        ValueError: A variable says what its setting cannot be.
    """
    return Settings()


@contextmanager
def temporary_settings(
    updates: "Mapping[Setting | str, Any] | None" = None,
    set_defaults: "Mapping[Setting | str, Any] | None" = None,
    restore_defaults: "Iterable[Setting | str] | None" = None,
) -> Iterator[Settings]:
    """Have other settings inside of a block, in the whole process and in what it starts.

    Tasks and flows read some settings when they are decorated (retries), the rest when they are called.

    Args:
        updates: New values, by setting: ``TASKYARD_API_URL``, ``"api.url"`` or the name of its variable. None
            takes the variable away.
        set_defaults: The same, for settings that nothing is said of.
        restore_defaults: Settings of which nothing is to be said.

    Yields:
        All settings, as they are inside.

    Raises:
        KeyError: There is no such setting here.
        ValueError: It cannot have this value.
    """
    said: dict[str, str | None] = {VARIABLES[_accessor(one)]: None for one in restore_defaults or ()}
    for one, value in (set_defaults or {}).items():
        variable, text = _written(one, value)
        if variable not in os.environ or variable in said:
            said[variable] = text
    said.update(_written(one, value) for one, value in (updates or {}).items())
    with set_variables(said):
        yield get_current_settings()


def _accessor(setting: "Setting | str") -> str:
    if isinstance(setting, Setting):
        return setting.accessor
    accessor = setting if setting in BOUND else NAMES.get(setting)
    if accessor is None:
        raise KeyError(with_page(f"there is no setting '{setting}' here; there are: {', '.join(BOUND)}"))
    return accessor


def _written(setting: "Setting | str", value: Any) -> tuple[str, str | None]:
    bound = BOUND[_accessor(setting)]
    return bound.variable, None if value is None else bound.written(value)


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
