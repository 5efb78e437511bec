"""Settings by their names, as they are now, and other ones for the time of a block."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Final

from taskyard._missing_features import with_page
from taskyard.settings.models import BOUND, VARIABLES, Settings
from taskyard.settings.overriding import set_variables

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
        return attrgetter(self.accessor)(of)

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
