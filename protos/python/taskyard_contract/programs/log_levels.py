"""What `TASKYARD_LOG_LEVEL` may say, to all programs alike.

An agent hands its environment on to its workers, and the local yard has that of the program which started it:
a word that one of them takes and another does not would be refused where nobody looks.
"""

import logging
from collections.abc import Mapping
from typing import Final

LOG_LEVEL: Final = "TASKYARD_LOG_LEVEL"
"""The environment variable that says it."""
LEVELS: Final = "DEBUG, INFO, WARNING, ERROR, CRITICAL or a number"
"""What people are told to choose from."""


class UnknownLogLevel(ValueError):
    """A word that means no log level."""


def level_of(word: str) -> int:
    """Return the level that a word means: a name that `logging` knows, in any case, or a number above 0.

    Raises:
        UnknownLogLevel: It means none. `NOTSET` is none either: it says that somebody else decides.
    """
    level = logging.getLevelNamesMapping().get(word.upper()) or (int(word) if word.isdecimal() else 0)
    if not level:
        raise UnknownLogLevel(f"'{word}' is no log level; give {LEVELS}")
    return level


def log_level(environment: Mapping[str, str]) -> int:
    """Return the lowest level that is logged, as an environment says; INFO where it does not.

    Raises:
        UnknownLogLevel: It says something else than a level.
    """
    word = environment.get(LOG_LEVEL) or "INFO"
    try:
        return level_of(word)
    except UnknownLogLevel:
        raise UnknownLogLevel(f"{LOG_LEVEL} is '{word}', which is no log level; give {LEVELS}") from None
