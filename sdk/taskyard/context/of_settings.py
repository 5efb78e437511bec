"""Settings as a context."""

from contextlib import AbstractContextManager
from operator import attrgetter
from typing import Self

from taskyard._durable_names import public
from taskyard.settings.current import get_current_settings
from taskyard.settings.models import BOUND, VARIABLES, Settings
from taskyard.settings.overriding import set_variables


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
        changed = [name for name in BOUND if attrgetter(name)(there) != attrgetter(name)(wanted)]
        said = {VARIABLES[name]: _text(name, attrgetter(name)(wanted)) for name in changed}
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


def _text(accessor: str, value: object) -> str | None:
    return None if value is None else BOUND[accessor].written(value)
