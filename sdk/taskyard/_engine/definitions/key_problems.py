"""What is said about cache keys, once: none could be computed, or two tasks have the same."""

import logging
from typing import Final

from taskyard._data.identity.seen_before import SeenBefore
from taskyard.exceptions import HashError

logger: Final = logging.getLogger("taskyard.tasks")

_MOST_KEYS: Final = 4096
_said: Final = SeenBefore()
_shared_by: Final[dict[str, tuple[str, str]]] = {}
"""Name and function of the task that had a key first."""


def no_key(name: str, task_key: str, error: Exception) -> None:
    """Say that runs of a task are not cached, with the traceback of what failed there for the first time."""
    if _said.before((task_key, type(error))):
        return
    text = "no cache key could be computed for '%s', so it runs uncached (said once): %s"
    # A value without a content is no bug of anybody; all else comes from the user's own function.
    expected = isinstance(error, HashError) or isinstance(error.__cause__, HashError)
    logger.warning(text, name, error, exc_info=None if expected else error)


def shared(key: str, name: str, function: str) -> None:
    """Say that a key is also that of a task with another function, which this process has computed before."""
    first_name, first_function = _shared_by.setdefault(key, (name, function))
    if first_function == function:
        if len(_shared_by) > _MOST_KEYS:
            _shared_by.pop(next(iter(_shared_by)), None)
    elif not _said.before(frozenset((first_function, function))):
        logger.warning(
            "'%s' and '%s' have the same cache key for equal inputs, so each is given results of the other; "
            "with cache_policy=INPUTS + TASK_SOURCE each has its own",
            first_name,
            name,
        )
