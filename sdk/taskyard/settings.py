"""What the environment says. The only module of the SDK that reads it.

Everything is read when it is asked for, not when it is imported: programs set variables, and tests change
them, after that.

| variable | meaning |
|---|---|
| `TASKYARD_SERVER` | the control plane, ``HOST:PORT`` or ``unix:PATH``; without it the local yard |
| `TASKYARD_HOME` | directory of the local yard; without it ``~/.taskyard`` |
| `TASKYARD_TASK_RUNNER` | who executes the task runs of flows that do not say it: ``agents`` or ``threads`` |
| `TASKYARD_TASK_CALLS` | what calls of tasks return in flows that do not say it: ``value`` or ``future`` |
| `TASKYARD_FORWARD_ENV` | names of variables that workers on other machines are to have, with commas |
| `TASKYARD_OUTPUT` | how output of tasks on agents is shown: ``raw``, ``prefixed`` by their names, ``off`` |
| `TASKYARD_PROGRESS` | ``off``: no line on a terminal that says how far flow runs are; without it ``on`` |
| `TASKYARD_RESULTS_PERSIST_BY_DEFAULT` | ``on``: what does not say it has ``persist_result=True`` |
| `TASKYARD_TASKS_DEFAULT_PERSIST_RESULT` | the same for tasks, before their flow |
| `TASKYARD_RESULTS_DEFAULT_STORAGE` | where they go, a path or a URL |
| `TASKYARD_RESULTS_DEFAULT_SERIALIZER` | what writes them; without it ``pickle`` |
| `TASKYARD_RESULTS_LOCAL_STORAGE_PATH` | where a `ResultStore` writes by itself |
| `TASKYARD_RESULTS_IN_MEMORY` | MiB of results that futures keep; without it 256 |
| `TASKYARD_LOG_LEVEL` | lowest level of Taskyard's own loggers, by name or number; without it ``INFO`` |
"""

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from taskyard._missing_features import absent_names
from taskyard_contract.programs.home_directory import HOME as HOME
from taskyard_contract.programs.home_directory import home_directory
from taskyard_contract.programs.log_levels import log_level as _log_level

if TYPE_CHECKING:
    # Only the local yard needs a path; it imports a good deal that other programs have no use for.
    from pathlib import Path

__all__ = [
    "forwarded_variables",
    "has_animated_terminal",
    "home",
    "log_level",
    "output",
    "results",
    "results_in_memory",
    "results_path",
    "server",
    "shows_progress",
    "task_calls",
    "task_runner",
    "wants_colours",
]

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
    return int(word) * 1024 * 1024


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


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
