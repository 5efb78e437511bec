"""Settings as a context."""

from contextlib import AbstractContextManager
from typing import Self

from taskyard._durable_names import public
from taskyard.settings.current import get_current_settings, set_variables
from taskyard.settings.models import BOUND, VARIABLES, Settings


@public("taskyard.context")
class SettingsContext:
    """Settings, which are those of the whole process while it is entered."""

    def __init__(self, settings: Settings) -> None:
        """Hold some settings."""
        self.settings = settings
        self._set: AbstractContextManager[None] | None = None

    @classmethod
    def get(cls) -> "SettingsContext":
        """Return what is there now."""
        return cls(get_current_settings())

    def __enter__(self) -> Self:
        """Have these settings, where they are not those that are there."""
        there, wanted = get_current_settings(), self.settings
        changed = [name for name in BOUND if _value(there, name) != _value(wanted, name)]
        said = {VARIABLES[name]: _text(name, _value(wanted, name)) for name in changed}
        self._set = set_variables(said)
        self._set.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Have those again that were there before."""
        entered, self._set = self._set, None
        if entered is not None:
            entered.__exit__(None, None, None)


def get_settings_context() -> SettingsContext:
    """Return the settings that are there now, as a context."""
    return SettingsContext.get()


def _value(settings: Settings, accessor: str) -> object:
    found: object = settings
    for part in accessor.split("."):
        found = getattr(found, part)
    return found


def _text(accessor: str, value: object) -> str | None:
    return None if value is None else BOUND[accessor].written(value)
