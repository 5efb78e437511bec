"""Environment variables that say something else for a while.

Invariant: what a block found is there again at its end, whatever was done to the same variables inside.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from taskyard import settings

PREFIX: Final = "TASKYARD_"
PLACES: Final = (settings.SERVER, settings.HOME, settings.RESULT_STORAGE, settings.RESULTS_PATH)
"""Those that say where runs and results go: what a test does must not end up where the user's are."""
_LOG_LEVEL: Final = "TASKYARD_LOG_LEVEL"


@contextmanager
def variables(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables; None takes one away. Of the whole process, and of what it starts."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def of_programs(home: str) -> dict[str, str]:
    """Return the environment of a yard's programs: nothing in it says anything of another yard.

    Args:
        home: Directory of the yard.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name == _LOG_LEVEL
    }
    return {**kept, settings.HOME: home}


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
