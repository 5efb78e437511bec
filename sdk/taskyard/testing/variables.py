"""Environment variables that decide whose yard is used."""

import os
from typing import Final

from taskyard import settings
from taskyard.settings.environment import LOG_LEVEL

PREFIX: Final = "TASKYARD_"
PLACES: Final = (settings.SERVER, settings.HOME, settings.RESULT_STORAGE, settings.RESULTS_PATH)
"""Those that say where runs and results go: what a test does must not end up where the user's are."""


def of_programs(home: str) -> dict[str, str]:
    """Return the environment of a yard's programs: nothing in it says anything of another yard.

    Args:
        home: Directory of the yard.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name == LOG_LEVEL
    }
    return {**kept, settings.HOME: home}
