"""Settings as objects, in the sections that programs read them in. The environment says what they are.

The table is what binds them: each says which variable it is, and how that is written; whoever uses a setting
reads the same variable, through the functions of `taskyard.settings`.
"""

import json
import logging
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from taskyard._missing_features import absent_names, with_page
from taskyard.settings import environment as settings


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def __getattr__(self, name: str) -> Any:
        """Explain what is not there.

        Raises:
            AttributeError: Always.
        """
        if name.startswith("_"):
            return super().__getattr__(name)  # type: ignore[misc]  # pydantic has it, and says nothing of it
        known = ", ".join(type(self).model_fields)
        raise AttributeError(with_page(f"there is no setting '{name}' here; there are: {known}"))


class APISettings(_Section):
    """Where the control plane is."""

    url: str | None = None
    """``HOST:PORT`` or ``unix:PATH``; None for the local yard."""


class FlowsSettings(_Section):
    """What flows have that do not say it themselves."""

    default_retries: int = 0
    default_retry_delay_seconds: float | list[float] = 0


class TasksSettings(_Section):
    """What tasks have that do not say it themselves."""

    default_retries: int = 0
    default_retry_delay_seconds: float | list[float] = 0
    default_persist_result: bool | None = None


class ResultsSettings(_Section):
    """What becomes of results."""

    persist_by_default: bool = False
    default_serializer: str = "pickle"
    default_storage: str | None = None
    """A path or a URL; None for the control plane."""
    local_storage_path: Path
    in_memory: int
    """MiB of results that futures keep."""


class LoggingSettings(_Section):
    """What is said."""

    level: str = "INFO"


class Settings(_Section):
    """All settings, as they are when it is made."""

    home: Path
    api: APISettings
    flows: FlowsSettings
    tasks: TasksSettings
    results: ResultsSettings
    logging: LoggingSettings
    task_runner: str
    """Who executes task runs of flows that do not say it: agents or threads."""
    task_calls: str
    """What calls of tasks return in flows that do not say it: value or future."""
    output: str
    """How output of tasks on agents is shown: raw, prefixed or off."""
    progress: bool
    """Whether terminals show how far flow runs are."""
    forward_env: list[str]
    """Names of variables that workers on other machines are to have."""

    def __init__(self, **given: Any) -> None:
        """Read all settings from the environment.

        Args:
            **given: Values that are said here, by section.

        Raises:
            ValueError: A variable says what its setting cannot be.
        """
        super().__init__(**{**_read(), **given})

    def to_environment_variables(self) -> dict[str, str]:
        """Return the variables that say them, as programs that are started need them."""
        said = dict(settings.variables())
        for accessor, bound in BOUND.items():
            value = attrgetter(accessor)(self)
            if value != bound.read():  # said where these were made, not by the environment
                said.pop(bound.variable, None)
                if value is not None:
                    said[bound.variable] = bound.written(value)
        return said


class Bound(NamedTuple):
    """How a setting is bound to its variable."""

    variable: str
    read: Callable[[], Any]
    """Reads it where the code does that uses it."""
    written: Callable[[Any], str] = str


def _on_off(value: object) -> str:
    if not isinstance(value, bool):
        raise ValueError(f"expected True or False, got {value!r}")
    return "on" if value else "off"


def _level(value: object) -> str:
    return logging.getLevelName(value) if isinstance(value, int) else str(value)


def _said_of_results(name: str) -> Any:
    said = settings.results()
    return getattr(said, name) if said is not None else None


BOUND: Final[Mapping[str, Bound]] = {
    "home": Bound(settings.HOME, settings.home),
    "api.url": Bound(settings.SERVER, lambda: settings.server() or None),
    "flows.default_retries": Bound(settings.FLOW_RETRIES, lambda: settings.default_retries("flow") or 0),
    "flows.default_retry_delay_seconds": Bound(
        settings.FLOW_RETRY_DELAY, lambda: settings.default_retry_delay("flow") or 0, json.dumps
    ),
    "tasks.default_retries": Bound(settings.TASK_RETRIES, lambda: settings.default_retries("task") or 0),
    "tasks.default_retry_delay_seconds": Bound(
        settings.TASK_RETRY_DELAY, lambda: settings.default_retry_delay("task") or 0, json.dumps
    ),
    "tasks.default_persist_result": Bound(
        settings.PERSIST_TASKS, lambda: _said_of_results("persist_tasks"), _on_off
    ),
    "results.persist_by_default": Bound(settings.PERSIST, lambda: bool(_said_of_results("persist")), _on_off),
    "results.default_serializer": Bound(
        settings.RESULT_SERIALIZER, lambda: _said_of_results("serializer") or "pickle"
    ),
    "results.default_storage": Bound(settings.RESULT_STORAGE, lambda: _said_of_results("storage") or None),
    "results.local_storage_path": Bound(settings.RESULTS_PATH, lambda: Path(settings.results_path())),
    "results.in_memory": Bound(
        settings.RESULTS_IN_MEMORY, lambda: settings.results_in_memory() // settings.MEBIBYTE
    ),
    "logging.level": Bound(settings.LOG_LEVEL, lambda: logging.getLevelName(settings.log_level()), _level),
    "task_runner": Bound(settings.TASK_RUNNER, settings.task_runner),
    "task_calls": Bound(settings.TASK_CALLS, settings.task_calls),
    "output": Bound(settings.OUTPUT, settings.output),
    "progress": Bound(settings.PROGRESS, settings.shows_progress, _on_off),
    "forward_env": Bound(settings.FORWARD, settings.forwarded_variables, ",".join),
}
"""All settings, by where they are in `Settings`."""
VARIABLES: Final[Mapping[str, str]] = {accessor: bound.variable for accessor, bound in BOUND.items()}


def _read() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for accessor, bound in BOUND.items():
        section, _, name = accessor.rpartition(".")
        inside = found.setdefault(section, {}) if section else found
        inside[name] = bound.read()
    return found


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
