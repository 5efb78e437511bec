"""What the environment says, as functions. Their door, `taskyard.settings`, has the table of variables."""

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from taskyard_contract.programs.home_directory import HOME as HOME
from taskyard_contract.programs.home_directory import home_directory
from taskyard_contract.programs.log_levels import log_level as _log_level

if TYPE_CHECKING:
    # Only the local yard needs a path; it imports a good deal that other programs have no use for.
    from pathlib import Path


SERVER: Final = "TASKYARD_SERVER"
TASK_RUNNER: Final = "TASKYARD_TASK_RUNNER"
TASK_CALLS: Final = "TASKYARD_TASK_CALLS"
FORWARD: Final = "TASKYARD_FORWARD_ENV"
OUTPUT: Final = "TASKYARD_OUTPUT"
OUTPUT_MODES: Final = ("raw", "prefixed", "off")
PROGRESS: Final = "TASKYARD_PROGRESS"
PERSIST: Final = "TASKYARD_RESULTS_PERSIST_BY_DEFAULT"
PERSIST_TASKS: Final = "TASKYARD_TASKS_DEFAULT_PERSIST_RESULT"
RESULT_STORAGE: Final = "TASKYARD_RESULTS_DEFAULT_STORAGE"
RESULT_SERIALIZER: Final = "TASKYARD_RESULTS_DEFAULT_SERIALIZER"
RESULTS_PATH: Final = "TASKYARD_RESULTS_LOCAL_STORAGE_PATH"
RESULTS_IN_MEMORY: Final = "TASKYARD_RESULTS_IN_MEMORY"
MEBIBYTES_IN_MEMORY: Final = 256
MEBIBYTE: Final = 1024 * 1024
LOG_LEVEL: Final = "TASKYARD_LOG_LEVEL"
TASK_RETRIES: Final = "TASKYARD_TASKS_DEFAULT_RETRIES"
TASK_RETRY_DELAY: Final = "TASKYARD_TASKS_DEFAULT_RETRY_DELAY_SECONDS"
FLOW_RETRIES: Final = "TASKYARD_FLOWS_DEFAULT_RETRIES"
FLOW_RETRY_DELAY: Final = "TASKYARD_FLOWS_DEFAULT_RETRY_DELAY_SECONDS"
KNOWN: Final = frozenset(
    {SERVER, HOME, TASK_RUNNER, TASK_CALLS, FORWARD, OUTPUT, PROGRESS, PERSIST, PERSIST_TASKS, RESULT_STORAGE}
    | {RESULT_SERIALIZER, RESULTS_PATH, RESULTS_IN_MEMORY, LOG_LEVEL}
    | {TASK_RETRIES, TASK_RETRY_DELAY, FLOW_RETRIES, FLOW_RETRY_DELAY}
)
"""All variables of settings. Others of this beginning are none of the user's, or secret."""
_DEFAULTS: Final = {"task": (TASK_RETRIES, TASK_RETRY_DELAY), "flow": (FLOW_RETRIES, FLOW_RETRY_DELAY)}
_WORDS: Final = {"on": True, "off": False}
_TRUTHS: Final = {**_WORDS, "true": True, "false": False, "1": True, "0": False}


def server() -> str:
    """Return the address of the control plane; "" means the local yard."""
    return os.environ.get(SERVER, "")


def home() -> "Path":
    """Return the directory of the local yard."""
    return home_directory(os.environ)


def task_runner() -> str:
    """Return the name of the task runner of flows that do not have one."""
    return os.environ.get(TASK_RUNNER, "agents")


def task_calls() -> str:
    """Return what calls of tasks return in flows that do not say it: "value" or "future".

    Raises:
        ValueError: The variable says something else.
    """
    word = os.environ.get(TASK_CALLS) or "value"
    if word not in ("value", "future"):
        raise ValueError(f"{TASK_CALLS} is '{word}'; expected value or future")
    return word


def forwarded_variables() -> list[str]:
    """Return the names of the variables whose values are sent to workers on other machines."""
    return [name for part in os.environ.get(FORWARD, "").split(",") if (name := part.strip())]


