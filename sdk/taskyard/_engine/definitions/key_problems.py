"""What is said about cache keys, once: none could be computed, or two tasks have the same."""

import logging
from typing import Final

from taskyard._data.identity.seen_before import SeenBefore
from taskyard.exceptions import HashError
from taskyard_contract.failures import text_of, type_name

logger: Final = logging.getLogger("taskyard.tasks")

_MOST_KEYS: Final = 4096
_said: Final = SeenBefore()
_shared_by: Final[dict[str, tuple[str, str]]] = {}
"""Name and function of the task that had a key first."""


def no_key(name: str, task_key: str, error: Exception) -> None:
    """Say that runs of a task are not cached, in one line; the traceback is for whoever asks for details."""
    if _said.before((task_key, type(error))):
        return
    text = "no cache key could be computed for '%s', so it runs uncached (said once): %s"
    # A value without a content is no bug of anybody; all else comes from the user's own function.
    expected = isinstance(error, HashError) or isinstance(error.__cause__, HashError)
    logger.warning(text, name, text_of(error) if expected else _with_place(error))
    if not expected:
        logger.debug("where no cache key could be computed for '%s'", name, exc_info=error)


def _with_place(error: Exception) -> str:
    """Return what an exception says, and the line of the program that raised it."""
    where, frames = "", error.__traceback__
    while frames is not None:
        if not frames.tb_frame.f_globals.get("__name__", "").startswith("taskyard"):
            where = f", at {frames.tb_frame.f_code.co_filename}:{frames.tb_lineno}"
        frames = frames.tb_next
    text = text_of(error)
    return type_name(error) + (f": {text}" if text else "") + where


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