def output() -> str:
    """Return how output of runs in other processes is shown.

    Raises:
        ValueError: The variable names no such way.
    """
    mode = os.environ.get(OUTPUT, "").strip().lower() or OUTPUT_MODES[0]
    if mode not in OUTPUT_MODES:
        raise ValueError(f"{OUTPUT} is '{mode}'; it must be one of {', '.join(OUTPUT_MODES)}")
    return mode


def shows_progress() -> bool:
    """Return whether terminals are to show how far flow runs are.

    Raises:
        ValueError: The variable says neither.
    """
    word = os.environ.get(PROGRESS) or "on"
    wanted = _WORDS.get(word.lower())
    if wanted is None:
        raise ValueError(f"{PROGRESS} is '{word}'; expected on or off")
    return wanted


class Results(NamedTuple):
    """What is said of results for all tasks and flows; None, or "", for nothing."""

    persist: bool | None
    persist_tasks: bool | None
    storage: str
    serializer: str


def results() -> Results | None:
    """Return what is said of results; None when nothing is.

    Raises:
        ValueError: A variable says neither yes nor no.
    """
    get = os.environ.get
    said = get(PERSIST, ""), get(PERSIST_TASKS, ""), get(RESULT_STORAGE, ""), get(RESULT_SERIALIZER, "")
    if not any(said):
        return None
    return Results(_truth(PERSIST, said[0]), _truth(PERSIST_TASKS, said[1]), *said[2:])


def results_path() -> str:
    """Return the directory of results that are written without a storage."""
    return os.environ.get(RESULTS_PATH) or str(home() / "storage")


def results_in_memory() -> int:
    """Return how many bytes of results the futures of this process keep.

    Raises:
        ValueError: The variable is no whole number.
    """
    word = os.environ.get(RESULTS_IN_MEMORY) or str(MEBIBYTES_IN_MEMORY)
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"{RESULTS_IN_MEMORY} is '{word}'; expected a whole number of MiB")
    return int(word) * MEBIBYTE


def default_retries(kind: str) -> int | None:
    """Return the retries of tasks, or flows, that do not say it; None when nothing is said.

    Raises:
        ValueError: The variable is no whole number.
    """
    name = _DEFAULTS[kind][0]
    word = os.environ.get(name)
    if not word:
        return None
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"{name} is '{word}'; expected a whole number")
    return int(word)


def default_retry_delay(kind: str) -> float | list[float] | None:
    """Return the delays before retries of tasks, or flows, that do not say it; None when nothing is said.

    Raises:
        ValueError: The variable is neither a number nor a list of numbers.
    """
    name = _DEFAULTS[kind][1]
    word = os.environ.get(name)
    if not word:
        return None
    try:
        found: Any = json.loads(word)
    except ValueError:
        found = None
    numbers = found if isinstance(found, list) else [found]
    if not all(type(number) in (int, float) and number >= 0 for number in numbers):
        raise ValueError(f"{name} is '{word}'; expected a number of seconds, or a list of them: [1, 10]")
    return numbers if isinstance(found, list) else float(found)


def variables() -> Mapping[str, str]:
    """Return the variables of settings that are set, by name."""
    return {name: os.environ[name] for name in sorted(KNOWN) if name in os.environ}


def _truth(name: str, word: str) -> bool | None:
    if word and word.lower() not in _TRUTHS:
        raise ValueError(f"{name} is '{word}'; expected on or off")
    return _TRUTHS.get(word.lower())


def has_animated_terminal() -> bool:
    """Return whether what calls itself a terminal moves its cursor, and somebody looks at it."""
    is_dumb = os.environ.get("TERM", "") in ("", "dumb", "unknown")
    return not is_dumb and os.environ.get("CI", "").lower() in ("", "0", "false")


def wants_colours() -> bool:
    """Return whether terminals are to show colours (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


def log_level() -> int:
    """Return the lowest level that Taskyard's loggers let through.

    Raises:
        ValueError: The variable names no level.
    """
    return _log_level(os.environ)
